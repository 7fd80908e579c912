"""The real process: exit codes, which stream says what, and never a traceback."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mdcache.cli import app
from mdcache.errors import MdcacheError

pytestmark = pytest.mark.processes


def run_process(*command: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith("MDCACHE_")}
    return subprocess.run(
        command, cwd=folder, env=clean | environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_module_and_the_script_are_one(folder: Path) -> None:
    script = Path(sys.executable).with_name("mdcache")
    by_module = run_process(sys.executable, "-m", "mdcache", "--version", folder=folder)
    by_script = run_process(str(script), "--version", folder=folder)
    assert by_module.returncode == by_script.returncode == 0
    assert by_module.stdout == by_script.stdout


def test_wrong_settings_end_serve_with_2_and_no_traceback(folder: Path) -> None:
    done = run_process(sys.executable, "-m", "mdcache", "serve", folder=folder, MDCACHE_PROT="1", MDCACHE_PORT="x")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("error", [OSError(98, "Address already in use"), MdcacheError("another daemon runs here")])
def test_a_failure_at_run_time_is_one_line_and_1(
    error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "mdcache.daemon.lifecycle", SimpleNamespace(run=fail))
    monkeypatch.setattr(sys, "argv", ["mdcache", "serve"])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"mdcache: {error}\n"


def test_a_sim_whose_port_is_taken_says_so_and_ends_with_1(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_process(sys.executable, "-m", "mdcache", "sim", "--port", port, folder=folder)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line
    assert "--port" in line
