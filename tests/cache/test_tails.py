"""Tails: the second of a close, replicas of Binance that lag, rows that come late and rows that change.

Rule: docs/design.md#freshness, #settling, #tail-replacement, #revisions.
"""

import asyncio
import functools
import json
from typing import Literal

import pytest

from mdcache.candles.ranges import FOREVER_MS
from mdcache.events import RowRevised
from mdcache.exchange.intervals import INTERVALS
from mdcache.sim import SimConfig
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon, ready, rows

pytestmark = pytest.mark.virtual

SPOT = "/api/v3/klines"
PLENTY = SimConfig(spot_limit=10_000_000, futures_limit=1_000_000)
MINUTE = 60_000
SETTLED_AFTER = {"1m": 1, "1s": 12}  # buckets that the newest settled row lies behind the newest, at best


async def until_close(w: VirtualDaemon, before_s: float, length_ms: int = MINUTE) -> int:
    """Sleep until `before_s` before a close; returns the moment the next candle opens."""
    now = w.clock.true_ms()
    opens = now - now % length_ms + length_ms
    while opens - now < before_s * 1000:
        opens += length_ms
    await w.clock.sleep((opens - now) / 1000 - before_s)
    return opens


@pytest.mark.parametrize("latency_s", [0.0, 0.12])
async def test_the_second_of_a_close_polled_twenty_times_a_second(latency_s: float) -> None:
    w = await ready(VirtualDaemon(PLENTY))
    half = latency_s / 2
    w.exchange.control.latency(before_s=half, after_s=half)
    query = "symbol=BTCUSDT&interval=1m&limit=5"
    await w.ask(SPOT, query)
    opens = await until_close(w, 1.0)
    final: dict[str, int] = {}
    slack_ms = range(round(latency_s * 1000) + 2)

    @functools.cache
    def bodies(as_of_ms: int) -> set[bytes]:
        return {w.exchange.truth(SPOT, query, at_ms=as_of_ms + off) for off in slack_ms}

    async def client(offset_s: float) -> None:
        await w.clock.sleep(offset_s)
        for _ in range(100):
            answer = await w.ask(SPOT, query)
            now = w.clock.true_ms()
            assert answer.body in bodies(answer.as_of_ms)
            newest = rows(answer)[-1]
            assert now <= int(str(newest[6])) + 1 + 2 or answer.as_of_ms > int(str(newest[6])), "past its close"
            if answer.as_of_ms >= opens and any(row[0] == opens - MINUTE for row in rows(answer)):
                final.setdefault("shown", now)  # as of after the close: whole
            await w.clock.sleep(0.05)

    before = len(w.calls())
    await asyncio.gather(*(client(n * 0.013) for n in range(4)))
    assert final["shown"] - opens <= 2_000
    assert len(w.calls()) - before <= 6  # five seconds at a TTL of two, and the close


async def test_a_clock_that_is_ahead_takes_no_half_candle_for_a_whole_one() -> None:
    w = VirtualDaemon(PLENTY)
    w.exchange.control.latency(before_s=0.3, path="/api/v3/time")  # so our clock is 150 ms ahead, and knows it may be
    query = "symbol=BTCUSDT&interval=1m&limit=2"
    await w.ask(SPOT, query)
    w.exchange.control.latency(before_s=0.02, after_s=0.02, path=SPOT)
    opens = await until_close(w, 1.0)
    before = len(w.calls())
    while w.clock.true_ms() < opens + 2_500:
        answer = await w.ask(SPOT, query)
        if w.clock.true_ms() >= opens:
            assert answer.body in {
                w.exchange.truth(SPOT, query, at_ms=opens + after_ms) for after_ms in range(0, 2_500, 125)
            }
        await w.clock.sleep(0.02)
    assert len(w.calls()) - before <= 4


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", ["random", "alternate"])
@pytest.mark.parametrize("interval", ["1m", "1s"])
async def test_lagging_replicas_settle_nothing_unfinished_and_take_nothing_back(
    mode: Literal["random", "alternate"], interval: str
) -> None:
    w = await ready(VirtualDaemon(PLENTY, DaemonOptions(ttl_s=1.0)))
    w.exchange.control.set_replicas([0, 4_000], mode=mode)
    queries = [f"symbol={symbol}&interval={interval}&limit=40" for symbol in ("BTCUSDT", "SOLUSDT")]
    newest = dict.fromkeys(queries, (0, 0))
    as_of = dict.fromkeys(queries, 0)
    settled_ages = set()
    for _ in range(250):
        for query in queries:
            answer = await w.ask(SPOT, query)
            last = rows(answer)[-1]
            shown = (int(str(last[0])), int(str(last[8])))
            assert shown >= newest[query], "a shown candle disappeared, or shrank"
            assert answer.as_of_ms >= as_of[query]
            newest[query], as_of[query] = shown, answer.as_of_ms
            for age in range(1, 20):
                closed = f"{query}&endTime={newest[query][0] - age * INTERVALS[interval].length_ms}"
                answer = await w.ask(SPOT, closed)
                if answer.settled:
                    later = w.clock.true_ms() + 10 * MINUTE
                    assert answer.body == w.exchange.truth(SPOT, closed, at_ms=later), "settled unfinished"
                    settled_ages.add(age)
                    break
        await w.clock.sleep(0.7)
    assert min(settled_ages) <= SETTLED_AFTER[interval]  # else this would have looked at old rows only


