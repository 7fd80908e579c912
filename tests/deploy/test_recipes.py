"""What docs/deploy.md says to type agrees with the files it is about, and with what they say at their heads."""

import re
import shlex

import pytest

from tests.deploy.conftest import DEPLOY, ROOT, Tool

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

PAGE = (ROOT / "docs" / "deploy.md").read_text()


def commands(text: str) -> list[str]:
    """The commands of a page's console blocks, a continued one as one line."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = re.sub(r"\\\n\s*", "", "".join(blocks)).splitlines()
    return [line[2:] for line in lines if line.startswith(("$ ", "# "))]


def at_the_head(name: str, start: str) -> list[str]:
    """The commands in the comment at the head of a file that begin like this."""
    head = re.findall(r"^# *(.*)$", (DEPLOY / name).read_text().split("\n\n")[0], re.MULTILINE)
    return [line for line in head if re.match(start, line)]


def test_compose_is_started_as_its_file_says() -> None:
    told = [line for line in commands(PAGE) if re.search("docker compose|export MDCACHE", line)]
    assert sorted(told) == sorted(at_the_head("compose.yaml", "docker compose|export |MDCACHE_"))


def test_the_image_is_built_as_its_file_says() -> None:
    assert [line for line in commands(PAGE) if line.startswith("docker build")] == at_the_head(
        "docker/Dockerfile", "docker build"
    )


def test_the_unit_is_installed_as_its_file_says() -> None:
    def steps(lines: list[str]) -> list[str]:
        return [step for line in lines for step in re.split(" && ", re.sub(", and .*", "", line))]

    told = [line for line in commands(PAGE) if re.search("/opt/mdcache|/etc/mdcache|systemctl|systemd", line)]
    told = [line for line in told if "systemctl reload" not in line]  # that is for later
    assert steps(told) == steps(at_the_head("systemd/mdcache.service", "python3|/opt|install"))


def test_the_container_is_run_as_compose_runs_it() -> None:
    (line,) = [line for line in commands(PAGE) if line.startswith("docker run")]
    for option in ("--read-only", "--cap-drop ALL", "no-new-privileges", "--memory 1g", "max-size=10m", "max-file=5"):
        assert option in line
    assert "--stop-timeout 20" in line
    assert "stop_grace_period: 20s" in (DEPLOY / "compose.yaml").read_text()


def test_the_chart_takes_what_the_page_installs_it_with(helm: Tool) -> None:
    (line,) = [line for line in commands(PAGE) if line.startswith("helm install")]
    done = helm("template", *shlex.split(line.removeprefix("helm install ")))
    assert done.returncode == 0, done.stderr


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"(?<![\w/])(?:deploy|grafana)/[\w./*-]*\w", PAGE))
    assert named
    assert [name for name in named if not list(ROOT.glob(name))] == []
