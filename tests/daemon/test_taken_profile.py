"""The profile's file: whatever stands in its place, the daemon starts, and says what came of it."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from mdcache.clock import SystemClock
from mdcache.daemon.build import build
from mdcache.daemon.taken_profile import load_profile
from mdcache.events import Event, Events, ProfileRead
from mdcache.exchange.markets import Market
from mdcache.exchange.profile import FILE_NAME, MAX_BYTES
from mdcache.settings import Settings
from mdcache.stores.disk.state_dir import StateDir

GOOD: dict[str, Any] = {
    "version": 1,
    "measured_at_ms": 1_790_000_000_000,
    "mdcache": "1.0",
    "hosts": {"spot": "https://api.binance.com", "usdm": "https://elsewhere.example"},
    "facts": {"spot.final_row_lag_ms": 5_000, "usdm.klines_cap": 500, "spot.klines_cap": -1},
}


def written(folder: Path, content: bytes) -> Path:
    (folder / FILE_NAME).write_bytes(content)
    return folder


def test_without_a_file_all_is_as_assumed(tmp_path: Path) -> None:
    for folder in (None, tmp_path, tmp_path / "missing"):
        found = load_profile(Settings(), folder)
        assert (found.profile, found.status(), found.event(), found.measured.notes) == (None, None, None, ())


def test_what_is_taken_and_what_is_not_is_told(tmp_path: Path) -> None:
    found = load_profile(Settings(), written(tmp_path, json.dumps(GOOD).encode()))
    assert found.measured.times[Market.SPOT].settle_ms == 7_500
    event, status = found.event(), found.status()
    assert event is not None
    assert status is not None
    assert event.path == status.path == str(tmp_path / FILE_NAME)
    assert (event.measured_at_ms, event.facts, len(event.taken), event.left) == (1_790_000_000_000, 1, 1, ())
    assert event.taken[0].startswith("spot.final_row_lag_ms: rows settle by two reads from 7.5 s after a close")
    assert event.refused == status.refused
    assert [each.split(" ")[0] for each in event.refused] == ["usdm", "spot.klines_cap:"]


def put_a_folder(path: Path) -> None:
    path.mkdir()


def put_a_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def put_junk(path: Path) -> None:
    path.write_bytes(os.urandom(1_000))


def put_too_much(path: Path) -> None:
    path.write_bytes(b"[" * (MAX_BYTES * 4))


@pytest.mark.parametrize("put", [put_a_folder, put_a_pipe, put_a_link_to_itself, put_junk, put_too_much])
def test_whatever_lies_there_is_a_problem_and_no_more(tmp_path: Path, put: Any) -> None:
    put(tmp_path / FILE_NAME)
    found = load_profile(Settings(), tmp_path)
    event = found.event()
    assert event is not None
    assert (event.facts, event.taken, len(event.refused)) == (0, (), 1)
    assert found.measured.times.keys() in (set(), set(Market))
    assert all(times.settle_ms == 3_000 for times in found.measured.times.values())


def test_the_daemon_says_it_once_at_its_start(tmp_path: Path) -> None:
    heard: list[Event] = []
    build(
        Settings(persist=False),
        SystemClock(),
        random.Random(1),
        Events(heard.append),
        state_dir=StateDir(written(tmp_path, json.dumps(GOOD).encode())),
    )
    (event,) = [each for each in heard if isinstance(each, ProfileRead)]
    assert event.facts == 1
