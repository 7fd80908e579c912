"""`make run SIM=1` as a new user has it: a clean copy, an environment of its own, Ctrl-C."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from mdcache.replay.processes import free_port

ROOT = Path(__file__).parents[2]
START_S = 120.0
INSTALLED = "--old-file=.venv-run/.ready"  # make: never mind the environment, RUN_PY is another
MAX_PACKAGES, MAX_MB = 43, 65

# Copies its standard input to a new terminal, so that "\x03" is Ctrl-C, and returns the command's exit code.
IN_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])) % 256)"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a clone would hold, as it stands here."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@contextmanager
def running(copy: Path, *command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the daemon's address, once it printed what to try."""
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith(("MDCACHE_", "MAKE"))}
    env = clean | {"MDCACHE_PORT": str(free_port()), "MDCACHE_LOG_LEVEL": "warning"}
    with subprocess.Popen(
        command,
        cwd=copy,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        printed = ""
        try:
            while "Ctrl-C ends both" not in printed:
                line = process.stdout.readline()
                assert line, printed
                printed += line
            assert re.search(rf"^state +{re.escape(str(copy))}/\.run/sim/state\s*$", printed, re.MULTILINE), printed
            yield process, f"http://127.0.0.1:{env['MDCACHE_PORT']}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def ask(url: str) -> None:
    with httpx.Client(trust_env=False, timeout=START_S) as client:
        answer = client.get(f"{url}/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=500")
        assert answer.status_code == 200
        assert len(answer.json()) == 500
        assert client.get(f"{url}/docs").status_code == 200


def press_ctrl_c(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None
    process.stdin.write("\x03")
    process.stdin.flush()
    return process.wait(START_S)


def listens(url: str) -> bool:
    try:
        httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return False
    return True


@pytest.mark.processes
@pytest.mark.untraced
def test_ctrl_c_ends_it_with_0(copy: Path) -> None:
    make = ("make", INSTALLED, "run", "SIM=1", f"RUN_PY={sys.executable}", "SIM_PORT=0")
    with running(copy, sys.executable, "-c", IN_A_TERMINAL, *make) as (process, url):
        ask(url)
        assert press_ctrl_c(process) == 0
        assert process.stdout is not None
        assert "make: ***" not in process.stdout.read()
        assert not listens(url)


@pytest.mark.processes
@pytest.mark.untraced
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_a_terminal_signals_end_all_of_it(copy: Path, number: signal.Signals) -> None:
    make = ("make", INSTALLED, "run", "SIM=1", f"RUN_PY={sys.executable}", "SIM_PORT=0")
    with running(copy, *make) as (process, url):
        os.killpg(process.pid, number)
        process.wait(START_S)
        assert not listens(url)


@pytest.mark.processes
@pytest.mark.untraced
@pytest.mark.parametrize("exchange", ["SIM_SEED=2", "SIM_ROWS=rows"])
def test_another_exchange_does_not_find_the_rows_of_the_first(exchange: str) -> None:
    def command(*variables: str) -> str:
        make = ("make", "--dry-run", INSTALLED, "run", "SIM=1", *variables)
        return subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout

    assert "--state-dir .run/sim/state" in command()
    assert "--state-dir" not in command(exchange)


@pytest.mark.long
@pytest.mark.processes
@pytest.mark.untraced
def test_a_clean_copy_installs_what_serves_and_no_more(copy: Path) -> None:
    make = ("make", "run", "SIM=1", "SIM_PORT=0")
    with running(copy, sys.executable, "-c", IN_A_TERMINAL, *make) as (process, url):
        ask(url)
        assert press_ctrl_c(process) == 0
    (packages,) = (copy / ".venv-run").glob("lib/python3*/site-packages")
    assert len(list(packages.glob("*.dist-info"))) <= MAX_PACKAGES
    size = sum(file.lstat().st_blocks * 512 for file in (copy / ".venv-run").rglob("*"))
    assert size <= MAX_MB * 2**20
    assert not (copy / ".venv").exists()
