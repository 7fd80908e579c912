"""What the site needs beyond Markdown: sections of the README, and links that lead out of `docs/`.

In the repository such links are right; on the site they lead nowhere, and are plain text.
"""

import re
from pathlib import Path, PurePosixPath

from mkdocs.structure.pages import Page

_README = Path(__file__).parents[2] / "README.md"
_SECTION = re.compile(r"<!-- README: (.+) -->")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)\s]*)\)")
_INTO_DOCS = re.compile(r"\]\(docs/")


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Put the README's sections in, then make text of what leaves `docs/`."""
    depth = len(PurePosixPath(page.file.src_uri).parts) - 1
    whole = _SECTION.sub(lambda wanted: readme_section(wanted[1]), markdown)
    return _LINK.sub(lambda link: _plain(link, depth), whole)


def readme_section(title: str) -> str:
    """What stands under `## title` in the README. Raises `KeyError` where it has no such section."""
    parts = re.split(r"^## (.+)$", _README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    return _INTO_DOCS.sub("](", sections[title]).strip()


def _plain(link: "re.Match[str]", depth: int) -> str:
    text, target = link[1], link[2].split("#")[0]
    if target.count("../") <= depth:
        return link[0]
    name = target.replace("../", "")
    return text if name in text else f"{text} (`{name}`)"
