"""Write a bill of materials of what serves, in CycloneDX's form: `python -m tools.sbom > sbom.json`.

It names the locked packages, what they need, and the programs for browsers that two of them carry.
"""

import json
import re
import sys
import uuid
from importlib.metadata import distribution
from pathlib import Path

from mdcache import __version__
from tools.dependencies import runtime_dependencies

_CARRIED = (  # package, its file, where the file names its version, and what it is
    ("litecharts", "litecharts/js/lightweight-charts.js", r"Lightweight Charts\S* v([0-9.]+)", "lightweight-charts"),
    (
        "openapi-ui-bundles",
        "openapi_ui_bundles/swagger_ui/vendor/swagger-ui-bundle.js",
        r'PACKAGE_VERSION:"([0-9.]+)"',
        "swagger-ui-dist",
    ),
)
_SELF = f"pkg:pypi/mdcache@{__version__}"


def bill() -> dict[str, object]:
    """Return the bill; equal locks give equal ones."""
    packages = {each.name: each for each in runtime_dependencies()}
    purls = {name: f"pkg:pypi/{name}@{each.version}" for name, each in packages.items()} | {"mdcache": _SELF}
    components = [_component(name, packages[name].version, purls[name], packages[name].licence) for name in packages]
    needs: dict[str, list[str]] = {purl: [] for purl in purls.values()}
    for name, each in packages.items():
        for by in each.needed_by:
            needs[purls[by]].append(purls[name])
    for package, file, pattern, name in _CARRIED:
        found = re.search(pattern, Path(str(distribution(package).locate_file(file))).read_text(encoding="utf-8"))
        if found is None:
            raise ValueError(f"{file} does not say its version")
        purl = f"pkg:npm/{name}@{found[1]}"
        components.append(_component(name, found[1], purl, "Apache-2.0"))
        needs[purls[package]].append(purl)
        needs[purl] = []
    graph = [{"ref": purl, "dependsOn": sorted(needs[purl])} for purl in sorted(needs)]
    main = _component("mdcache", __version__, _SELF, "MIT") | {"type": "application"}
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([components, graph]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        "metadata": {"component": main},
        "components": components,
        "dependencies": graph,
    }


def _component(name: str, version: str, purl: str, licence: str) -> dict[str, object]:
    licences = [{"expression": licence}] if " " in licence else [{"license": {"id": licence}}]
    return {
        "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, "licenses": licences,
    }  # fmt: skip


if __name__ == "__main__":
    json.dump(bill(), sys.stdout, indent=2)
    sys.stdout.write("\n")
