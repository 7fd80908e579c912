"""Frames through replaced and lost connections: each once and in order, or the listener is told."""

import pytest

from mdcache.events import BackgroundTaskFailed, BodyRejected
from mdcache.exchange.markets import Market
from mdcache.exchange.topics import TopicKind, frame_position, topic_kind
from tests.relay.direct_client import DirectClient
from tests.support.examples import exhaustive
from tests.support.relay_listener import FakeListener
from tests.upstream.streams.world import BTC, StreamWorld

pytestmark = pytest.mark.virtual

ALL_KINDS = {
    Market.SPOT: (
        BTC, "btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth@100ms", "btcusdt@depth5", "btcusdt@bookTicker",
        "btcusdt@miniTicker", "!miniTicker@arr",
    ),
    Market.USDM: (
        BTC, "btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth", "btcusdt@depth20@100ms", "btcusdt@bookTicker",
        "btcusdt@markPrice@1s", "!forceOrder@arr", "!markPrice@arr", "!bookTicker",
        "btcusdt_perpetual@continuousKline_1m",
    ),
    Market.COINM: ("btcusd_perp@kline_1m", "btcusd_perp@trade", "btcusd@markPrice", "btcusd@indexPriceKline_1m"),
}  # fmt: skip


@pytest.mark.parametrize("market", [Market.SPOT, Market.USDM, *exhaustive(Market.COINM)])
async def test_every_frame_comes_once_and_in_order_through_an_announced_end(market: Market) -> None:
    world = StreamWorld()
    topics = ALL_KINDS[market]
    direct = DirectClient(world, market, *topics)
    listener = FakeListener(world.relay, market, *topics)
    await world.wait(6)
    world.control.close_streams(market=market.value, notice_s=8)
    await world.wait(20)
    assert listener.closed is None
    for topic in topics:
        heard = listener.of(topic)
        assert len(heard) > 2, topic
        truth = direct.since(topic, heard[0], heard[-1])
        assert [data for data in heard if data in truth] == truth, topic
        # a new connection begins with the candle as it is, whether or not it has just changed
        assert len(heard) - len(truth) <= (topic_kind(topic) is TopicKind.KLINE), topic
        events = [frame_position(topic, data) for data in heard]
        assert events == sorted(events, key=lambda one: one or 0)
    assert len(world.net.connections) == (4 if market is Market.USDM else 2)
    paths = {connection.url.removeprefix("ws://sim.test") for connection in world.net.connections}
    assert (
        paths
        == {
            Market.SPOT: {"/stream"},
            Market.USDM: {"/usdm/market/stream", "/usdm/public/stream"},
            Market.COINM: {"/coinm/stream"},
        }[market]
    )


async def test_a_loss_of_3_s_ends_the_listeners_of_trades_at_once_and_no_others() -> None:
    world = StreamWorld()
    direct = DirectClient(world, Market.SPOT, BTC)
    klines = FakeListener(world.relay, Market.SPOT, BTC, "btcusdt@depth5", "btcusdt@bookTicker")
    lossless = [
        FakeListener(world.relay, Market.SPOT, BTC, topic)
        for topic in ("btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth", "!miniTicker@arr", "nobodys@topic")
    ]
    await world.wait(20)
    world.control.close_streams()
    await world.wait(0.3)
    assert [one.closed for one in lossless] == [(1012, "a connection to Binance was lost")] * len(lossless)
    assert world.relay.refusal(Market.SPOT) is None
    again = FakeListener(world.relay, Market.SPOT, "btcusdt@trade")
    await world.wait(60)
    assert klines.closed is again.closed is None
    assert again.frames
    heard = klines.of(BTC)
    missed = len(direct.since(BTC, heard[0], heard[-1])) - len(heard)
    assert 0 <= missed <= 2
    assert [data for data in direct.of(BTC) if data in heard] == heard


@pytest.mark.parametrize("how", ["dead", "gate closed", *exhaustive("unplugged")])
async def test_a_long_loss_ends_all_listeners_and_refuses_new_ones_until_it_is_over(how: str) -> None:
    world = StreamWorld()
    await world.governor.start()
    listeners = [FakeListener(world.relay, Market.SPOT, BTC), FakeListener(world.relay, Market.SPOT, "btcusdt@depth5")]
    other = FakeListener(world.relay, Market.COINM, "btcusd_perp@kline_1m")
    await world.wait(20)
    began_s = world.clock.now()
    match how:
        case "unplugged":
            world.net.unplugged = True
            world.control.close_streams()
        case "dead":
            world.net.pull_the_cable()
        case _:
            world.control.fault("418", count=1, retry_after_s=60)
            world.control.close_streams()
    while any(one.closed is None for one in listeners) and world.clock.now() < began_s + 30:
        assert how == "gate closed" or world.clock.now() < began_s + 12
        assert world.relay.refusal(Market.SPOT) is None
        await world.wait(0.1)
    assert {one.closed[0] for one in listeners if one.closed is not None} == {1012}
    assert world.relay.refusal(Market.SPOT) is not None
    if how == "gate closed":
        assert world.clock.now() - began_s < 6
    await world.wait(40)
    assert world.relay.refusal(Market.SPOT) is not None
    world.net.unplugged = False
    while world.relay.refusal(Market.SPOT) is not None:
        assert world.clock.now() - began_s < 130
        await world.wait(0.1)
    assert world.net.open
    again = FakeListener(world.relay, Market.SPOT, BTC)
    await world.wait(5)
    assert again.frames
    assert other.closed is None or how != "gate closed"


