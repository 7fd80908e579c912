"""docs/modules.md, made from the first lines of the modules' docstrings."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mdcache"
HEAD = """\
# Modules

Every module of the package, with the first line of its docstring, and every Lua script, with the first line of its
comment. [Architecture](architecture.md) shows how they work together.
"""


def text() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for folder in [PACKAGE, *sorted(path for path in PACKAGE.rglob("*") if path.is_dir())]:
        modules = sorted((*folder.glob("*.py"), *folder.glob("*.lua")))
        if not modules:
            continue
        parts.append(f"\n## {folder.relative_to(ROOT).as_posix()}/\n\n")
        about = first_line(folder / "__init__.py")
        if about:
            parts.append(f"{about}\n\n")
        parts.append("| Module | What |\n|---|---|\n")
        parts += [f"| `{path.name}` | {first_line(path)} |\n" for path in modules if path.name != "__init__.py"]
    return "".join(parts)


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring or a script's comment, without citations; empty if it has none."""
    if path.suffix == ".lua":
        return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("-- ")
    found = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = re.sub(r" \((?:docs/|rule)[^)]*\)", "", found.partition("\n")[0])
    return line.replace("|", "\\|")
