"""What is public is documented, and what the documents name exists."""

import re
from pathlib import Path

import typer.main

from mdcache.cli.app import application
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.serving.routes import CHART_FILES, DOCS_FILES, OPS_PATHS, PAGE_FILES
from mdcache.settings import Settings
from mdcache.sim.control import control_api
from mdcache.sim.control.faults import FAULT_KINDS
from mdcache.telemetry import catalogue

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}
NAMED = README + (ROOT / "CONTRIBUTING.md").read_text() + "".join(PAGES.values())


def section(text: str, title: str) -> str:
    """What stands under `## title`."""
    return text.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def test_every_setting_is_documented() -> None:
    fields = {name.upper() for name in Settings.model_fields}
    listed = set(re.findall(r"^\| `MDCACHE_([A-Z0-9_]+)`", PAGES["configuration.md"], re.MULTILINE))
    assert listed == fields
    usual = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", section(README, "Settings"))) - {"MDCACHE_"}
    assert usual <= fields


def test_every_metric_is_documented_and_no_other_is_named() -> None:
    suffixes = {"counter": "_total", "gauge": "", "histogram": ""}
    known = {f"mdcache_{metric.name}{suffixes[metric.kind]}" for metric in catalogue.ALL}
    listed = set(re.findall(r"^\| `(mdcache_[a-z_]+)", PAGES["metrics.md"].split("## ")[0], re.MULTILINE))
    assert listed == known
    others = {name: text for name, text in PAGES.items() if name != "metrics.md"} | {"README.md": README}
    for name, text in others.items():
        assert set(re.findall(r"`(mdcache_[a-z_]+)", text)) <= known, name


def test_every_kline_path_is_documented() -> None:
    for rule in KLINE_ENDPOINTS.values():
        assert rule.kind in PAGES["clients.md"]


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z-]+)", NAMED)) <= targets


def test_every_operators_path_is_documented() -> None:
    loaded = {"docs": DOCS_FILES, "page": PAGE_FILES, "chart": CHART_FILES}
    files = {f"/{folder}/{name}" for folder, names in loaded.items() for name in names}
    table = section(PAGES["operations-api.md"], "Paths")
    assert set(re.findall(r"(?:GET|POST) (/[\w/.]*)", table)) == OPS_PATHS - files


def test_every_command_is_documented() -> None:
    group = typer.main.get_group(application())
    table = section(PAGES["cli.md"], "Commands")
    assert set(re.findall(r"^\| `mdcache (\w+)", table, re.MULTILINE)) == set(group.commands)


def test_every_action_and_fault_of_the_simulated_exchange_is_documented() -> None:
    page = PAGES["sim.md"]
    actions = page.split("| `POST /_sim/…` |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` ", actions, re.MULTILINE)) == set(control_api.ACTIONS)
    kinds = re.findall(r"^\| (`.*?) \| ", section(page, "Faults"), re.MULTILINE)
    assert {kind for row in kinds for kind in re.findall(r"`(\w+)`", row)} == FAULT_KINDS
