"""What is public stands in the README, and what the README names exists."""

import re
from pathlib import Path

from mdcache.exchange.markets import KLINE_PATHS
from mdcache.serving.paths import DOCS_FILES, OPS_PATHS
from mdcache.settings import NO_EFFECT_YET, Settings
from mdcache.telemetry import catalogue
from tests.house import metrics_table, paths_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_setting_with_an_effect_is_in_the_readme() -> None:
    table = README.split("## Settings")[1].split("\n## ")[0]
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", table)) - {"HTTPS_PROXY", "MDCACHE_"}
    fields = {name.upper() for name in Settings.model_fields}
    assert named <= fields
    assert fields - named <= {name.upper() for name in NO_EFFECT_YET}


def test_every_metric_is_in_the_readme() -> None:
    named = set(re.findall(r"`(mdcache_[a-z_]+)", README))
    shown = {metric.name + ("_total" if metric.kind == "counter" else "") for metric in catalogue.ALL}
    assert named == {f"mdcache_{name}" for name in shown}


def test_every_kline_path_is_in_the_readme() -> None:
    for rule in KLINE_PATHS.values():
        assert rule.kind in README


def test_every_make_target_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", README)) <= targets


def test_the_table_of_paths_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "paths.md").read_text() == paths_table.text()


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_table.text()


def test_every_operators_path_is_in_the_readme() -> None:
    table = README.split("## Operations")[1].split("\n### ")[0]
    assert set(re.findall(r"(?:GET|POST) (/[\w/.]+)", table)) == OPS_PATHS - {f"/docs/{name}" for name in DOCS_FILES}
