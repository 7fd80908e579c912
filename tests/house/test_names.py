"""One name, one thing: files within a layer, public classes in the package, and the words of the glossary."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mdcache"
SOURCES = {path.relative_to(PACKAGE): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def test_no_file_name_stands_twice_within_a_layer() -> None:
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in SOURCES:
        if path.name != "__init__.py":
            places[path.parts[0] if len(path.parts) > 1 else "", path.name].append(str(path))
    assert [found for found in places.values() if len(found) > 1] == []


def test_no_public_class_name_stands_twice_in_the_package() -> None:
    """Why `Series` does: docs/glossary.md."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, text in SOURCES.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path))
    twice = {name: sorted(found) for name, found in places.items() if len(found) > 1}
    assert twice == {"Series": ["candles/series.py", "client/candles.py"]}


def test_every_word_of_the_glossary_is_used_and_stands_once() -> None:
    rows = re.findall(r"^\| (\*.+?) \| ", GLOSSARY.split("## Why this word")[0], re.MULTILINE)
    words = [word for row in rows for word in re.findall(r"\*([^*]+)\*", row)]
    assert len(words) == len(set(words))
    written = re.sub(r"[\W_]+", "", " ".join(SOURCES.values()).lower())
    assert [word for word in words if re.sub(r"[\W_]+", "", word) not in written] == []
