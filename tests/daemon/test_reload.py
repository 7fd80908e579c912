"""Settings that change while the daemon runs: in one step or not at all, and at once for whoever asks next."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mdcache.daemon.hang_ups import HangUps
from mdcache.daemon_events import SettingsRefused, SettingsReloaded
from mdcache.settings import Problem, Settings, SettingsError
from tests.support.daemon_process import DaemonProcess
from tests.support.processes import sim
from tests.support.served_daemon import ServedDaemon
from tests.support.virtual_daemon import DaemonOptions
from tests.support.waiting import eventually

HOURS = b"symbol=ETHUSDT&interval=1h&limit=5"


async def reload(w: ServedDaemon, **settings: object) -> None:
    read = w.live.settings.model_copy(update=settings)
    await w.live.reload(lambda: read, w.targets.apply)


def reads(w: ServedDaemon, path: str = "/api/v3/klines") -> int:
    return sum(entry.path == path for entry in w.exchange.log)


async def status(w: ServedDaemon) -> Any:
    return json.loads((await w.get("/v1/status", b"")).body)


@pytest.mark.virtual
async def test_a_new_ttl_counts_at_once_for_answers_that_were_ready() -> None:
    w = ServedDaemon(options=DaemonOptions(ttl_s=50.0, derive=False))
    for _ in range(3):
        await w.get(query=HOURS)
    first = await w.get(query=HOURS)
    assert first.headers["cache-control"].startswith("max-age=50")
    await w.get("/api/v3/depth", b"symbol=ETHUSDT")
    before = reads(w), reads(w, "/api/v3/depth")
    await reload(w, open_candle_ttl_s=1.0, snapshot_ttls={"depth": 20.0})
    await asyncio.sleep(2.0)
    for _ in range(2):
        await w.get(query=HOURS)
    again = await w.get(query=HOURS)
    assert again.headers["cache-control"].startswith("max-age=1,")
    await w.get("/api/v3/depth", b"symbol=ETHUSDT")
    assert (reads(w), reads(w, "/api/v3/depth")) == (before[0] + 1, before[1])
    await reload(w, open_candle_ttl_s=40.0)
    await asyncio.sleep(3.0)
    assert (await w.get(query=HOURS)).headers["cache-control"].startswith("max-age=40")
    assert reads(w) == before[0] + 1


@pytest.mark.virtual
async def test_an_answer_under_way_is_not_kept_by_the_ttl_of_before() -> None:
    w = ServedDaemon(options=DaemonOptions(ttl_s=50.0, derive=False))
    await w.get(query=HOURS)
    w.exchange.control.latency(before_s=1.0)
    await asyncio.sleep(1.0)
    asked = asyncio.create_task(w.get(query=HOURS, cache_control="no-cache"))
    await asyncio.sleep(0.5)
    await reload(w, open_candle_ttl_s=1.0)
    await asked
    await asyncio.sleep(2.0)
    before = reads(w)
    await w.get(query=HOURS)
    assert reads(w) == before + 1


@pytest.mark.virtual
async def test_clients_tokens_and_names_change_at_once() -> None:
    w = ServedDaemon()
    await w.get(x_mdcache_client="scanner")
    assert (await w.get("/v1/admin/warm", b"", authorization="Bearer new")).status == 401
    assert (await w.get("/v1/status", b"", host="desk.example")).status == 403
    await reload(w, clients={"scanner": "low"}, admin_token=SecretStr("new"), allowed_hosts=("desk.example",))
    assert (await w.get("/v1/admin/warm", b"", authorization="Bearer new")).status == 200
    assert (await w.get("/v1/status", b"", host="desk.example")).status == 200
    await w.get(query=b"symbol=BNBUSDT&interval=1m&limit=5", x_mdcache_client="scanner")
    metrics = (await w.get("/metrics", b"")).body.decode()
    assert 'client="scanner"' in metrics
    assert 'lane="low"' in metrics


@pytest.mark.virtual
async def test_nothing_is_changed_if_anything_is_wrong_and_people_are_told() -> None:
    w = ServedDaemon()
    problems = [Problem("MDCACHE_A", "1", ".env, line 1", "no such setting"), Problem("B", "2", "x", "y")]

    def fails() -> Settings:
        raise SettingsError(problems)

    before, loaded = w.live.settings, (await status(w))["settings_loaded"]["at_ms"]
    await asyncio.sleep(1.0)
    await w.live.reload(fails, w.targets.apply)
    assert w.live.settings is before
    assert [event for event in w.events if isinstance(event, SettingsRefused)] == [
        SettingsRefused(("MDCACHE_A=1 (.env, line 1): no such setting", "B=2 (x): y"))
    ]
    found = await status(w)
    assert found["settings_loaded"]["at_ms"] == loaded
    assert len(found["settings_loaded"]["refused"]) == 2
    assert any("settings: not read again" in line for line in found["degraded"])
    assert "mdcache_settings_refused 1.0" in (await w.get("/metrics", b"")).body.decode()
    await reload(w)
    found = await status(w)
    assert found["settings_loaded"]["refused"] == []
    assert found["settings_loaded"]["at_ms"] == loaded + 1_000
    assert "mdcache_settings_refused 0.0" in (await w.get("/metrics", b"")).body.decode()


@pytest.mark.virtual
async def test_what_needs_a_restart_is_told_and_stays() -> None:
    w = ServedDaemon()
    await reload(w, port=9_000, weight_share=0.25, max_stale_s=7.0)
    (told,) = [event for event in w.events if isinstance(event, SettingsReloaded)]
    assert told.needs_restart == ("MDCACHE_PORT", "MDCACHE_WEIGHT_SHARE")
    assert told.changed == ("MDCACHE_MAX_STALE_S",)
    found = await status(w)
    assert found["settings"]["MDCACHE_PORT"] == "8700"
    assert found["settings"]["MDCACHE_MAX_STALE_S"] == "7"
    assert found["settings_loaded"]["needs_restart"] == ["MDCACHE_PORT", "MDCACHE_WEIGHT_SHARE"]
    await reload(w)
    assert (await status(w))["settings_loaded"]["needs_restart"] == []


@pytest.mark.parametrize(
    ("nohup", "terminals", "ends"),
    [(False, [True, False], 1), (False, [True, True], 0), (False, [False], 0), (True, [True, False], 0)],
)
async def test_a_hang_up_of_the_terminal_ends_the_daemon(
    monkeypatch: pytest.MonkeyPatch, nohup: bool, terminals: list[bool], ends: int
) -> None:
    stopped, reloaded = [], []
    left = iter(terminals)
    monkeypatch.setattr("mdcache.daemon.hang_ups._has_terminal", lambda: next(left, terminals[-1]))

    async def note() -> None:
        reloaded.append(True)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda: stopped.append(True))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    hang_ups = HangUps(note)
    hang_ups.listen()
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)
    await hang_ups.aclose()
    loop.remove_signal_handler(signal.SIGTERM)
    signal.signal(signal.SIGHUP, before)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    assert (len(stopped), len(reloaded)) == (ends, 0 if ends else 2)


_STARTS_AND_STOPS = """
import asyncio, os, signal, sys
from mdcache.cli import app
from mdcache.daemon import hang_ups

