"""`mdcache demo`: both processes start, what it prints works, and both end with it."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from mdcache.cli import app
from mdcache.cli.demo import Urls, to_try
from tests.cli.conftest import Run
from tests.support.processes import free_port
from tests.support.waiting import eventually

START_S = 90.0


@contextmanager
def running(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The demo and what it printed, once it is ready; `folder` has no settings."""
    command = [sys.executable, "-m", "mdcache", "demo", "--sim-port", "0", *options]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={"MDCACHE_PORT": "0"}
    ) as process:
        assert process.stdout is not None
        try:
            printed = ""
            while "Ctrl-C" not in printed:
                line = process.stdout.readline()
                assert line, printed
                printed += line
            yield process, printed
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


def listens(url: str) -> bool:
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def commands(printed: str) -> list[list[str]]:
    return [shlex.split(line) for line in printed.splitlines() if line.startswith("  curl ")]


@pytest.mark.processes
@pytest.mark.untraced
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_both_with_0(folder: Path, number: signal.Signals) -> None:
    with running(folder) as (process, printed):
        urls = set(re.findall(r"http://127\.0\.0\.1:\d+", printed))
        assert len(urls) == 2
        assert all(map(listens, urls))
        (state,) = re.findall(r"^state +(\S+) \(removed at the end\)$", printed, re.MULTILINE)
        assert Path(state).is_dir()
        process.send_signal(number)
        assert process.wait(START_S) == 0
        assert not any(map(listens, urls))
        assert not Path(state).exists()


@pytest.mark.processes
@pytest.mark.untraced
def test_what_it_prints_shows_what_it_says(folder: Path) -> None:
    with (
        running(folder, "--state-dir", "kept") as (process, printed),
        httpx.Client(trust_env=False, timeout=START_S) as client,
    ):
        assert f"state         {folder / 'kept'}\n" in printed
        question, ban, unban = commands(printed)
        assert question[:2] == ["curl", "-i"]
        answers = [client.get(question[2]) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[1].headers["cache-status"].startswith("mdcache; hit")
        (without_stream,) = re.findall(r"such as (http\S+),", printed)
        assert client.get(without_stream).status_code == 200
        assert client.post(ban[3], content=ban[5]).status_code == 200
        deadline = time.monotonic() + START_S
        while "detail=stale" not in client.get(without_stream).headers["cache-status"]:
            assert time.monotonic() < deadline
        assert "detail=stale" not in client.get(question[2]).headers["cache-status"]
        assert client.post(unban[3]).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(START_S) == 0
    assert (folder / "kept" / "gates.json").exists()


@pytest.mark.processes
@pytest.mark.untraced
def test_the_readmes_demonstration_gives_the_answers_that_it_shows(folder: Path) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text().split("## A minute's demonstration")[1]
    block = next(each for each in text.split("```console\n")[1:] if "_sim/ban" in each).split("```")[0]
    shown = re.findall(r"^cache-status: (.*)$", block, re.MULTILINE)
    with running(folder) as (_, printed), httpx.Client(trust_env=False, timeout=START_S) as client:
        daemon, exchange = sorted(set(re.findall(r"http://127\.0\.0\.1:\d+", printed)), key=printed.index)
        answered = []
        for line in re.findall(r"^\$ (.*)$", block.replace("localhost:8700", daemon), re.MULTILINE):
            words = shlex.split(line.replace("localhost:8701", exchange), comments=True)
            if "POST" in words:
                assert client.post(words[3], content=words[5]).status_code == 200
                continue
            if words[0] == "sleep":
                time.sleep(float(words[1].removesuffix(";")))
            answered.append(client.get(words[-1]).headers["cache-status"])
    assert len(shown) == 2
    assert [re.sub(r"-\d+", "-n", each) for each in answered] == [re.sub(r"-\d+", "-n", each) for each in shown]


@pytest.mark.parametrize("taken", ["the daemon's port", "the exchange's port"])
def test_a_taken_port_ends_it_with_1_before_anything_starts(
    taken: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = str(other.getsockname()[1])
        ports = [number, str(free_port())]
        port, sim_port = ports if taken == "the daemon's port" else reversed(ports)
        monkeypatch.setenv("MDCACHE_PORT", port)
        monkeypatch.setattr(sys, "argv", ["mdcache", "demo", "--sim-port", sim_port])
        with pytest.raises(SystemExit) as caught:
            app.main()
    assert caught.value.code == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert ("MDCACHE_PORT" if taken == "the daemon's port" else "--sim-port") in printed.err
    assert ("--sim-port" if taken == "the daemon's port" else "MDCACHE_PORT") not in printed.err
    assert f":{number}" in printed.err


@pytest.mark.processes
@pytest.mark.untraced
def test_it_ends_with_1_if_one_of_both_does_and_takes_the_other_along(folder: Path) -> None:
    with running(folder) as (process, printed):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (daemon,) = (int(each) for each in children if b"serve" in Path(f"/proc/{each}/cmdline").read_bytes())
        os.kill(daemon, signal.SIGKILL)
        assert process.wait(START_S) == 1
        assert not any(map(listens, re.findall(r"http://127\.0\.0\.1:\d+", printed)))


@pytest.mark.processes
@pytest.mark.untraced
def test_killed_it_takes_both_along(folder: Path) -> None:
    with running(folder) as (process, printed):
        urls = set(re.findall(r"http://127\.0\.0\.1:\d+", printed))
        process.kill()
        eventually(lambda: not any(map(listens, urls)))


def test_wrong_settings_end_it_with_2(run: Run) -> None:
    assert run("demo", MDCACHE_PORT="x").exit_code == 2


def test_it_prints_lines_that_fit_a_terminal() -> None:
    urls = Urls("http://127.0.0.1:8700", "http://127.0.0.1:8701")
    assert max(map(len, to_try(urls, "/home/someone/somewhere").splitlines())) <= 110
