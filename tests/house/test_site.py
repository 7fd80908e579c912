"""The documentation as a site: it builds without a warning, loads nothing from elsewhere, and its drawings are true."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import find

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DRAWINGS = sorted((DOCS / "diagrams").glob("*.dot"))


def build(docs: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    mkdocs = Path(sys.executable).parent / "mkdocs"
    return subprocess.run(  # not `--quiet`, which keeps warnings from being counted
        [mkdocs, "build", "--strict", "-f", docs / "site" / "mkdocs.yml", "-d", folder],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(DOCS, folder)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


def test_links_that_lead_nowhere_and_a_page_out_of_the_menu_stop_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS, docs)
    page = docs / "faq.md"
    page.write_text(page.read_text() + "\n[x](none.md) [x](faq.md#nowhere) ![x](none.svg)\n")
    (docs / "forgotten.md").write_text("# Forgotten")
    done = build(docs, tmp_path / "site")
    assert done.returncode != 0
    for wrong in ("none.md", "#nowhere", "none.svg", "forgotten.md"):
        assert wrong in done.stderr + done.stdout, wrong


def test_every_page_is_there(site: Path) -> None:
    assert {page.stem for page in DOCS.glob("*.md")} <= {page.stem for page in site.glob("*.html")}


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        html = page.read_text()
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?([^\"' >]+)", html)
        assert loaded
        assert [url for url in loaded if "//" in url] == [], page.name
        assert not re.search(r"@import|fonts\.g", html), page.name
    for sheet in site.rglob("*.css"):
        urls = re.findall(r"url\([\"']?([^)\"']+)", sheet.read_text())
        assert [url for url in urls if "//" in url and not url.startswith("data:")] == [], sheet.name


def test_links_out_of_docs_are_plain_text(site: Path) -> None:
    for page in site.glob("*.html"):
        assert not re.search(r'href="\.\./', page.read_text()), page.name


def words(svg: str) -> list[str]:
    """Return the texts of a drawing, without positions, which depend on the fonts of the machine that drew it."""
    return sorted(re.findall(r"<text[^>]*>([^<]*)</text>", svg))


@pytest.mark.parametrize("source", DRAWINGS, ids=lambda path: str(path.stem))
def test_a_drawing_is_that_of_its_source(source: Path) -> None:
    dot = shutil.which("dot") or find("dot")
    drawn = subprocess.run([dot, "-Tsvg", source], capture_output=True, text=True, check=True, timeout=30).stdout
    kept = source.with_suffix(".svg").read_text()
    assert words(kept) == words(drawn), "draw it anew: make docs"
    assert len(words(kept)) > 3


@pytest.mark.parametrize("source", DRAWINGS, ids=lambda path: str(path.stem))
def test_a_drawing_has_light_paper_of_its_own_for_dark_pages(source: Path) -> None:
    paper = re.search(r'<polygon fill="([^"]+)"', source.with_suffix(".svg").read_text())
    assert paper
    assert paper[1] == "#fbfdfc"


def test_every_drawing_has_a_text_for_those_who_do_not_see_it() -> None:
    shown = [found for page in DOCS.glob("*.md") for found in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text())]
    assert {Path(target).stem for _, target in shown} >= {source.stem for source in DRAWINGS}
    assert all(len(text) > 40 for text, target in shown if target.endswith(".svg"))
