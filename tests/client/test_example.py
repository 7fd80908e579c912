"""The analysis loop of `examples/`: it acts once on each closed candle, and on no old data, whatever is done to it.

Real processes; candles of one second, so that a few seconds are as good as minutes.
"""

import contextlib
import importlib.util
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from mdcache.client import Candle, Client
from tests.support.processes import daemon, sim

pytestmark = [pytest.mark.processes, pytest.mark.untraced]
ROOT = Path(__file__).parents[2]


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Enough(Exception):
    """Ends the loop, as a signal would."""


def run_until(
    loop: ModuleType, url: str, memory: Path, acted: list[tuple[Candle, float]], enough: threading.Event
) -> threading.Thread:
    """Run the example in a thread."""

    def act(candle: Candle, rows: Sequence[Candle]) -> None:
        assert rows[-1] == candle
        acted.append((candle, time.time() - candle.close_time / 1000))
        if enough.is_set():
            raise _Enough

    def run() -> None:
        with Client(url) as mdcache, contextlib.suppress(_Enough):
            loop.follow(mdcache, ["BTCUSDT", "ETHUSDT"], "1s", memory, act)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def wait_for(acted: list[tuple[Candle, float]], more: int) -> None:
    goal, until_s = len(acted) + more, time.monotonic() + 30
    while len(acted) < goal:
        assert time.monotonic() < until_s, "the loop does not act"
        time.sleep(0.05)


def test_it_acts_once_on_each_closed_candle_and_never_on_old_ones(tmp_path: Path) -> None:
    loop, memory = load_example("analysis_loop"), tmp_path / "position"
    acted: list[tuple[Candle, float]] = []
    with sim() as exchange, daemon(exchange, request_deadline_s="3") as (url, _):
        enough = threading.Event()
        thread = run_until(loop, url, memory, acted, enough)
        wait_for(acted, 6)
        httpx.post(f"{exchange}/_sim/latency", json={"before_s": 600.0}).raise_for_status()  # it freezes
        time.sleep(6.0)
        frozen = len(acted)
        time.sleep(4.0)
        assert len(acted) == frozen
        httpx.post(f"{exchange}/_sim/latency", json={"before_s": 0.0}).raise_for_status()
        wait_for(acted, 4)
        enough.set()
        thread.join(10.0)
        assert not thread.is_alive()
        enough.clear()
        time.sleep(3.0)
        thread = run_until(loop, url, memory, acted, enough)  # it is started again
        wait_for(acted, 4)
        enough.set()
        thread.join(10.0)
    keys = [candle.key for candle, _ in acted]
    assert len(keys) == len(set(keys))
    assert {key[1] for key in keys} == {"BTCUSDT", "ETHUSDT"}
    assert max(late_s for _, late_s in acted) < 5 + 1 + 1.5  # the age, the length of a candle, what Binance takes