async def test_a_late_final_row_is_a_revision() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    w.exchange.control.late_rows(20.0, short_s=3.0)
    query = "symbol=BTCUSDT&interval=1m&limit=4"
    opens = await until_close(w, 1.0)
    while w.clock.true_ms() < opens + 40_000:
        answer = await w.ask(SPOT, query)
        assert answer.body == w.exchange.truth(SPOT, query, at_ms=answer.as_of_ms)
        await w.clock.sleep(0.5)
    revised = [event for event in w.events if isinstance(event, RowRevised)]
    assert {event.open_time_ms for event in revised} >= {opens - MINUTE}
    assert json.loads(revised[-1].now)[8] > json.loads(revised[-1].was)[8]


@pytest.mark.parametrize("trades", [5, -5])
async def test_a_revision_is_noticed_counted_and_shown(trades: int) -> None:
    w = await ready(VirtualDaemon(PLENTY))
    query = "symbol=BTCUSDT&interval=1h&limit=30"
    first = await w.ask(SPOT, query)
    target = int(str(rows(first)[-20][0]))
    w.exchange.control.revise(SPOT, "BTCUSDT", "1h", target, trades=trades)
    await w.clock.sleep(2.5)
    before = len(w.calls())
    second = await w.ask(SPOT, query)
    assert second.body == w.exchange.truth(SPOT, query, at_ms=second.as_of_ms) != first.body
    assert len(w.calls()) - before == (1 if trades > 0 else 2)  # fewer trades are asked again, once
    assert [event.open_time_ms for event in w.events if isinstance(event, RowRevised)] == [target]
    assert not first.is_valid(w.governor.clocks.now(first.series.key.market))


async def test_time_is_the_exchanges_whatever_the_machine_believes() -> None:
    w = await ready(VirtualDaemon(PLENTY, DaemonOptions(wall_step_ms=-3_600_000)))
    query = "symbol=BTCUSDT&interval=1m&limit=5"
    for step_ms in (0, 10_000_000, -20_000_000):
        w.clock.step_ms += step_ms
        answer = await w.ask(SPOT, query)
        assert abs(answer.as_of_ms - w.clock.true_ms()) <= 3
        assert answer.body == w.exchange.truth(SPOT, query, at_ms=answer.as_of_ms)
        await w.clock.sleep(70)
    assert {len(series.tail.rows) for series in w.library if series.tail and series.key.interval == "1m"} <= {1, 2}


async def test_a_doubted_clock_settles_nothing_that_newer_rows_do_not_prove() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    w.exchange.control.skew_date(60)
    w.exchange.control.fault("timeout", path="/api/v3/time")
    answer = await w.ask(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
    assert answer.rows == 5
    (series,) = [one for one in w.library if one.key.interval == "1m"]
    assert series.tail is not None
    newest_open_ms, settled = series.tail.rows[-1].open_ms, series.coverage.before(FOREVER_MS)
    assert settled is not None
    assert settled[1] + 60_000 <= newest_open_ms  # the last one closed CONFIRM_S before
    assert answer.lifetime_s <= 2


@pytest.mark.exhaustive
async def test_many_pollers_cost_half_the_calls_and_no_error() -> None:
    options = DaemonOptions()
    options.limits = type(options.limits)(weight_share=0.9)
    w = await ready(VirtualDaemon(SimConfig(), options))
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    questions = [(s, i) for s in symbols for i in ("1m", "5m", "15m", "1h", "4h", "1d")]
    for symbol, interval in questions:  # the first pages are another matter
        await w.ask(SPOT, f"symbol={symbol}&interval={interval}&limit=500")
    await w.clock.sleep(5)
    before, asked = len(w.calls()), 0

    async def consumer(offset_s: float) -> None:
        nonlocal asked
        start = w.clock.now() + offset_s
        for turn in range(12):
            for place, (symbol, interval) in enumerate(questions):
                await w.clock.sleep(start + (turn + place / len(questions)) * 5 - w.clock.now())
                answer = await w.ask(SPOT, f"symbol={symbol}&interval={interval}&limit=500")
                asked += 1
                assert answer.rows == 500
                assert not answer.stale
                assert w.clock.true_ms() - answer.as_of_ms <= 2_000

    await asyncio.gather(*(consumer(n * 5 / 3) for n in range(3)))
    calls = len(w.calls()) - before
    assert asked == 12 * 3 * len(questions)
    assert asked / calls >= 2.0 * 0.97  # a close may make a read earlier