async def test_a_fault_of_ours_that_costs_the_connections_ends_all_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    world = StreamWorld()
    listeners = [FakeListener(world.relay, Market.SPOT, topic) for topic in ("btcusdt@trade", BTC)]
    await world.wait(10)

    def failing(*_: object, **__: object) -> None:
        raise LookupError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr("mdcache.upstream.streams.shard.judge", failing)
        world.control.close_streams(notice_s=8)
        while not world.matching(BackgroundTaskFailed):
            await world.wait(0.1)
    assert [one.closed for one in listeners] == [(1012, "internal error")] * 2
    again = FakeListener(world.relay, Market.SPOT, "btcusdt@trade")
    await world.wait(10)
    assert again.frames
    assert again.closed is None


async def test_topics_that_wait_for_their_turn_to_connect_are_not_lost() -> None:
    world = StreamWorld()
    topics = [f"symbol{number}usdt@nothing" for number in range(7_500)]
    listener = FakeListener(world.relay, Market.SPOT, *topics)
    await world.wait(40)
    assert listener.closed is None
    assert world.relay.refusal(Market.SPOT) is None
    assert {topic for one in world.net.open for topic in one.session.topics} == {"!miniTicker@arr", *topics}
    assert world.most_connects_a_minute() <= 20


async def test_topics_without_a_first_connection_are_lost_after_10_s() -> None:
    world = StreamWorld()
    world.net.unplugged = True
    listener = FakeListener(world.relay, Market.SPOT, BTC)
    closed: list[tuple[int, str] | None] = []
    for seconds in (9.5, 3.0):
        await world.wait(seconds)
        closed.append(listener.closed)
    assert closed == [None, (1012, "no connection to Binance for 10 s")]
    assert world.relay.refusal(Market.SPOT) == "no connection to Binance for 10 s"


UNREADABLE = 1012, "a frame from Binance could not be read"
LOSSLESS = ("btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth", "!miniTicker@arr")


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ('{"stream":"btcusdt@trade","data":{"e":"tra', LOSSLESS[:1]),
        ('{"stream":"btcusdt@trade","data":{"e":"tra{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade"}}', LOSSLESS),
    ],
)
async def test_a_broken_frame_ends_the_listeners_of_its_lossless_topic_once(text: str, lost: tuple[str, ...]) -> None:
    world = StreamWorld()
    market = Market.SPOT
    truth = DirectClient(world, market, *LOSSLESS)
    others = [FakeListener(world.relay, market, topic) for topic in (BTC, "btcusdt@depth5", "btcusdt@bookTicker")]
    others.append(FakeListener(world.relay, Market.USDM, "btcusdt@aggTrade"))
    lossless = {topic: FakeListener(world.relay, market, topic) for topic in LOSSLESS}
    await world.wait(4)
    messages = [len(one.sent) for one in world.net.connections]
    connection = next(one for one in world.net.connections if one.session.market == "spot")
    for harmless in ('{"stream":"btcusdt@depth5","data":{"lastUpd', '{"e":"announcement","E":17}'):
        connection.inject(harmless)
        await world.wait(0.1)
    assert not [one for one in (*others, *lossless.values()) if one.closed is not None]
    connection.inject(text)
    await world.wait(0.1)
    assert {topic: one.closed for topic, one in lossless.items()} == {
        topic: UNREADABLE if topic in lost else None for topic in LOSSLESS
    }
    again = {topic: FakeListener(world.relay, market, topic) for topic in LOSSLESS}
    await world.wait(4)
    for topic in LOSSLESS:
        old, new = lossless[topic].of(topic), again[topic].of(topic)
        assert old == truth.since(topic, old[0], old[-1])
        assert new == truth.since(topic, new[0], new[-1])
        if topic in lost:  # and it is soon over
            missing = truth.since(topic, old[-1], new[0])
            assert len(missing) <= 2 + 12, topic
    assert not [one for one in (*others, *again.values()) if one.closed is not None]
    assert [len(one.sent) for one in world.net.connections] == messages
    assert len(world.matching(BodyRejected)) == 3


@pytest.mark.parametrize("topic", ["btcusdt@trade", ""])
async def test_a_flood_of_broken_frames_costs_a_listener_one_closure_a_second_and_binance_nothing(topic: str) -> None:
    world = StreamWorld()
    kline = FakeListener(world.relay, Market.SPOT, BTC)
    listeners = [FakeListener(world.relay, Market.SPOT, "btcusdt@trade")]
    await world.wait(10)
    (connection,) = world.net.connections
    messages, began_s = len(connection.sent), world.clock.now()
    while world.clock.now() - began_s < 8:
        for _ in range(50):
            connection.inject(f'{{"stream":"{topic}","data":{{"e"')
        await world.wait(0.05)
        if listeners[-1].closed is not None:
            listeners.append(FakeListener(world.relay, Market.SPOT, "btcusdt@trade"))
    assert 2 <= len(listeners) <= 10
    await world.wait(5)
    frames = len(listeners[-1].frames)
    await world.wait(5)
    assert listeners[-1].closed is kline.closed is None
    assert len(listeners[-1].frames) > frames
    assert world.net.connections == [connection]
    assert len(connection.sent) == messages


async def test_a_broken_frame_of_the_connection_that_takes_over_is_told_if_the_other_did_not_bring_it() -> None:
    world = StreamWorld()
    truth = DirectClient(world, Market.SPOT, "btcusdt@trade")
    listener = FakeListener(world.relay, Market.SPOT, "btcusdt@trade")
    await world.wait(10)
    world.control.close_streams(notice_s=8)
    while len(world.net.connections) < 2:
        await world.wait(0.1)
    old, new = world.net.connections
    await world.wait(1)
    new.inject('{"stream":"btcusdt@trade","data":{"e":"tra')
    old.dead = True
    await world.wait(20)
    assert listener.closed is not None
    heard = listener.of("btcusdt@trade")
    assert heard == truth.since("btcusdt@trade", heard[0], heard[-1])
