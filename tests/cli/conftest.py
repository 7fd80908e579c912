import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mdcache.cli.app import application

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder and an environment without settings: neither must leak into a test."""
    for name in os.environ:
        if name.upper().startswith("MDCACHE_") or name.lower() == "https_proxy":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs the command line in this process: `run("check", "--json", MDCACHE_PORT="1")`."""

    def run(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(application(), arguments, env=environ)

    return run
