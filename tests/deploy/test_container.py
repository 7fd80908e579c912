"""The image and the compose file, by the linters and by what they must agree on. No container engine runs here."""

import importlib.metadata
import re
import subprocess
from typing import Any

import pytest
import yaml

import mdcache
from mdcache.settings import load
from tests.deploy.conftest import DEPLOY, ROOT, call, ours
from tests.support.programs import find

pytestmark = pytest.mark.processes

DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_hadolint() -> None:
    done = call(ours("hadolint"), "--failure-threshold", "style", "deploy/docker/Dockerfile")
    assert done.returncode == 0, done.stdout


def test_every_base_image_is_pinned_and_the_last_stage_is_not_root() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert images
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", images[0])
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.findall(r"^USER (.*)", last, re.MULTILINE) == ["10001:10001"]


def test_every_install_checks_hashes_or_needs_no_index() -> None:
    installs = re.findall(r"pip[^&\n]* install ([^&]*)", DOCKERFILE)
    assert len(installs) == 3
    for options in installs:
        assert "--require-hashes" in options or "--no-index" in options, options


def test_the_build_environment_is_all_that_the_build_backend_needs() -> None:
    (awk,) = re.findall(r"awk '([^']*)' requirements-dev.lock", DOCKERFILE)
    lock = subprocess.run(
        ["awk", awk, ROOT / "requirements-dev.lock"], capture_output=True, text=True, check=True, timeout=10
    )
    kept = set(re.findall(r"^([\w-]+)==", lock.stdout, re.MULTILINE))
    assert set(re.findall(r"^\s+--hash", lock.stdout, re.MULTILINE))
    wanted, left = {"hatchling"}, ["hatchling"]
    while left:
        for requirement in importlib.metadata.requires(left.pop()) or []:
            name = re.split(r"[^\w-]", requirement)[0]
            if ";" not in requirement and name not in wanted:
                wanted.add(name)
                left.append(name)
    assert kept == wanted


def test_what_is_copied_is_in_the_context_and_what_is_in_it_exists() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.*)", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    }
    assert "*" in ignored
    assert copied == let_in
    assert all((ROOT / name).exists() for name in let_in)


def test_the_health_check_asks_the_daemon(tmp_path: Any) -> None:
    from tests.support.processes import daemon, free_port, sim

    (code,) = re.findall(r'CMD \["python", "-c", "(.*)"\]', DOCKERFILE)
    with sim() as upstream, daemon(upstream) as (url, _):
        port = url.rsplit(":", 1)[1]
        assert call(ours("python"), "-c", code, MDCACHE_PORT=port).returncode == 0
    assert call(ours("python"), "-c", code, MDCACHE_PORT=str(free_port())).returncode != 0


@pytest.mark.parametrize("profile", [(), ("--profile", "sim"), ("--profile", "replicas")])
def test_compose_understands_the_file(profile: tuple[str, ...]) -> None:
    program = find("docker-compose")
    done = call(program, "-f", "deploy/compose.yaml", *profile, "config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_compose_pins_every_image_and_publishes_on_this_host_only() -> None:
    for name, service in COMPOSE["services"].items():
        assert re.search(r":v?\d+\.\d+\.\d+", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["cap_drop"] == ["ALL"], name
        assert "privileged" not in service, name
    assert COMPOSE["services"]["mdcache"]["image"] == f"mdcache:{mdcache.__version__}"


def test_the_settings_of_the_compose_file_are_settings() -> None:
    given: dict[str, str] = COMPOSE["services"]["mdcache"]["environment"]
    plain = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in given.items()}
    settings = load(plain | {"HOME": "/home/someone"}, None)
    assert settings.redis_url is not None
    assert settings.spot_url == "https://api.binance.com"


def test_the_compose_file_starts_the_configured_replicas_each_with_a_folder() -> None:
    services = COMPOSE["services"]
    replicas = {name: service for name, service in services.items() if name.split("-")[0] == "mdcache"}
    balanced = {value for name, value in services["haproxy"]["environment"].items() if name.startswith("REPLICA_")}
    assert balanced == {f"{name}:8700" for name in replicas}
    assert len({service["volumes"][0] for service in replicas.values()}) == len(replicas)
    told = services["mdcache"]["environment"]["MDCACHE_REPLICAS"]
    assert told == f"${{MDCACHE_REPLICAS:-{len(replicas)}}}"
    (scraped,) = yaml.safe_load((DEPLOY / "compose.prometheus.yaml").read_text())["scrape_configs"]
    assert set(scraped["dns_sd_configs"][0]["names"]) == set(replicas)


def test_redis_of_the_compose_file_is_a_cache() -> None:
    command = " ".join(COMPOSE["services"]["redis"]["command"])
    assert "--maxmemory-policy allkeys-lru" in command
    assert "--maxmemory " in command
    assert COMPOSE["services"]["mdcache"]["depends_on"]["redis"]["condition"] == "service_healthy"


def test_what_compose_mounts_from_the_tree_is_named_as_it_lies_there() -> None:
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                folder = (DEPLOY / source).resolve()
                assert folder.exists(), f"{name} mounts {source}"


def test_prometheus_has_the_job_and_the_rules_it_has_without_compose() -> None:
    here = yaml.safe_load((DEPLOY / "compose.prometheus.yaml").read_text())
    there = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    assert here["global"] == there["global"]
    assert [each["job_name"] for each in here["scrape_configs"]] == [
        each["job_name"] for each in there["scrape_configs"]
    ]
    assert here["rule_files"] == [f"/etc/prometheus/rules/{name}" for name in there["rule_files"]]


def test_grafana_finds_its_dashboards_and_prometheus() -> None:
    grafana = COMPOSE["services"]["grafana"]
    provisioning = ROOT / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "mdcache.yaml").read_text())["providers"]
    assert f"../grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "$PROMETHEUS_URL"
    assert grafana["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"


def test_yamllint() -> None:
    rules = (
        "{extends: default, rules: {line-length: {max: 130}, document-start: disable, braces: {max-spaces-inside: 1},"
        " comments: {min-spaces-from-content: 1}, truthy: {check-keys: false}, brackets: {max-spaces-inside: 0}}}"
    )
    files = [*DEPLOY.glob("*.yaml"), DEPLOY / "helm/mdcache/values.yaml", DEPLOY / "helm/mdcache/Chart.yaml"]
    done = call(ours("yamllint"), "--strict", "-d", rules, *files)
    assert done.returncode == 0, done.stdout
