"""The rules for Prometheus: checked and tested by promtool, each alert in both directions and with its runbook."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana import BOARDS
from mdcache.results import NOT_COUNTED
from mdcache.serving.listener_status import END_REASONS
from mdcache.telemetry import catalogue, labels
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
@pytest.mark.untraced
def test_promtool_takes_the_configuration_and_its_rules() -> None:
    done = promtool("check", "config", str(RULES / "prometheus.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


@pytest.mark.processes
@pytest.mark.untraced
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
    assert re.findall(r"^\*\*(\w+(?: \w+)?)\*\*", sections[alert], re.MULTILINE) == ["Means", "Look at", "Do"]
    assert ALERTS[alert]["labels"]["severity"] in {"critical", "warning", "info"}


def test_the_runbook_speaks_of_no_other_alert() -> None:
    assert set(re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)) == set(ALERTS)


def test_the_rules_and_the_runbook_name_only_metrics_that_are_exported() -> None:
    for rule in (*ALERTS.values(), *RECORDED.values()):
        assert metrics_in(rule["expr"]) <= EXPORTED, rule
    runbook = set(re.findall(r"mdcache_\w+", (ROOT / "docs/runbook.md").read_text()))
    assert runbook <= {metric.full_name for metric in catalogue.ALL}


def selected(expression: str) -> dict[str, set[str]]:
    """The values that the expression's selectors name, by label."""
    found: dict[str, set[str]] = {}
    for label, values in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"$]+)"', expression):
        found.setdefault(label, set()).update(values.split("|"))
    return found


KNOWN = {
    "result": labels.RESULTS,
    "what": labels.FAILURES,
    "reason": (*labels.GATE_REASONS, *labels.BODY_REASONS, *labels.REASONS, *labels.RETRY_REASONS, *END_REASONS),
    "state": labels.GATE_STATES,
    "tier": labels.TIERS,
    "op": labels.OPS,
    "lane": labels.LANES,
    "family": labels.FAMILIES,
    "market": labels.MARKETS,
    "status": labels.STATUSES,
    "endpoint": labels.ENDPOINTS,
}
QUERIES = [query.expr for board in BOARDS for panel in board.panels() for query in panel.queries]


@pytest.mark.parametrize("expression", [rule["expr"] for rule in (*ALERTS.values(), *RECORDED.values())] + QUERIES)
def test_rules_and_dashboards_select_only_values_that_exist(expression: str) -> None:
    for label, values in selected(expression).items():
        assert values <= {str(value) for value in KNOWN.get(label, values)}, label


def test_the_recorded_shares_are_those_of_the_status_page() -> None:
    expression = RECORDED["instance_result:mdcache_requests:ratio_rate5m"]["expr"]
    assert selected(expression) == {"result": set(NOT_COUNTED)}
    assert expression.count('result!="') == 2


def test_what_is_recorded_is_used() -> None:
    used = "".join(rule["expr"] for rule in (*ALERTS.values(), *RECORDED.values()))
    assert [name for name in RECORDED if name not in used] == []


def test_every_setting_the_runbook_turns_exists() -> None:
    from mdcache.settings import Settings

    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", (ROOT / "docs/runbook.md").read_text())) - {"HTTPS_PROXY"}
    assert named - {"MDCACHE_"} <= {name.upper() for name in Settings.model_fields}
