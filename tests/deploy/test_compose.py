"""The compose file, by docker-compose and by what it must agree with. No container engine runs here."""

import re
from typing import Any

import pytest
import yaml

import mdcache
from mdcache.exchange.intervals import INTERVALS
from mdcache.settings import Settings, load
from tests.deploy.conftest import DEPLOY, ROOT, call, ours
from tests.support.programs import find

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
RECIPES = TEXT + (ROOT / "docs" / "deploy.md").read_text()


@pytest.mark.parametrize("profile", [(), ("--profile", "sim"), ("--profile", "replicas")])
def test_compose_understands_the_file(profile: tuple[str, ...]) -> None:
    program = find("docker-compose")
    done = call(program, "-f", "deploy/compose.yaml", *profile, "config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def rendered(*profiles: str, replicas: str = "") -> dict[str, Any]:
    """The services as docker-compose understands them, variables filled in."""
    options = [part for profile in profiles for part in ("--profile", profile)]
    done = call(find("docker-compose"), "-f", "deploy/compose.yaml", *options, "config", MDCACHE_REPLICAS=replicas)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return services


def test_compose_pins_every_image_and_publishes_on_this_host_only() -> None:
    for name, service in COMPOSE["services"].items():
        if service["image"] != f"mdcache:{mdcache.__version__}":  # which is built here
            assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+[\w-]*@sha256:[0-9a-f]{64}", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["cap_drop"] == ["ALL"], name
        assert "privileged" not in service, name
    assert COMPOSE["services"]["mdcache"]["image"] == f"mdcache:{mdcache.__version__}"


def test_one_daemon_is_told_that_it_is_one() -> None:
    assert rendered()["mdcache"]["environment"]["MDCACHE_REPLICAS"] == "1"


def test_three_are_told_so_by_the_lines_that_start_them() -> None:
    lines = [line for line in RECIPES.splitlines() if "--profile replicas" in line]
    assert len(lines) == 2
    for line in lines:
        (told,) = re.findall(r"MDCACHE_REPLICAS=(\d+) docker compose ", line)
        services = rendered("replicas", replicas=told)
        replicas = [service for name, service in services.items() if name.split("-")[0] == "mdcache"]
        assert {service["environment"]["MDCACHE_REPLICAS"] for service in replicas} == {str(len(replicas))}


def test_logs_and_memory_of_every_service_are_bounded() -> None:
    for name, service in rendered("replicas", "sim").items():
        logging = service["logging"]
        assert logging["driver"] == "json-file", name
        assert {"max-size", "max-file"} <= logging["options"].keys(), name
        assert megabytes(service["mem_limit"]) <= 1024, name


def test_memory_holds_what_is_cached_and_what_that_takes_besides() -> None:
    services = rendered()
    cached = int(services["mdcache"]["environment"]["MDCACHE_MEMORY_MAX_MB"])
    assert cached == Settings.model_fields["memory_max_mb"].default
    assert megabytes(services["mdcache"]["mem_limit"]) >= 1.5 * cached + 256
    (most,) = re.findall(r"--maxmemory (\S+)", " ".join(services["redis"]["command"]))
    assert megabytes(services["redis"]["mem_limit"]) >= 1.25 * megabytes(most)


def megabytes(text: str) -> float:
    ((number, unit),) = re.findall(r"^(\d+)([mg]?)b?$", text)
    return int(number) * {"": 2**-20, "m": 1, "g": 1024}[unit]


def test_nobody_can_sign_in_at_grafana_with_a_password_that_everybody_knows() -> None:
    environment = COMPOSE["services"]["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"  # a volume of before may still have one
    assert "GF_SECURITY_ADMIN_PASSWORD" not in environment


def test_the_settings_of_the_compose_file_are_settings() -> None:
    given: dict[str, str | None] = COMPOSE["services"]["mdcache"]["environment"]
    plain = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in given.items() if value is not None}
    settings = load(plain | {"HOME": "/home/someone"}, None)
    assert settings.redis_url is not None
    assert settings.spot_url == "https://api.binance.com"
    assert {name: settings.candle_ttl_s(name) for name in INTERVALS} == {
        name: Settings().candle_ttl_s(name) for name in INTERVALS
    }


def test_the_compose_file_starts_the_configured_replicas_each_with_a_folder() -> None:
    services = COMPOSE["services"]
    replicas = {name: service for name, service in services.items() if name.split("-")[0] == "mdcache"}
    balanced = {value for name, value in services["haproxy"]["environment"].items() if name.startswith("REPLICA_")}
    assert balanced == {f"{name}:8700" for name in replicas}
    assert len({service["volumes"][0] for service in replicas.values()}) == len(replicas)
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
