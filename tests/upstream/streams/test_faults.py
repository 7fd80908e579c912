"""Streams through every fault of the simulated exchange: frames are back soon after its end, and no storm before."""

import pytest

from mdcache.exchange.markets import Market
from mdcache.sim.control.stream_faults import StreamFaultKind
from mdcache.stream_events import StreamConnected
from tests.support.examples import long, seeds, thinned
from tests.upstream.streams.world import SOME, StreamWorld

pytestmark = pytest.mark.virtual

BACK_S = 15.0
FAULTS: tuple[StreamFaultKind, ...] = (
    "silent", "half", "stuck", "garbage", "late", "no_finals", "dropped", "ended", "broken",
)  # fmt: skip


async def _running() -> StreamWorld:
    world = StreamWorld()
    await world.governor.start()
    world.subscribe(*SOME)
    await world.wait(5)
    assert max(world.consumer.since(0, Market.SPOT, *SOME)) < float("inf")
    return world


def _assert_back(world: StreamWorld, end_s: float, within_s: float = BACK_S) -> None:
    assert max(world.consumer.since(end_s, Market.SPOT, *SOME)) <= within_s
    assert world.most_connects_a_minute() <= 20


async def test_topics_have_frames_within_a_cadence_after_they_are_wanted() -> None:
    world = StreamWorld()
    began_s = world.clock.now()
    for market in Market:
        world.subscribe(
            *(topic.replace("usdt", "usd_perp" if market is Market.COINM else "usdt") for topic in SOME[:2]),
            market=market,
        )
    await world.wait(4)
    assert max(world.consumer.since(began_s, Market.SPOT, *SOME[:2])) < 3.5
    assert max(world.consumer.since(began_s, Market.USDM, *SOME[:2])) < 3.5
    assert len(world.net.attempts) == len(world.matching(StreamConnected)) == 3
    for market in Market:
        assert world.consumer.accepted[market, "!miniTicker@arr"]


@pytest.mark.parametrize("kind", thinned(FAULTS, 3))
@pytest.mark.parametrize("lasts_s", [25.0, *long(200.0)])
async def test_frames_are_back_soon_after_a_fault(kind: StreamFaultKind, lasts_s: float) -> None:
    world = await _running()
    world.control.stream_fault(kind, seconds=lasts_s)
    if kind == "half":  # shows only in what is subscribed to from now on
        world.control.close_streams()
    await world.wait(lasts_s)
    end_s = world.clock.now()
    await world.wait(30)
    _assert_back(world, end_s)


@pytest.mark.parametrize("kind", thinned(["403", "418", "429", "451", "500", "503", "timeout", "drop"], 3))
async def test_frames_are_back_soon_after_handshakes_were_refused(kind: str) -> None:
    world = await _running()
    world.control.fault(kind, path="/stream", retry_after_s=20 if kind in {"418", "429"} else None)
    world.control.close_streams()
    await world.wait(60)
    world.control.clear_faults()
    end_s = world.clock.now()
    await world.wait(45)
    _assert_back(world, end_s, 40 if kind in {"418", "429"} else BACK_S)


@pytest.mark.exhaustive
@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize("seed", seeds(1, 3))
async def test_a_cable_pulled_for_20_s_costs_all_markets_5_s_more(hangs: bool, seed: int) -> None:
    world = StreamWorld(seed)
    wanted = ((Market.SPOT, SOME[0]), (Market.USDM, SOME[0]), (Market.COINM, "btcusd_perp@kline_1m"))
    for market, topic in wanted:
        world.subscribe(topic, market=market)
    await world.wait(70)
    world.net.hangs = hangs
    world.net.pull_the_cable()
    await world.wait(20)
    world.net.unplugged = False
    end_s = world.clock.now()
    await world.wait(10)
    assert max(world.consumer.since(end_s, *key)[0] for key in wanted) <= 5
    assert world.most_connects_a_minute() <= 10
