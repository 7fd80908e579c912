"""What the chart gives to Prometheus, to Grafana, and to those outside of the cluster."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.chart import EVERYTHING, notes, one, refusal, render
from tests.deploy.conftest import DEPLOY, ROOT, Tool
from tests.support.programs import promtool

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

ELSEWHERE = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}]
RULES = {"prometheusRule": {"enabled": True}}

NATIVE = ("/v1/stream", "/v1/candles", "/v1/candles.csv", "/v1/candles.arrow", "/v1/price")


def test_the_alerts_in_the_cluster_are_those_of_the_file(helm: Tool, tmp_path: Path) -> None:
    found = one(render(helm, tmp_path, RULES), "PrometheusRule")
    groups = [
        group
        for name in ("recording.yaml", "alerts.yaml")
        for group in yaml.safe_load((DEPLOY / "prometheus" / name).read_text())["groups"]
    ]
    assert found["spec"] == {"groups": groups}
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(found["spec"]))
    done = promtool("check", "rules", str(rules))
    assert done.returncode == 0, done.stderr


def test_a_runbook_of_your_own_stands_in_each_alert(helm: Tool, tmp_path: Path) -> None:
    values = {"prometheusRule": {"enabled": True, "runbook": "https://docs.example/mdcache/runbook.html"}}
    (_, alerts) = one(render(helm, tmp_path, values), "PrometheusRule")["spec"]["groups"]
    for alert in alerts["rules"]:
        link = alert["annotations"]["runbook_url"]
        assert re.fullmatch(r"https://docs\.example/mdcache/runbook\.html#mdcache\w+", link)


def test_prometheus_and_grafana_find_what_they_look_for(helm: Tool, tmp_path: Path) -> None:
    found = render(helm, tmp_path, EVERYTHING)
    assert one(found, "PrometheusRule")["metadata"]["labels"]["release"] == "prometheus"
    dashboards = next(each for each in found if each["metadata"]["name"] == "desk-mdcache-dashboards")
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboards["metadata"]["annotations"] == {"grafana_folder": "mdcache"}
    files = {path.name: json.loads(path.read_text()) for path in (ROOT / "grafana" / "dashboards").glob("*.json")}
    assert len(files) == 2
    assert {name: json.loads(text) for name, text in dashboards["data"].items()} == files


def test_nothing_of_the_operator_or_grafana_comes_unasked(helm: Tool, tmp_path: Path) -> None:
    kinds = [each["kind"] for each in render(helm, tmp_path, {})]
    assert sorted(kinds) == [
        "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "Service", "StatefulSet"
    ]  # fmt: skip


def test_an_ingress_lets_through_what_the_balancers_do(helm: Tool, tmp_path: Path) -> None:
    balancer = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    (families,) = re.findall(r"acl binance path -m reg \^/\(([\w|]+)\)", balancer)
    (health,) = re.findall(r"acl health path (.*)", balancer)
    streams = ("ws", "stream", "market", "public", "private", "usdm", "coinm")
    spec = one(render(helm, tmp_path, EVERYTHING), "Ingress")["spec"]
    assert [rule["host"] for rule in spec["rules"]] == ["mdcache.example", "other.example"]
    assert spec["ingressClassName"] == "nginx"
    assert spec["tls"] == [{"secretName": "mdcache-tls", "hosts": ["mdcache.example"]}]
    for rule in spec["rules"]:
        paths = {(path["path"], path["pathType"]) for path in rule["http"]["paths"]}
        assert paths == {(f"/{family}", "Prefix") for family in (*families.split("|"), *streams, "udf")} | {
            (path, "Exact") for path in (*health.split(), *NATIVE)
        }
        for path in rule["http"]["paths"]:
            assert path["backend"] == {"service": {"name": "desk-mdcache", "port": {"name": "http"}}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"serviceMonitor": {"enabled": True}}, "networkPolicy.monitoring"),
        ({"ingress": {"enabled": True}}, "networkPolicy.from"),
        ({"service": {"type": "LoadBalancer"}}, "networkPolicy.from"),
        ({"service": {"type": "NodePort"}}, "networkPolicy.from"),
    ],
)
def test_what_the_network_policy_would_block_is_not_installed(
    helm: Tool, tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    assert said in refusal(helm, tmp_path, values)
    render(helm, tmp_path, values | {"networkPolicy": {"enabled": False}})
    render(helm, tmp_path, values | {"networkPolicy": {said.split(".")[1]: ELSEWHERE}})


def test_a_prometheus_of_the_same_namespace_may_be_named(helm: Tool, tmp_path: Path) -> None:
    values = {"serviceMonitor": {"enabled": True}, "networkPolicy": {"monitoring": [{"podSelector": {}}]}}
    assert one(render(helm, tmp_path, values), "ServiceMonitor")


def test_peers_elsewhere_that_may_ask_may_scrape(helm: Tool, tmp_path: Path) -> None:
    values = {"serviceMonitor": {"enabled": True}, "networkPolicy": {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}}
    assert one(render(helm, tmp_path, values), "ServiceMonitor")


def test_the_notes_tell_who_may_ask(helm: Tool, tmp_path: Path) -> None:
    said = notes(helm, tmp_path, {})
    assert "podSelector: {}" in said
    assert "networkPolicy.from" in said
    assert "NetworkPolicy" not in notes(helm, tmp_path, {"networkPolicy": {"enabled": False}})


def test_nobody_may_ask_where_nobody_is_named(helm: Tool, tmp_path: Path) -> None:
    found = one(render(helm, tmp_path, {"networkPolicy": {"from": []}}), "NetworkPolicy")
    assert found["spec"]["ingress"] == []


def test_the_values_that_the_documentation_shows_are_taken(helm: Tool, tmp_path: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), re.DOTALL)
    kinds = {each["kind"] for each in render(helm, tmp_path, yaml.safe_load(shown))}
    assert kinds >= {"ServiceMonitor", "PrometheusRule", "Ingress", "Secret"}
