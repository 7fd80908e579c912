"""Frames in microseconds are another topic's: of connections of their own, and never mixed with the other ones."""

import json

import pytest

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import in_micros
from mdcache.relay.frames import RelayedFrame
from tests.relay.direct_client import DirectClient
from tests.support.relay_listener import FakeListener
from tests.upstream.streams.world import StreamWorld

pytestmark = pytest.mark.virtual

TOPICS = ("btcusdt@trade", "btcusdt@kline_1m", "!miniTicker@arr", "btcusdt@depth@100ms", "btcusdt@ticker_1h")
MICROS = tuple(map(in_micros, TOPICS))


@pytest.mark.exhaustive
async def test_listeners_of_both_units_get_what_each_would_get_from_the_exchange() -> None:
    world = StreamWorld()
    await world.governor.start()
    world.subscribe(TOPICS[1])
    listeners = FakeListener(world.relay, Market.SPOT, *TOPICS), FakeListener(world.relay, Market.SPOT, *MICROS)
    truths = DirectClient(world, Market.SPOT, *TOPICS), DirectClient(world, Market.SPOT, *MICROS)
    await world.wait(70)
    for listener, truth, topics in zip(listeners, truths, (TOPICS, MICROS), strict=True):
        assert {frame.topic for frame in listener.frames} == set(topics)
        for topic in topics:
            heard = listener.of(topic)
            assert heard[1:] == truth.since(topic, heard[1], heard[-1]), topic  # a candle's first comes at once
    assert len(world.net.open) == 2
    subscribed = [topic for one in world.net.open for topic in one.session.topics]
    assert sorted(subscribed) == sorted([*TOPICS, *TOPICS])  # as the exchange calls them, one subscription for each
    assert max(world.consumer.event_times[Market.SPOT, TOPICS[1]]) < 1e15  # what feeds tails has milliseconds


async def test_their_frames_name_the_topic_as_the_exchange_does() -> None:
    frame = RelayedFrame(Market.SPOT, MICROS[0], b"{}")
    assert frame.combined_message()[2:] == b'{"stream":"btcusdt@trade","data":{}}'


async def test_a_lost_connection_comes_back_with_its_unit_and_ends_when_nobody_listens() -> None:
    world = StreamWorld()
    await world.governor.start()
    first = FakeListener(world.relay, Market.SPOT, MICROS[0])
    await world.wait(5)
    world.control.close_streams()
    await world.wait(5)
    assert first.closed is not None
    again = FakeListener(world.relay, Market.SPOT, MICROS[0])
    await world.wait(20)
    assert again.of(MICROS[0])
    assert all(json.loads(data)["E"] > 1e15 for data in again.of(MICROS[0]))
    again.leave()
    await world.wait(70)
    assert not world.net.open
