"""Warming up whole spans: no page twice, through bans, cancellations and restarts, and nothing invented."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdcache.cache.job import UNFINISHED_STATES, JobState
from mdcache.cache.warmup import WarmupProgress, WarmupRequest
from mdcache.exchange.markets import Family, Market
from mdcache.sim import SimConfig
from mdcache.upstream.governor import GovernorSettings
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

pytestmark = pytest.mark.virtual

PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def world(folder: Path | None, config: SimConfig = PLENTY) -> VirtualDaemon:
    w = VirtualDaemon(config, DaemonOptions(limits=GovernorSettings(weight_share=0.9)), folder)
    w.exchange.control.latency(before_s=0.1)
    return w


def order(w: VirtualDaemon, *, days: int = 3, market: Market = Market.SPOT, **changes: Any) -> WarmupRequest:
    now = w.clock.true_ms()
    symbols = ("BTCUSD_PERP",) if market is Market.COINM else ("BTCUSDT",)
    made: dict[str, Any] = {"symbols": symbols, "intervals": ("1m", "1h"), "since_ms": now - 40 * DAY, "until_ms": None}
    made["until_ms"] = now - 40 * DAY + days * DAY - 1
    return WarmupRequest(market, **(made | changes))


async def until(w: VirtualDaemon, want: Callable[[WarmupProgress], bool], most_s: float = 36_000.0) -> WarmupProgress:
    began = w.clock.now()
    while not want(found := w.warming.progress()):
        assert w.clock.now() - began < most_s, found
        await w.clock.sleep(0.02)
    return found


async def done(w: VirtualDaemon) -> WarmupProgress:
    return await until(w, lambda each: each.state not in UNFINISHED_STATES)


def assert_no_call_twice(w: VirtualDaemon) -> None:
    assert len(w.calls()) == len(set(w.calls()))


@pytest.mark.parametrize("market", list(Market))
async def test_after_a_restart_the_span_costs_nothing(tmp_path: Path, market: Market) -> None:
    w = world(tmp_path)
    asked = order(w, market=market)
    assert w.warming.start(asked)
    first = await done(w)
    assert (first.state, first.series_done, first.series_total, first.errors) == (JobState.DONE, 2, 2, {})
    assert first.rows == 3 * (24 * 60 + 24)
    assert first.pages_left == 0
    assert 0 < first.weight == sum(e.weight for e in w.exchange.log if e.path.endswith("klines"))
    assert_no_call_twice(w)
    await w.aclose()
    w.restart()
    since = len(w.calls())
    assert w.warming.start(asked)
    again = await done(w)
    assert w.calls(since) == []
    assert (again.state, again.rows, again.weight) == (JobState.DONE, first.rows, 0)


async def test_only_one_job_at_a_time() -> None:
    w = world(None)
    assert w.warming.progress() == WarmupProgress()
    assert w.warming.start(order(w))
    assert not w.warming.start(order(w))
    assert (await done(w)).state is JobState.DONE
    assert w.warming.start(order(w))
    await w.aclose()
    assert w.warming.progress().state is JobState.CANCELLED


async def test_a_ban_in_the_middle_is_waited_out(tmp_path: Path) -> None:
    w = world(tmp_path)
    w.warming.start(order(w))
    await until(w, lambda each: each.pages >= 2)
    w.exchange.control.ban("spot", 300)
    waits = await until(w, lambda each: each.state is JobState.WAITING)
    assert "418" in waits.detail
    before = len(w.calls())
    await w.clock.sleep(200)
    assert w.warming.progress().state is JobState.WAITING
    assert len(w.calls()) == before
    end = await done(w)
    assert (end.state, end.rows, end.errors, end.detail) == (JobState.DONE, 3 * (24 * 60 + 24), {}, "")
    assert end.seconds > 300


async def test_a_gate_closed_by_hand_is_waited_out() -> None:
    w = world(None)
    w.warming.start(order(w))
    await until(w, lambda each: each.pages >= 2)
    w.governor.close_gate(Family.SPOT, 7_200)
    await until(w, lambda each: each.state is JobState.WAITING)
    w.governor.open_gate(Family.SPOT)
    assert (await until(w, lambda each: each.state is JobState.DONE, 120)).rows == 3 * (24 * 60 + 24)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("pages", [0, 1, 4])
async def test_cancelled_and_resumed_no_page_is_read_twice(tmp_path: Path, pages: int, restart: bool) -> None:
    w = world(tmp_path)
    asked = order(w)
    w.warming.start(asked)
    await until(w, lambda each: each.pages >= pages)
    await w.warming.cancel()
    assert w.warming.progress().state is JobState.CANCELLED
    if restart:
        await w.aclose()
        w.restart()
    assert w.warming.start(asked)
    assert (await done(w)).rows == 3 * (24 * 60 + 24)
    if not (restart and pages == 0):
        assert_no_call_twice(w)


async def test_the_budget_is_kept() -> None:
    w = VirtualDaemon(SimConfig(spot_limit=60), DaemonOptions(limits=GovernorSettings(weight_share=0.5)))
    w.warming.start(order(w, days=12))
    end = await done(w)
    assert (end.state, end.errors, end.rows) == (JobState.DONE, {}, 12 * (24 * 60 + 24))
    assert end.seconds > 60
    assert all(entry.status == 200 for entry in w.exchange.log)


async def test_a_refusal_ends_its_series_alone() -> None:
    w = world(None)
    w.warming.start(order(w, symbols=("NOPE", "BTC USDT&x=1", "BTCUSDT"), intervals=("1h", "7m")))
    end = await done(w)
    assert (end.state, end.series_done, end.series_total, end.rows) == (JobState.DONE, 6, 6, 3 * 24)
    assert sorted(end.errors) == [
        "spot/BTC USDT&x=1/1h",
        "spot/BTC USDT&x=1/7m",
        "spot/BTCUSDT/7m",
        "spot/NOPE/1h",
        "spot/NOPE/7m",
    ]
    assert "-1121" in end.errors["spot/NOPE/1h"]
    assert "-1120" in end.errors["spot/BTCUSDT/7m"]


@pytest.mark.parametrize("market", list(Market))
async def test_what_lies_before_the_listing_costs_next_to_nothing(market: Market) -> None:
    w = world(None)
    now = w.clock.true_ms()
    w.warming.start(order(w, market=market, since_ms=0, until_ms=now - 30 * DAY, intervals=("1d",)))
    end = await done(w)
    assert (end.state, end.errors) == (JobState.DONE, {})
    assert end.rows > 0
    path = f"{market.prefix}klines"
    symbol = "BTCUSD_PERP" if market is Market.COINM else "BTCUSDT"
    assert len(w.calls()) < 150, (path, symbol, len(w.calls()))


async def test_an_unexpected_failure_is_reported() -> None:
    w = world(None)

    async def answer(*_: object) -> None:
        raise RuntimeError("odd")

    w.warming._source = type("Broken", (), {"answer": staticmethod(answer)})()
    w.warming.start(order(w))
    end = await done(w)
    assert (end.state, end.detail) == (JobState.FAILED, "RuntimeError")
