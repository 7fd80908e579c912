"""The runbook as a page of the daemon, `/page/runbook.html`: who needs it may reach nothing else.

Made from docs/runbook.md. Links to other pages of the documentation become plain text, since these are not served.
"""

from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

SOURCE = Path(__file__).parents[1] / "docs" / "runbook.md"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>Runbook – mdcache</title>
  <link rel="icon" type="image/svg+xml" href="icon.svg">
  <link rel="stylesheet" href="status.css">
</head>
<body>
<header><nav aria-label="More"><a href="..">Status</a></nav></header>
<main class="prose">
%s</main>
</body>
</html>
"""


def text() -> str:
    """Return the page."""
    markdown = MarkdownIt()
    tokens = markdown.parse(SOURCE.read_text(encoding="utf-8"))
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", tokens[place + 1].content.lower().replace(" ", "-"))
        if token.type == "fence":
            token.attrSet("tabindex", "0")  # it may be wider than a phone
        if token.children:
            token.children = _without_links_outside(token.children)
    body: str = markdown.renderer.render(tokens, markdown.options, {})
    return _PAGE % body


def _without_links_outside(tokens: list[Token]) -> list[Token]:
    """Return the tokens of a paragraph, links within the page with theirs."""
    kept: list[Token] = []
    inside = True
    for token in tokens:
        if token.type == "link_open":
            inside = str(token.attrGet("href")).startswith("#")
        if inside or token.type not in {"link_open", "link_close"}:
            kept.append(token)
    return kept
