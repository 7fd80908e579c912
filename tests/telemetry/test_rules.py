"""The rules for Prometheus: checked and tested by promtool, each alert in both directions and with its runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mdcache.telemetry import catalogue
from tests.support.programs import promtool

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
UNIT_TESTS = sorted((RULES / "tests").glob("*.yaml"))
EXPORTED = {
    metric.full_name + end
    for metric in catalogue.ALL
    for end in (("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",))
}


def rules(name: str) -> list[dict[str, Any]]:
    read = yaml.safe_load((RULES / name).read_text())
    return [rule for group in read["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yaml")}
RECORDED = {rule["record"]: rule for rule in rules("recording.yaml")}
TESTS = [test for path in UNIT_TESTS for test in yaml.safe_load(path.read_text())["tests"]]


def metrics_in(expression: str) -> set[str]:
    """Names of ours, with what the recorded ones among them are made of."""
    found = set(re.findall(r"(?<![\w:])mdcache_\w+", expression))
    for name, rule in RECORDED.items():
        if name in expression:
            found |= metrics_in(rule["expr"])
    return found


@pytest.mark.processes
def test_promtool_takes_the_configuration_and_its_rules() -> None:
    done = promtool("check", "config", str(RULES / "prometheus.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


@pytest.mark.processes
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_promtool_runs_the_unit_tests(path: Path) -> None:
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_in_both_directions(alert: str) -> None:
    fires = silent = False
    for test in TESTS:
        given = {re.split(r"[{\s]", series["series"])[0] for series in test["input_series"]}
        names = metrics_in(ALERTS[alert]["expr"]) or {"up"}
        for case in test.get("alert_rule_test", ()):
            if case["alertname"] == alert:
                fires |= bool(case["exp_alerts"])
                silent |= not case["exp_alerts"] and bool(given & names)  # no data, no alert
    assert fires
    assert silent


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_its_place_in_the_runbook(alert: str) -> None:
    sections = dict(
        re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE | re.DOTALL)
    )
    assert ALERTS[alert]["annotations"]["runbook_url"] == f"docs/runbook.md#{alert.lower()}"
    assert re.findall(r"^\*\*(\w+(?: \w+)?)\*\*", sections[alert], re.MULTILINE) == ["Means", "Look at", "Turn"]
    assert ALERTS[alert]["labels"]["severity"] in {"critical", "warning", "info"}


def test_the_runbook_speaks_of_no_other_alert() -> None:
    assert set(re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)) == set(ALERTS)


def test_the_rules_and_the_runbook_name_only_metrics_that_are_exported() -> None:
    for rule in (*ALERTS.values(), *RECORDED.values()):
        assert metrics_in(rule["expr"]) <= EXPORTED, rule
    runbook = set(re.findall(r"mdcache_\w+", (ROOT / "docs/runbook.md").read_text()))
    assert runbook <= {metric.full_name for metric in catalogue.ALL}


def test_what_is_recorded_is_used() -> None:
    used = "".join(rule["expr"] for rule in (*ALERTS.values(), *RECORDED.values()))
    assert [name for name in RECORDED if name not in used] == []


def test_every_setting_the_runbook_turns_exists() -> None:
    from mdcache.settings import Settings

    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", (ROOT / "docs/runbook.md").read_text())) - {"HTTPS_PROXY"}
    assert named - {"MDCACHE_"} <= {name.upper() for name in Settings.model_fields}
