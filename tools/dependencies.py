"""The locked packages that serve: what each is for, who needs it, and its licence, as its own metadata states it."""

import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TROVE = {  # classifiers, and the free text of packages without an expression
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
STATED = {  # by their licence's text: they are installed on other platforms only, or have no metadata about it
    "aiocache": "BSD-3-Clause",
    "async-timeout": "Apache-2.0",
}


@dataclass(frozen=True, slots=True)
class Dependency:
    """A locked package; `needed_by`: packages that ask for it, of which `mdcache` itself may be one."""

    name: str
    version: str
    licence: str
    needed_by: tuple[str, ...]


def runtime_dependencies() -> list[Dependency]:
    """Return all packages of `requirements.lock`, by name."""
    locked: dict[str, str] = dict(_PINNED.findall((ROOT / "requirements.lock").read_text(encoding="utf-8")))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed: dict[str, list[str]] = defaultdict(list)
    for name in locked:
        found = _installed(name)
        for each in (found.requires or []) if found is not None else []:
            if "extra ==" not in each:
                needed[_requirement_name(each)].append(name)
    for each in project["dependencies"]:
        needed[_requirement_name(each)].append(project["name"])
    needed["async-timeout"] = needed["async-timeout"] or ["redis"]
    return [
        Dependency(name, version, _licence(name), tuple(sorted(set(needed[name])))) for name, version in locked.items()
    ]


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:  # for another platform
        return None


def _requirement_name(requirement: str) -> str:
    found = _NAME.match(requirement)
    return re.sub(r"[._-]+", "-", found[0] if found else "").lower()


def _licence(name: str) -> str:
    """Return the licence's SPDX expression; empty if it is not known."""
    found = _installed(name)
    if name in STATED or found is None:
        return STATED.get(name, "")
    for field in ("License-Expression", "License"):
        stated = str((found.metadata.get_all(field) or [""])[0])
        if stated and "\n" not in stated:  # else it is the whole text
            return _TROVE.get(stated, stated)
    classifiers = found.metadata.get_all("Classifier") or []
    names = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")]
    return " OR ".join(sorted({_TROVE.get(each, "") for each in names} - {""}))
