"""Topics that end under a living connection are found by what reads show.

Rule: docs/design.md#dead-topics.
"""

import asyncio

import pytest

from mdcache.candles.freshness import FreshnessDirectives
from mdcache.exchange.markets import Market
from mdcache.stream_events import TopicsDead
from tests.support.kline_oracle import KlineOracle
from tests.support.random_klines import RandomQuestion
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon, few_symbols, ready

pytestmark = pytest.mark.virtual

SPOT = "/api/v3/klines"
BTC = "btcusdt@kline_1m"


async def streamed_world() -> VirtualDaemon:
    w = await ready(VirtualDaemon(few_symbols("BTCUSDT", "ETHUSDT"), DaemonOptions(streams=True)))
    w.exchange.control.latency(before_s=0.03, after_s=0.03)
    return w


async def poll(w: VirtualDaemon, symbol: str, seconds: float) -> None:
    oracle = KlineOracle(w.exchange, [0], [0, 30, 29, 31, 1])
    end_s = w.clock.now() + seconds
    while w.clock.now() < end_s:
        await oracle.ask(w, RandomQuestion(SPOT, f"symbol={symbol}&interval=1m&limit=5"))
        await w.clock.sleep(1.0)


def dead(w: VirtualDaemon) -> list[str]:
    tails = w.cache.stream_tails
    assert tails is not None
    return [topic for _, topic in tails.dead_topics()]


def told(w: VirtualDaemon) -> list[TopicsDead]:
    return [event for event in w.events if isinstance(event, TopicsDead)]


async def test_a_topic_that_ends_under_a_living_connection_is_found_and_told_once() -> None:
    w = await streamed_world()
    both = asyncio.gather(poll(w, "BTCUSDT", 150.0), poll(w, "ETHUSDT", 150.0))
    await w.clock.sleep(30.0)
    assert dead(w) == []
    w.streams.dead = {BTC}
    await w.clock.sleep(30.0)
    assert dead(w) == [BTC]
    await w.clock.sleep(60.0)
    assert told(w) == [TopicsDead("spot", 1, BTC)]
    w.streams.dead = set()
    await both
    assert dead(w) == []


async def test_a_dead_topic_is_followed_anew() -> None:
    w = await streamed_world()
    w.streams.renewable = True
    w.streams.dead = {BTC}
    await poll(w, "BTCUSDT", 45.0)
    assert w.streams.dead == set()
    assert dead(w) == []


async def test_a_topic_that_never_begins_is_found() -> None:
    w = await streamed_world()
    w.streams.dead = {BTC}
    await poll(w, "BTCUSDT", 30.0)
    assert dead(w) == [BTC]


async def test_reads_beside_living_topics_show_nothing_that_frames_do_not() -> None:
    w = await streamed_world()
    asked = RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
    oracle = KlineOracle(w.exchange, [0], [0, 30, 29, 31, 1])
    for _ in range(200):
        await oracle.ask(w, asked, FreshnessDirectives(no_cache=True))
        await w.clock.sleep(0.37)
        assert dead(w) == []


async def test_a_topic_that_nobody_follows_any_more_is_not_dead() -> None:
    w = await streamed_world()
    w.streams.mini_tickers = False
    w.streams.dead = {BTC}
    await poll(w, "BTCUSDT", 30.0)
    await w.clock.sleep(320.0)
    assert dead(w) == []


async def test_frames_are_counted_by_what_they_brought() -> None:
    w = await streamed_world()
    w.streams.mini_tickers = False
    await poll(w, "BTCUSDT", 21.0)
    tails = w.cache.stream_tails
    assert tails is not None
    (before, *_) = tails.status()
    assert 8 <= before.frames["news"] <= 11
    assert (before.frames["old"], before.frames["rejected"]) == (0, 0)
    assert w.streams.last is not None
    w.streams.take(*w.streams.last)
    w.streams.take(Market.SPOT, BTC, b"{}")
    (after, *_) = tails.status()
    assert after.frames == {**before.frames, "old": 1, "rejected": 1}


async def test_without_a_connection_no_topic_is_dead_nor_for_what_was_traded_meanwhile() -> None:
    w = await streamed_world()
    asking = asyncio.ensure_future(poll(w, "BTCUSDT", 150.0))
    await w.clock.sleep(20.0)
    w.streams.lost = True
    tails = w.cache.stream_tails
    assert tails is not None
    for _ in range(60):
        await w.clock.sleep(1.0)
        assert [status.dead for status in tails.status()] == [0, 0, 0]
    w.streams.lost, w.streams.dead = False, {BTC}
    await w.clock.sleep(8.0)
    assert [status.dead for status in tails.status()] == [0, 0, 0]
    await w.clock.sleep(40.0)
    assert [status.dead for status in tails.status()] == [1, 0, 0]
    await asking
    assert told(w) == [TopicsDead("spot", 1, BTC)]
