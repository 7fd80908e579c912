"""How the tests of deploy/ call real tools: those of the dev environment and of `tests/support/programs.py`."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.programs import helm

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

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


def ours(program: str) -> Path:
    """A program of the dev environment."""
    return Path(sys.executable).parent / program


@pytest.fixture(scope="session", name="helm")
def helm_itself() -> Tool:
    """Helm itself: `helm("template", …)`."""
    binary = helm()
    return lambda *arguments, **options: call(binary, *arguments, **options)
