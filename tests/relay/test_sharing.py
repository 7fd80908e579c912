"""Listeners share one upstream subscription a topic, among themselves and with tails, and get each frame once."""

import json

import pytest

from mdcache.exchange.markets import Market
from mdcache.exchange.streams import read_frame
from tests.support.relay_listener import FakeListener
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon
from tests.upstream.streams.world import BTC, SOME, StreamWorld

pytestmark = pytest.mark.virtual


def _sent(world: StreamWorld, method: str) -> list[list[str]]:
    texts = [json.loads(text) for connection in world.net.connections for _, text in connection.sent]
    return [one["params"] for one in texts if one["method"] == method]


def _topics_sent(world: StreamWorld, method: str = "SUBSCRIBE") -> list[str]:
    return [topic for topics in _sent(world, method) for topic in topics]


async def test_listeners_get_each_frame_as_the_exchange_sent_it_from_one_subscription() -> None:
    world = StreamWorld()
    first, second = FakeListener(world.relay, Market.SPOT, *SOME), FakeListener(world.relay, Market.SPOT, *SOME[:2])
    await world.wait(0.1)
    (connection,) = world.net.connections
    received: list[str] = []
    connection.received = received
    await world.wait(40)
    for topic in SOME:
        truth = [text for text in received if f'"stream":"{topic}"' in text]
        assert len(truth) > 15
        assert [f'{{"stream":"{topic}","data":{data.decode()}}}' for data in first.of(topic)] == truth
    assert [second.of(topic) for topic in SOME[:2]] == [first.of(topic) for topic in SOME[:2]]
    assert second.frames[-1] is [frame for frame in first.frames if frame.topic in SOME[:2]][-1]
    assert sorted(_topics_sent(world)) == sorted(["!miniTicker@arr", *SOME])
    assert len(world.net.connections) == 1


@pytest.mark.parametrize("leaves", ["tails", "listener"])
async def test_tails_and_a_listener_share_a_subscription_and_either_may_leave(leaves: str) -> None:
    world = StreamWorld()
    world.subscribe(BTC)
    listener = FakeListener(world.relay, Market.SPOT, BTC)
    await world.wait(20)
    if leaves == "tails":
        world.streams.unsubscribe(Market.SPOT, BTC)
    else:
        listener.leave()
    heard, taken = len(listener.frames), len(world.consumer.accepted[Market.SPOT, BTC])
    await world.wait(20)
    assert len(listener.frames) - heard == (pytest.approx(10, abs=2) if leaves == "tails" else 0)
    assert len(world.consumer.accepted[Market.SPOT, BTC]) - taken == pytest.approx(10, abs=2)
    assert _topics_sent(world).count(BTC) == 1
    assert not _topics_sent(world, "UNSUBSCRIBE")
    world.streams.unsubscribe(Market.SPOT, BTC)
    listener.leave()
    await world.wait(65)
    assert not world.net.open


async def test_a_client_of_rest_and_a_listener_cost_one_subscription() -> None:
    daemon = VirtualDaemon(options=DaemonOptions(connections=True))
    await daemon.governor.start()
    relay = daemon.cache.relay
    assert relay is not None
    listener = FakeListener(relay, Market.SPOT, BTC)
    for _ in range(2):
        await daemon.ask("/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=10")
        await daemon.clock.sleep(5)
    calls, heard = len(daemon.calls()), len(listener.frames)
    await daemon.clock.sleep(10)
    answer = await daemon.ask("/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=10")
    assert len(daemon.calls()) == calls
    assert len(listener.frames) > heard
    assert answer.body.endswith(read_frame(listener.frames[-1].data, answer.series.key).row.raw + b"]")
    (connection,) = daemon.net.connections
    assert sum(BTC in text for _, text in connection.sent) == 1


