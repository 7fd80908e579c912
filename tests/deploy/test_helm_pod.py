"""What the chart makes of a pod: its environment, certificates, memory, disk, and where it runs."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from mdcache.serving.ops.allowed_hosts import AllowedHosts
from mdcache.settings import Settings, load
from tests.deploy.chart import CHART, EVERYTHING, container, notes, one, parsed, refusal, render
from tests.deploy.conftest import Tool

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

REPLICAS = {"replicas": 3, "redis": {"enabled": True}, "secrets": {"redisUrl": "redis://redis:6379/0"}}


SENTINEL = {"secrets": {"redisUrl": "redis+sentinel://:word@one:26379,two/main"}}


def test_variables_come_from_values_and_from_secrets(helm: Tool, tmp_path: Path) -> None:
    found = container(render(helm, tmp_path, EVERYTHING))
    for wanted in EVERYTHING["extraEnv"]:
        assert wanted in found["env"]
    assert found["envFrom"] == [{"configMapRef": {"name": "desk-mdcache"}}, *EVERYTHING["extraEnvFrom"]]
    names = [entry["name"] for entry in found["env"]]
    assert len(set(names)) == len(names)


def test_the_proxy_is_a_secret_for_its_address_may_hold_a_password(helm: Tool, tmp_path: Path) -> None:
    found = render(helm, tmp_path, {"secrets": {"httpsProxy": "http://u:p@proxy:443"}})
    assert base64.b64decode(one(found, "Secret")["data"]["https-proxy"]) == b"http://u:p@proxy:443"
    (entry,) = (entry for entry in container(found)["env"] if entry["name"] == "HTTPS_PROXY")
    reference = {"name": "desk-mdcache", "key": "https-proxy", "optional": True}
    assert entry["valueFrom"] == {"secretKeyRef": reference}


@pytest.mark.parametrize("kind", ["configMap", "secret"])
def test_certificates_are_mounted_and_named(helm: Tool, tmp_path: Path, kind: str) -> None:
    found = render(helm, tmp_path, {"certificates": {kind: "roots", "key": "roots.pem"}})
    here = container(found)
    assert {"name": "SSL_CERT_FILE", "value": "/etc/mdcache/certificates/roots.pem"} in here["env"]
    assert {"name": "certificates", "mountPath": "/etc/mdcache/certificates", "readOnly": True} in here["volumeMounts"]
    (volume,) = one(found, "StatefulSet")["spec"]["template"]["spec"]["volumes"]
    source = {"configMap": {"name": "roots"}, "secret": {"secretName": "roots"}}[kind]
    assert volume == {"name": "certificates", kind: source}


def quantity(text: str) -> float:
    return float(text.removesuffix("Mi")) if text.endswith("Mi") else float("nan")


@pytest.mark.parametrize("given", [None, 64, 512, "2048", 16_384])
def test_memory_follows_what_is_cached(helm: Tool, tmp_path: Path, given: int | str | None) -> None:
    values: dict[str, Any] = {} if given is None else {"settings": {"MEMORY_MAX_MB": given}}
    cached = int(given or Settings.model_fields["memory_max_mb"].default)
    resources = container(render(helm, tmp_path, values))["resources"]
    assert quantity(resources["limits"]["memory"]) == 1.5 * cached + 256
    assert quantity(resources["requests"]["memory"]) == cached + 256
    assert resources["requests"]["cpu"] == "250m"


def test_a_limit_of_your_own_counts(helm: Tool, tmp_path: Path) -> None:
    values = {"resources": {"limits": {"memory": "3Gi", "cpu": "2"}, "requests": {"cpu": "1"}}}
    assert container(render(helm, tmp_path, values))["resources"] == {
        "limits": {"memory": "3Gi", "cpu": "2"},
        "requests": {"memory": "768Mi", "cpu": "1"},
    }


def anti_affinity(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    affinity: dict[str, Any] = one(found, "StatefulSet")["spec"]["template"]["spec"].get("affinity", {})
    return affinity.get("podAntiAffinity")


def test_replicas_keep_off_each_others_nodes(helm: Tool, tmp_path: Path) -> None:
    found = render(helm, tmp_path, REPLICAS)
    (soft,) = (anti_affinity(found) or {})["preferredDuringSchedulingIgnoredDuringExecution"]
    labels = one(found, "StatefulSet")["spec"]["selector"]
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": labels}
    assert soft == {"weight": 100, "podAffinityTerm": term}
    hard = anti_affinity(render(helm, tmp_path, REPLICAS | {"antiAffinity": "required"}))
    assert hard == {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    assert anti_affinity(render(helm, tmp_path, REPLICAS | {"antiAffinity": "none"})) is None
    assert anti_affinity(render(helm, tmp_path, {})) is None  # there is no other


def test_an_affinity_of_your_own_counts(helm: Tool, tmp_path: Path) -> None:
    own: dict[str, Any] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    found = one(render(helm, tmp_path, REPLICAS | {"affinity": own}), "StatefulSet")
    assert found["spec"]["template"]["spec"]["affinity"] == own


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"extraEnv": [{"name": "A", "value": 1}]}, "extraEnv"),
        ({"extraEnv": [{"name": "A"}]}, "extraEnv"),
        ({"extraEnv": [{"name": "MDCACHE_PORT", "value": "1"}]}, "extraEnv"),
        ({"certificates": {"configMap": "a", "secret": "b"}}, "certificates"),
        ({"secrets": {"httpsProxy": "http://proxy:3128"}}, "networkPolicy.upstreamPorts"),
        ({"secrets": {"httpsProxy": "proxy:3128"}}, "httpsProxy"),
        ({"settings": {"SPOT_URL": "http://mdcache.other:8700"}}, "networkPolicy.upstreamPorts"),
        ({"settings": {"USDM_URL": "http://mdcache.other"}}, "port 80"),
        (SENTINEL | {"redis": {"enabled": True}}, "redis.ports"),
        (SENTINEL | {"redis": {"enabled": True, "ports": [26_379]}}, "servers"),
        ({"redis": {"enabled": True}, "secrets": {"redisUrl": "redis://u:p:7@redis:6380"}}, "port 6380"),
        ({"settings": {"DISK_MAX_MB": 4096}}, "persistence.size"),
        ({"settings": {"SHUTDOWN_GRACE_S": 60}}, "terminationGracePeriodSeconds"),
        ({"antiAffinity": "hard"}, "antiAffinity"),
        ({"podLabels": {"app.kubernetes.io/name": "mine"}}, "podLabels"),
        ({"image": {"digest": "sha256:12"}}, "digest"),
    ],
)
def test_what_would_not_work_is_refused(helm: Tool, tmp_path: Path, values: dict[str, Any], said: str) -> None:
    assert said in refusal(helm, tmp_path, values)


def test_an_image_may_be_named_by_its_digest(helm: Tool, tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    values = {"image": {"repository": "registry.example/mdcache", "digest": digest}}
    assert container(render(helm, tmp_path, values))["image"] == f"registry.example/mdcache@{digest}"


def test_the_notes_say_that_the_image_is_to_be_brought(helm: Tool, tmp_path: Path) -> None:
    assert "image.repository" in notes(helm, tmp_path, {})
    assert "image.repository" not in notes(helm, tmp_path, {"image": {"repository": "registry.example/mdcache"}})


@pytest.mark.parametrize("release", ["desk", "a" * 53, "a-mdcache-" + "b" * 43])
def test_names_leave_room_for_what_kubernetes_puts_behind_them(helm: Tool, release: str) -> None:
    done = helm("template", release, CHART)
    assert done.returncode == 0, done.stderr
    for manifest in parsed(done.stdout):
        assert len(manifest["metadata"]["name"]) <= 63
    # the label controller-revision-hash is the StatefulSet's name with a dash and ten characters
    assert len(one(parsed(done.stdout), "StatefulSet")["metadata"]["name"]) <= 52


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"SPOT_URL": "https://api1.binance.com"}},
        {"settings": {"SPOT_URL": "http://mdcache.other:8700"}, "networkPolicy": {"upstreamPorts": [443, 8700]}},
        {"settings": {"SPOT_URL": "http://mdcache.other:8700"}, "networkPolicy": {"enabled": False}},
        SENTINEL | {"redis": {"enabled": True, "ports": [26_379, 6379]}},
        {"redis": {"enabled": True}, "secrets": {"redisUrl": "rediss://u:p:7@redis/0"}},
    ],
)
def test_what_would_work_is_taken(helm: Tool, tmp_path: Path, values: dict[str, Any]) -> None:
    assert render(helm, tmp_path, values)


def test_a_variable_of_your_own_replaces_the_charts(helm: Tool, tmp_path: Path) -> None:
    """A name that stands twice is refused by server-side apply."""
    own = [{"name": name, "value": "x"} for name in ("HTTPS_PROXY", "MDCACHE_EGRESS", "SSL_CERT_FILE")]
    values = {
        "egressByNode": True,
        "secrets": {"existing": "own"},
        "certificates": {"secret": "roots"},
        "extraEnv": own,
    }
    names = [entry["name"] for entry in container(render(helm, tmp_path, values))["env"]]
    assert sorted(names) == ["HTTPS_PROXY", "MDCACHE_ADMIN_TOKEN", "MDCACHE_EGRESS", "SSL_CERT_FILE"]


def test_pods_that_are_not_ready_do_not_keep_a_node_from_being_drained(helm: Tool, tmp_path: Path) -> None:
    """In a ban no pod is ready."""
    found = one(render(helm, tmp_path, {}), "PodDisruptionBudget")
    assert found["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_a_daemon_that_is_scaled_up_by_hand_has_settings_that_it_takes(helm: Tool, tmp_path: Path) -> None:
    config = one(render(helm, tmp_path, REPLICAS | {"replicas": 0}), "ConfigMap")
    assert config["data"]["MDCACHE_REPLICAS"] == "1"


def test_the_status_page_is_answered_under_the_names_of_the_service(helm: Tool, tmp_path: Path) -> None:
    hosts = AllowedHosts(load(one(render(helm, tmp_path, {}), "ConfigMap")["data"], None).allowed_hosts)
    for name in (
        "desk-mdcache",
        "desk-mdcache.data",
        "desk-mdcache.data.svc",
        "desk-mdcache.data.svc.cluster.local:8700",
    ):
        assert hosts.allows(name)
    assert not hosts.allows("evil.example")
    given = one(render(helm, tmp_path, {"settings": {"ALLOWED_HOSTS": "mdcache.example"}}), "ConfigMap")
    assert given["data"]["MDCACHE_ALLOWED_HOSTS"] == "mdcache.example"


def test_a_spread_is_that_of_these_pods_where_it_names_none(helm: Tool, tmp_path: Path) -> None:
    """Without a selector it would count no pod, and spread nothing."""
    zone: dict[str, Any] = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    own = zone | {"labelSelector": {"matchLabels": {"team": "data"}}}
    found = one(render(helm, tmp_path, {"topologySpreadConstraints": [zone, own]}), "StatefulSet")["spec"]
    assert found["template"]["spec"]["topologySpreadConstraints"] == [zone | {"labelSelector": found["selector"]}, own]


def test_what_the_chart_reckons_with_are_the_defaults_of_the_settings() -> None:
    found = {
        name: float(number)
        for path in (CHART / "templates").glob("*")
        for number, name in re.findall(r"default (\d+) \.Values\.settings\.(\w+)", path.read_text())
    }
    assert found.keys() == {"MEMORY_MAX_MB", "DISK_MAX_MB", "SHUTDOWN_GRACE_S"}
    assert found == {name: Settings.model_fields[name.lower()].default for name in found}
