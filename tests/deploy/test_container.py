"""The image, by the linter and by what it must agree with. No container engine runs here."""

import importlib.metadata
import re
import subprocess
from typing import Any

import pytest

from tests.deploy.conftest import DEPLOY, ROOT, call, ours

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()


def test_hadolint() -> None:
    done = call(ours("hadolint"), "--failure-threshold", "style", "deploy/docker/Dockerfile")
    assert done.returncode == 0, done.stdout


def test_every_base_image_is_pinned_and_the_last_stage_is_not_root() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert images
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", images[0])
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]
    assert re.findall(r"^USER (.*)", last, re.MULTILINE) == ["10001:10001"]


def test_every_install_checks_hashes_or_needs_no_index() -> None:
    installs = re.findall(r"pip[^&\n]* install ([^&]*)", DOCKERFILE)
    assert len(installs) == 4
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