async def test_topics_that_are_only_listened_to_are_none_of_the_tails() -> None:
    world = StreamWorld()
    FakeListener(world.relay, Market.SPOT, BTC, "nobodys@topic", "btcusdt@trade")
    world.subscribe(BTC)
    await world.wait(70)
    (status,) = (one for one in world.streams.status() if one.market == "spot")
    assert (status.topics, status.fed, status.silent, status.connections) == (1, 1, 0, 1)


async def test_500_topics_of_a_client_become_few_messages() -> None:
    world = StreamWorld()
    topics = [f"symbol{number}usdt@kline_1m" for number in range(500)]
    listener = FakeListener(world.relay)
    for topic in topics:
        listener.subscribe(topic)
    await world.wait(10)
    assert sorted(_topics_sent(world)) == sorted(["!miniTicker@arr", *topics])
    assert len(_sent(world, "SUBSCRIBE")) <= 5


async def test_a_topic_that_the_exchange_does_not_have_is_silent_and_ends_with_its_listener() -> None:
    world = StreamWorld()
    listener = FakeListener(world.relay, Market.SPOT, "nobodys@topic", BTC)
    other = FakeListener(world.relay, Market.SPOT, BTC)
    await world.wait(70)
    assert not listener.of("nobodys@topic")
    assert listener.closed is None
    assert _topics_sent(world).count("nobodys@topic") == 1
    assert not _topics_sent(world, "UNSUBSCRIBE")
    listener.leave()
    await world.wait(5)
    assert _topics_sent(world, "UNSUBSCRIBE") == ["nobodys@topic"]
    assert len(world.net.attempts) == 1
    assert other.closed is None


async def test_a_name_that_can_be_no_topic_never_leaves_the_daemon() -> None:
    world = StreamWorld()
    names = ["", "two words", 'quo"te', "x" * 5_000, "line\nbreak"]
    listener = FakeListener(world.relay, Market.SPOT, *names, BTC)
    await world.wait(20)
    assert _topics_sent(world).count(BTC) == 1
    assert not set(_topics_sent(world)) & set(names)
    assert listener.of(BTC)
    world.relay.unsubscribe(listener, Market.SPOT, names)
    await world.wait(5)
    assert not _topics_sent(world, "UNSUBSCRIBE")


async def test_all_mini_tickers_may_be_listened_to_alone() -> None:
    world = StreamWorld()
    listener = FakeListener(world.relay, Market.USDM, "!miniTicker@arr")
    await world.wait(20)
    assert len(listener.frames) == pytest.approx(19, abs=2)
    other = FakeListener(world.relay, Market.USDM, BTC)
    listener.leave()
    await world.wait(10)
    assert len(other.frames) > 20
    assert len(world.net.attempts) == 1
    other.leave()
    await world.wait(65)
    assert not world.net.open


async def test_clients_that_come_and_go_cost_binance_nothing() -> None:
    world = StreamWorld()
    for number in range(10):
        one = FakeListener(world.relay, Market.USDM, BTC, "nobodys@topic")
        two = FakeListener(world.relay, Market.USDM, f"btcusdt@depth{(5, 10, 20)[number % 3]}")
        await world.wait(1)
        one.leave()
        two.leave()
        await world.wait(1)
    assert len(world.net.attempts) == 2
    (market,) = (one for one in world.net.open if "/market" in one.url)
    assert market.session.topics == ("!miniTicker@arr",)
    await world.wait(65)
    assert not world.net.open


async def test_a_connection_without_topics_ends_and_a_new_one_follows_though_all_mini_tickers_are_listened_to() -> None:
    world = StreamWorld()
    FakeListener(world.relay, Market.USDM, "!miniTicker@arr")
    for number in range(2):
        book = FakeListener(world.relay, Market.USDM, "btcusdt@depth5")
        await world.wait(5)
        assert book.frames, number
        book.leave()
        await world.wait(65)
        assert [one.url for one in world.net.open] == ["ws://sim.test/usdm/market/stream"]