async def run():
    async def reload():
        print("reloaded", flush=True)
    found = hang_ups.HangUps(reload)
    found.listen()
    await asyncio.sleep(0.05)
    await found.aclose()
    os.kill(os.getpid(), signal.SIGHUP)
    print("ended", flush=True)

def command():
    os.kill(os.getpid(), signal.SIGHUP)
    asyncio.run(run())

signal.signal(signal.SIGHUP, signal.SIG_DFL)
hang_ups._has_terminal = lambda: True
sys.argv = ["mdcache", "serve"]
app.application = lambda _: command
app.main()
"""


@pytest.mark.processes
def test_sighup_while_it_starts_is_taken_later_and_while_it_stops_means_nothing() -> None:
    arguments = [sys.executable, "-c", _STARTS_AND_STOPS]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["reloaded", "ended"]), done.stderr


@pytest.fixture
def process() -> Iterator[DaemonProcess]:
    with sim() as exchange:
        daemon = DaemonProcess(exchange)
        try:
            yield daemon
        finally:
            daemon.close()


@pytest.mark.processes
def test_sighup_reads_the_file_again(process: DaemonProcess) -> None:
    file = Path(process.folder) / ".env"
    file.write_text("MDCACHE_OPEN_CANDLE_TTL_S=9\nMDCACHE_WEIGHT_SHARE=0.4\n")
    process.start()
    query = "/api/v3/klines?symbol=BTCUSDT&interval=1d&limit=2"
    assert process.get(query).headers["cache-control"].startswith("max-age=9")
    file.write_text('MDCACHE_OPEN_CANDLE_TTL_S=3\nMDCACHE_WEIGHT_SHARE=0.2\nMDCACHE_CLIENTS={"bot":"low"}\n')
    process.signal(signal.SIGHUP)
    eventually(lambda: bool(process.lines("settings_reloaded")))
    (line,) = process.lines("settings_reloaded")
    assert (line["level"], line["needs_restart"]) == ("warning", ["MDCACHE_WEIGHT_SHARE"])
    assert line["changed"] == ["MDCACHE_OPEN_CANDLE_TTL_S", "MDCACHE_CLIENTS"]
    assert process.get(query).headers["cache-control"].startswith("max-age=3")
    file.write_text("MDCACHE_OPEN_CANDLE_TTL_S=-1\nMDCACHE_PROT=1\nMDCACHE_MAX_STALE_S=1\n")
    process.signal(signal.SIGHUP)
    eventually(lambda: bool(process.lines("settings_refused")))
    (line,) = process.lines("settings_refused")
    assert [problem.split("=")[0] for problem in line["problems"]] == ["MDCACHE_PROT", "MDCACHE_OPEN_CANDLE_TTL_S"]
    file.unlink()
    process.signal(signal.SIGHUP)
    eventually(lambda: len(process.lines("settings_refused")) == 2)
    settings = process.get("/v1/status").json()["settings"]
    assert (settings["MDCACHE_OPEN_CANDLE_TTL_S"], settings["MDCACHE_MAX_STALE_S"]) == ("3", "30")
    file.write_text("MDCACHE_LOG_LEVEL=debug\n")
    process.signal(signal.SIGHUP)
    eventually(lambda: len(process.lines("settings_reloaded")) == 2)
    process.get("/api/v3/klines?symbol=ETHUSDT&interval=1d&limit=2")
    eventually(lambda: any(found["level"] == "debug" for found in process.lines("upstream")))
