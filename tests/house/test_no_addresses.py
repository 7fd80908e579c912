"""Nothing in the tree names a package index, or a path that exists on one machine only."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = {
    ".git",
    ".venv",
    ".run",
    ".hypothesis",
    "__pycache__",
    "build",
    "dist",
    ".clients",
    ".fuzz",
    ".mutants",
    ".venv-run",
}
FORBIDDEN = re.compile(  # spelled so that this file does not find itself
    r"""
    pypi\.(?:org|python) | python[h]osted | npm[j]s\.org | deb\.[d]ebian
    | --(?:extra-)?index-u[r]l | --find-l[i]nks
    | (?<![\w.])/(?:work/(?:m[a]in|sh[a]red|\.) | opt/(?:wh[e]els|p[y]pi) | r[o]ot/) | \.py[e]nv
    """,
    re.VERBOSE,
)


def texts() -> Iterator[tuple[Path, str]]:
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if MADE.intersection(parts) or any(part.endswith("_cache") for part in parts) or not path.is_file():
            continue
        if path.name in {".env", ".coverage"} or path.name.startswith(".coverage."):
            continue
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture


def test_the_tree_is_clean() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}" for path, text in texts() for match in FORBIDDEN.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "https://" + "pypi" + ".org/simple",
        "--index" + "-url x",
        "cd " + "/work" + "/main",
        "/ro" + "ot/.cache",
    ],
)
def test_the_scan_would_find_them(text: str) -> None:
    assert FORBIDDEN.search(text)


@pytest.mark.parametrize("text", ["/api/v3/klines", "a/work/b", "--no-index", "--no-emit-index" + "-url"])
def test_the_scan_leaves_others_alone(text: str) -> None:
    assert not FORBIDDEN.search(text)
