"""Streams that fail, in every way: answers stay right and honestly aged, REST costs no more than polling by the TTL
would, there is no storm of connects, and soon after the end all is as before.

Rule: docs/design.md#stream-fed, #stream-connections.
"""

from collections.abc import Callable
from functools import cache
from itertools import product

import pytest

from mdcache.exchange.markets import Market
from mdcache.sim.control.stream_faults import StreamFaultKind
from tests.support.examples import thinned
from tests.support.polled_streams import HANDSHAKES, INTERVALS, SYMBOLS, PolledStreams
from tests.support.virtual_time import run

pytestmark = pytest.mark.untraced

WARM_S, FAULT_S, BACK_S, CALM_S = 15.0, 40.0, 15.0, 45.0  # a minute closes in the fault, and one after it
TTL_S = 2.0
MAX_AGE_MS = 2_700  # a frame of spot is good for 2.6 s
MAX_STALE_MS = 30_100
SERIES = len(INTERVALS) * 2
READ_WEIGHT = {Market.SPOT: 2, Market.USDM: 1}

Fault = Callable[[PolledStreams], None]


def stream_fault(kind: StreamFaultKind, *, close: bool = False, life_s: float = 1.0) -> Fault:
    def begin(polled: PolledStreams) -> None:
        control = polled.world.exchange.control
        control.stream_fault(kind, life_s=life_s)
        if close:
            control.close_streams()

    return begin


def handshake_fault(kind: str, retry_after_s: int | None = None, count: int | None = None) -> Fault:
    def begin(polled: PolledStreams) -> None:
        control = polled.world.exchange.control
        control.fault(kind, path=HANDSHAKES[polled.market], retry_after_s=retry_after_s, count=count)
        control.close_streams()

    return begin


def slow(polled: PolledStreams) -> None:
    control = polled.world.exchange.control
    control.latency(before_s=4.0, path=HANDSHAKES[polled.market])
    control.stream_fault("late", delay_s=3.0)
    control.close_streams()


def refused(polled: PolledStreams) -> None:
    polled.world.net.pull_the_cable()


def shutdown(polled: PolledStreams) -> None:
    polled.world.exchange.control.close_streams(notice_s=10.0)


FAULTS: dict[str, Fault] = {
    "firewall": handshake_fault("timeout"),
    "refused": refused,
    "slow": slow,
    "silent": stream_fault("silent"),
    "garbage": stream_fault("garbage"),
    "stuck": stream_fault("stuck"),
    "dropped each second": stream_fault("dropped"),
    "8 s late": stream_fault("late"),
    "final frames lost": stream_fault("no_finals"),
    "half of the topics": stream_fault("half", close=True),
    "end of life": stream_fault("ended", life_s=12.0),
    "serverShutdown": shutdown,
    "503": handshake_fault("503"),
    "403": handshake_fault("403"),
    "418": handshake_fault("418", 10, count=1),
    "429": handshake_fault("429", 5, count=1),
}
CLOSES_THE_GATE = {"403", "418", "429"}


def end(polled: PolledStreams) -> None:
    control = polled.world.exchange.control
    polled.world.net.unplugged = False
    control.clear_faults()
    control.clear_stream_faults()
    control.latency(path=HANDSHAKES[polled.market])


async def polled_weight(market: Market) -> int:
    polled = PolledStreams(market, streams=False)
    await polled.start()
    await polled.watch(WARM_S)
    before = polled.weight()
    await polled.watch(FAULT_S)
    found = polled.weight() - before
    await polled.aclose()
    return found


@cache
def weight_of_polling(market: Market) -> int:
    """What the same clients cost in the same time without streams."""
    return run(polled_weight(market))


