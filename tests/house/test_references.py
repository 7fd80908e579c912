"""What code and documents cite can be followed: anchors of the design and of the Binance facts, and CI's entry."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CITED = ("docs/design.md", "docs/binance.md")
FOLDERS = ("mdcache", "tests", "bench", "docs", "deploy", "grafana", "tools", ".github")
KINDS = {".py", ".lua", ".md", ".toml", ".yaml", ".yml", ".cfg", ".conf", ".dot"}
UNFOLLOWABLE = re.compile(  # numbers and page codes of documents elsewhere; spelled so that it does not find itself
    r"""
    \b(?:DESI[G]N|BINA[N]CE|STY[L]E|HOU[S]E)(?:\.md)?[ ]\d | BINA[N]CE\.md
    | \b(?:[UC]|U-/C)-[A-Z][a-z]+-[A-Z] | \bM-[DF]A[P]I\b | \bD-C[H]G\b | \(\d\.\d\.\d[,) ]
    """,
    re.VERBOSE,
)
CITATION = re.compile(r"\b(docs/(?:design|binance)\.md)((?:(?:, | and )?#[\w-]+)+)")


def texts() -> Iterator[tuple[Path, str]]:
    files = [*ROOT.glob("*.*"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*"))]
    for path in files:
        if path.suffix in KINDS and path.is_file():
            yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """The anchors of a page: its headings as GitHub and MkDocs make them, and those that are written out."""
    text = (ROOT / page).read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    return made | set(re.findall(r'<a id="([\w-]+)">', text))


@pytest.mark.parametrize("page", CITED)
def test_every_cited_anchor_exists(page: str) -> None:
    known = anchors(page)
    lost = [
        f"{path}: {page}#{slug}"
        for path, text in texts()
        for cited, slugs in CITATION.findall(text)
        for slug in re.findall(r"#([\w-]+)", slugs)
        if cited == page and slug not in known
    ]
    assert lost == []


@pytest.mark.parametrize("page", CITED)
def test_no_anchor_stands_twice(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert len(titles) == len({title.lower() for title in titles})


def test_nothing_is_cited_that_can_not_be_followed() -> None:
    found = [f"{path}: {match.group()}" for path, text in texts() for match in UNFOLLOWABLE.finditer(text)]
    assert found == []


def test_the_hosted_workflow_calls_what_anybody_can_call() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    classified = re.findall(r"Programming Language :: Python :: (3\.\d+)", project)
    assert job["strategy"]["matrix"]["python"] == classified


@pytest.mark.parametrize(
    "page", ["architecture.md", "design.md", "glossary.md", "diagrams/hit.dot", "diagrams/miss.dot"]
)
def test_every_module_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w*/])[a-z][\w/]*\.py\b", text.replace("\\n", " ")))
    files = {path.relative_to(ROOT).as_posix() for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
    lost = [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)]
    assert lost == []
