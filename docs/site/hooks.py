"""What the site needs beyond Markdown: links that lead out of `docs/` become text.

In the repository such links are right; on the site they lead nowhere.
"""

import re
from pathlib import PurePosixPath

from mkdocs.structure.pages import Page

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)\s]*)\)")


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Return the page with links out of `docs/` as plain text."""
    depth = len(PurePosixPath(page.file.src_uri).parts) - 1
    return _LINK.sub(lambda link: _plain(link, depth), markdown)


def _plain(link: "re.Match[str]", depth: int) -> str:
    text, target = link[1], link[2].split("#")[0]
    if target.count("../") <= depth:
        return link[0]
    name = target.replace("../", "")
    return text if name in text else f"{text} (`{name}`)"