async def through_fault(market: Market, fault: Fault, *, closes_gate: bool, polling: int) -> None:
    polled = PolledStreams(market)
    await polled.start()
    await polled.watch(WARM_S)
    before = polled.weight()
    fault(polled)
    seen = await polled.watch(FAULT_S)
    during = polled.weight() - before
    end(polled)
    await polled.watch(BACK_S)
    before, busy_before = polled.weight(), polled.reads("BTCUSDT")
    after = await polled.watch(CALM_S)
    back, busy = polled.weight() - before, polled.reads("BTCUSDT") - busy_before
    await polled.aclose()
    assert seen.refused == 0
    assert max(seen.ages_ms) <= (MAX_STALE_MS if closes_gate else MAX_AGE_MS)
    read = READ_WEIGHT[market]
    assert during <= polling + read * SERIES
    assert polled.most_connects_a_minute() <= 20
    assert max(after.ages_ms) <= MAX_AGE_MS
    assert busy <= (0 if market is Market.SPOT else 1), "a minute closes once"
    assert back <= read * SERIES, (
        "a read for each candle of 1m that closed; on spot of the quiet symbol, and if it trades"
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "market"), thinned(product(FAULTS, [Market.SPOT, Market.USDM]), 6, 3))
def test_a_fault_costs_no_lie_no_storm_and_no_more_than_polling(name: str, market: Market) -> None:
    polling = weight_of_polling(market)
    run(through_fault(market, FAULTS[name], closes_gate=name in CLOSES_THE_GATE, polling=polling))


async def blocked_from_the_start(market: Market, polling: int) -> None:
    polled = PolledStreams(market)
    polled.world.exchange.control.fault("timeout", path=HANDSHAKES[market])
    await polled.start()
    await polled.watch(WARM_S)
    before = polled.weight()
    seen = await polled.watch(FAULT_S)
    assert polled.weight() - before <= polling + READ_WEIGHT[market] * SERIES
    assert seen.refused == 0
    assert max(seen.ages_ms) <= MAX_AGE_MS
    await polled.aclose()


@pytest.mark.parametrize("market", list(SYMBOLS))
def test_streams_that_a_firewall_blocks_from_the_start_are_as_if_off(market: Market) -> None:
    run(blocked_from_the_start(market, weight_of_polling(market)))


async def disconnected_for_an_hour(market: Market) -> None:
    polled = PolledStreams(market)
    await polled.start(every_s=20.0)
    await polled.watch(WARM_S)
    FAULTS["503"](polled)
    before = len(polled.world.calls())
    seen = await polled.watch(3_600.0)
    reads = len(polled.world.calls()) - before
    assert seen.refused == 0
    assert max(seen.ages_ms) <= MAX_AGE_MS
    assert reads <= len(seen.ages_ms) + SERIES, "one read an answer at most: the clients ask less often than the TTL"
    end(polled)
    await polled.watch(BACK_S)
    before = len(polled.world.calls())
    await polled.watch(CALM_S)
    assert len(polled.world.calls()) - before <= SERIES
    assert polled.most_connects_a_minute() <= 20
    await polled.aclose()


@pytest.mark.exhaustive
@pytest.mark.parametrize("market", [Market.SPOT, Market.USDM])
def test_after_an_hour_without_streams_they_are_back_at_once(market: Market) -> None:
    run(disconnected_for_an_hour(market))


async def refused_again_and_again(kind: str) -> None:
    polled = PolledStreams(Market.SPOT)
    await polled.start()
    await polled.watch(WARM_S)
    handshake_fault(kind, 5)(polled)
    await polled.watch(30.0)
    before = polled.weight()
    seen = await polled.watch(60.0)
    assert seen.refused == 0
    assert max(seen.ages_ms) <= MAX_AGE_MS, "the gate opens for reads, although each handshake is refused"
    assert polled.weight() - before <= READ_WEIGHT[Market.SPOT] * SERIES * (60.0 / TTL_S + 1)
    assert polled.most_connects_a_minute() <= 20
    await polled.aclose()


@pytest.mark.parametrize("kind", ["403", "429"])
def test_handshakes_that_are_always_refused_do_not_close_the_gate_for_reads(kind: str) -> None:
    run(refused_again_and_again(kind))
