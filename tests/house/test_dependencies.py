"""What is installed beside the daemon: known licences only, each package explained, and a bill of materials of all."""

import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from tools.dependencies import STATED, runtime_dependencies
from tools.sbom import bill

ROOT = Path(__file__).parents[2]
FREE = {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "PSF-2.0", "MPL-2.0"}


def test_every_licence_is_known_and_lets_the_whole_be_passed_on() -> None:
    for each in runtime_dependencies():
        assert each.licence, f"{each.name} states no licence: read it, and add it to tools/dependencies.py"
        assert set(re.split(r" (?:AND|OR) ", each.licence)) <= FREE, each


def test_licences_are_stated_here_for_those_alone_that_state_none() -> None:
    named = {each.name for each in runtime_dependencies()}
    for name in STATED.keys() & named - {"async-timeout"}:
        metadata = distribution(name).metadata
        assert "License-Expression" not in metadata
        assert "License" not in metadata
    assert STATED.keys() <= named


def test_every_package_is_needed_by_one_that_is_there() -> None:
    every = runtime_dependencies()
    names = {each.name for each in every} | {"mdcache"}
    for each in every:
        assert each.needed_by, each
        assert names.issuperset(each.needed_by)


def test_the_bill_of_materials_names_all_of_it_and_nothing_twice() -> None:
    found: dict[str, Any] = bill()
    refs = [each["bom-ref"] for each in found["components"]]
    assert len(refs) == len(set(refs)) == len(runtime_dependencies()) + 2
    assert {each["ref"] for each in found["dependencies"]} == {*refs, found["metadata"]["component"]["bom-ref"]}
    assert all(set(each["dependsOn"]) <= set(refs) for each in found["dependencies"])
    assert any(each["purl"].startswith("pkg:npm/swagger-ui-dist@5.") for each in found["components"])
    assert all(each["licenses"] and each["version"] for each in found["components"])
    assert found == bill()
    reached = {found["metadata"]["component"]["bom-ref"]}
    graph = {each["ref"]: each["dependsOn"] for each in found["dependencies"]}
    while more := {need for ref in reached for need in graph[ref]} - reached:
        reached |= more
    assert reached >= set(refs)
