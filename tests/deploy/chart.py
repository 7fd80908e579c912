"""The Helm chart as the tests render it, and values that use all of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.conftest import DEPLOY, Tool


class _Strict(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(set(keys)) == len(keys), f"twice: {keys}, {node.start_mark}"
        return super().construct_mapping(node, deep)


CHART = DEPLOY / "helm" / "mdcache"
EVERYTHING: dict[str, Any] = {
    "replicas": 3,
    "redis": {"enabled": True, "peers": [{"podSelector": {"matchLabels": {"app": "redis"}}}]},
    "secrets": {
        "adminToken": "admin-secret",
        "redisUrl": "redis://:redis-secret@redis:6379/0",
        "httpsProxy": "http://user:proxy-secret@proxy:3128",
    },
    "egressByNode": True,
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "persistence": {"storageClass": "fast", "size": "5Ti"},
    "extraEnv": [
        {"name": "NO_PROXY", "value": "sim"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "MDCACHE_SPOT_URL", "valueFrom": {"secretKeyRef": {"name": "mirror", "key": "url"}}},
    ],
    "extraEnvFrom": [{"secretRef": {"name": "more"}}, {"configMapRef": {"name": "more"}}],
    "certificates": {"secret": "roots", "key": "roots.pem"},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboards": {"enabled": True, "annotations": {"grafana_folder": "mdcache"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"a": "b"},
        "hosts": ["mdcache.example", "other.example"],
        "tls": [{"secretName": "mdcache-tls", "hosts": ["mdcache.example"]}],
    },
    "networkPolicy": {
        "from": [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "monitoring": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "upstreamPorts": [3128, 8701],
    },
    "imagePullSecrets": [{"name": "registry"}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "data"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "settings": {
        "OPEN_CANDLE_TTLS": {"1h": 10, "1M": 60.5},
        "CLIENTS": {"engine": "high"},
        "DISK_MAX_MB": 4_096_000,
        "WEIGHT_SHARE": 0.4,
        "PERSIST": False,
        "SPOT_URL": "http://sim:8701",
    },
}


def render(helm: Tool, folder: Path, values: dict[str, Any], *, kubernetes: str = "1.31") -> list[dict[str, Any]]:
    """The manifests for a cluster of this version."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    done = helm("template", "desk", CHART, "--namespace", "data", "--values", file, "--kube-version", kubernetes)
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def parsed(text: str) -> list[dict[str, Any]]:
    """The manifests of what Helm printed; a key that stands twice is refused, as Kubernetes may."""
    return [found for found in yaml.load_all(text, Loader=_Strict) if found]


def notes(helm: Tool, folder: Path, values: dict[str, Any]) -> str:
    """What `helm install` prints at its end; that asks a cluster, so they are made a manifest of a copy here."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart, dirs_exist_ok=True)
    text = (chart / "templates" / "NOTES.txt").read_text()
    manifest = '{{ define "notes" }}' + text + '{{ end }}notes: {{ include "notes" . | toJson }}'
    (chart / "templates" / "notes.yaml").write_text(manifest)
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    options = ("--namespace", "data", "--values", file, "--show-only", "templates/notes.yaml")
    done = helm("template", "desk", chart, *options)
    assert done.returncode == 0, done.stderr
    return str(yaml.safe_load(done.stdout)["notes"])


def refusal(helm: Tool, folder: Path, values: dict[str, Any]) -> str:
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    done = helm("template", "desk", CHART, "--values", file)
    assert done.returncode != 0, done.stdout
    return done.stderr


def one(found: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    """The only manifest of this kind, or the one with this name."""
    (manifest,) = (each for each in found if each["kind"] == kind and name in ("", each["metadata"]["name"]))
    return manifest


def container(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The only container of the pods."""
    (only,) = one(found, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return dict(only)
