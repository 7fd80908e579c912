"""The chart, by Helm itself; what it renders, by Kubernetes' own schemas; its settings, by the daemon's loader."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import kubernetes_validate
import pytest
import yaml

import mdcache
from mdcache.settings import load
from tests.deploy.chart import CHART, EVERYTHING, container, one, refusal, render
from tests.deploy.conftest import ROOT, Tool

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

VERSIONS = ("1.25", "1.31", "1.37")


def test_helm_lint(helm: Tool) -> None:
    done = helm("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == mdcache.__version__


@pytest.mark.parametrize("values", [{}, EVERYTHING, {"persistence": {"enabled": False}}], ids=["default", "all", "ram"])
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_would_take_it(helm: Tool, tmp_path: Path, values: dict[str, Any], version: str) -> None:
    found = render(helm, tmp_path, values, kubernetes=version)
    assert {each["kind"] for each in found} >= {"StatefulSet", "Service", "ConfigMap", "NetworkPolicy"}
    for manifest in found:
        if not manifest["apiVersion"].startswith("monitoring.coreos.com/"):  # not Kubernetes' own
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_settings_it_makes_are_taken_by_the_daemon(helm: Tool, tmp_path: Path) -> None:
    found = render(helm, tmp_path, EVERYTHING)
    secret = {name: base64.b64decode(text).decode() for name, text in one(found, "Secret")["data"].items()}
    config = one(found, "ConfigMap", "desk-mdcache")
    environ: dict[str, str] = dict(config["data"])
    for entry in container(found)["env"]:
        match entry:
            case {"valueFrom": {"secretKeyRef": {"name": "desk-mdcache", "key": key}}}:
                environ[entry["name"]] = secret[key]
            case {"valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}:
                environ[entry["name"]] = "node-7"
            case {"name": "SSL_CERT_FILE"}:
                environ[entry["name"]] = certifi.where()  # where the certificates are mounted there is nothing here
            case {"value": value}:
                environ[entry["name"]] = value
    settings = load(environ, None)
    assert settings.candle_ttl_s("1M") == 60.5
    assert (settings.disk_max_mb, settings.weight_share, settings.persist) == (4_096_000, 0.4, False)
    assert (settings.egress, settings.replicas, settings.host) == ("node-7", 3, "0.0.0.0")
    assert settings.admin_token is not None
    assert settings.redis_url is not None
    assert settings.https_proxy is not None
    for manifest in (config, one(found, "StatefulSet")):
        assert not re.search("(admin|redis|proxy)-secret", json.dumps(manifest))


def test_the_pod_is_locked_down(helm: Tool, tmp_path: Path) -> None:
    pod = one(render(helm, tmp_path, {}), "StatefulSet")["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


def test_a_replica_has_a_volume_of_its_own_or_none(helm: Tool, tmp_path: Path) -> None:
    kept = one(render(helm, tmp_path, {}), "StatefulSet")["spec"]
    assert kept["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert "volumes" not in kept["template"]["spec"]
    lost = one(render(helm, tmp_path, {"persistence": {"enabled": False}}), "StatefulSet")["spec"]
    assert "volumeClaimTemplates" not in lost
    assert lost["template"]["spec"]["volumes"] == [{"name": "state", "emptyDir": {}}]


def test_a_changed_setting_restarts_the_pods(helm: Tool, tmp_path: Path) -> None:
    def checksum(values: dict[str, Any]) -> str:
        found = one(render(helm, tmp_path, values), "StatefulSet")
        return str(found["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) != checksum({"settings": {"WEIGHT_SHARE": 0.4}})


def test_prometheus_scrapes_each_pod_once_under_the_name_the_alerts_look_for(helm: Tool, tmp_path: Path) -> None:
    found = render(helm, tmp_path, EVERYTHING)
    (endpoint,) = one(found, "ServiceMonitor")["spec"]["endpoints"]
    scraped = [
        service["metadata"]["name"]
        for service in found
        if service["kind"] == "Service" and any(port["name"] == endpoint["port"] for port in service["spec"]["ports"])
    ]
    assert scraped == ["desk-mdcache"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "mdcache"}]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 2}, "redis.enabled"),
        ({"redis": {"enabled": True}}, "secrets.redisUrl"),
        ({"settings": {"WEIGHT_SHRE": 0.4}}, "WEIGHT_SHRE"),
        ({"settings": {"ADMIN_TOKEN": "x"}}, "ADMIN_TOKEN"),
        ({"replica": 1}, "replica"),
        ({"service": {"port": 0}}, "port"),
        ({"secrets": {"redisUrl": "http://x"}}, "redisUrl"),
    ],
)
def test_wrong_values_are_refused(helm: Tool, tmp_path: Path, values: dict[str, Any], said: str) -> None:
    assert said in refusal(helm, tmp_path, values)


def names(values: dict[str, Any], schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """Names that values.yaml or the schema has and the other lacks, folders in folders."""
    known = schema.get("properties")
    if known is None:  # free: maps of names
        return
    yield from (f"{at}{name}" for name in values.keys() ^ known.keys())
    for name in values.keys() & known.keys():
        if isinstance(values[name], dict):
            yield from names(values[name], known[name], f"{at}{name}.")


def test_every_value_stands_in_the_schema_and_the_other_way_round() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(names(values, schema)) == {"global"}  # Helm's own


def test_the_documentation_names_every_value() -> None:
    told = (ROOT / "docs" / "deploy.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert [name for name in values if not re.search(rf"^\|.*`{name}\b", told, re.MULTILINE)] == []
