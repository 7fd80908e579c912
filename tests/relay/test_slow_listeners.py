"""A slow listener gets what counts or is closed; it costs the others nothing, and no memory."""

import json

import pytest
from websockets.frames import Frame, Opcode

from mdcache.events import BackgroundTaskFailed
from mdcache.exchange.markets import Market
from mdcache.exchange.topics import kline_mark
from mdcache.relay.frames import RelayedFrame
from mdcache.relay.outbox import HOLD_FROM_BYTES, MOST_BYTES
from tests.support.relay_listener import FakeListener
from tests.upstream.streams.world import BTC, StreamWorld

pytestmark = pytest.mark.virtual

SECONDS = "btcusdt@kline_1s"
TRADES = "btcusdt@trade"


def _kline(open_ms: int, event_ms: int, *, final: bool) -> bytes:
    return json.dumps({"e": "kline", "E": event_ms, "s": "BTCUSDT", "k": {"t": open_ms, "x": final}}).encode()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 500_000])
async def test_the_shared_message_is_what_a_websocket_library_sends(size: int) -> None:
    data = b'"%b"' % (b"x" * size) if size else b"1"
    frame = RelayedFrame(Market.SPOT, 'a"b@c', data)
    for message, payload in (
        (frame.raw_message(), data),
        (frame.combined_message(), b'{"stream":"a\\"b@c","data":%b}' % data),
    ):
        assert message == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert frame.raw_message() is frame.raw_message()
    assert frame.combined_message() is frame.combined_message()


async def test_a_slow_listener_gets_the_newest_frame_and_every_final_one_in_order() -> None:
    world = StreamWorld()
    slow, quick = (FakeListener(world.relay, Market.SPOT, SECONDS, BTC) for _ in range(2))
    await world.wait(5)
    slow.waiting = HOLD_FROM_BYTES
    heard = len(slow.frames)
    await world.wait(65)
    assert len(slow.frames) == heard
    slow.waiting = 0
    await world.wait(0.2)
    finals = {frame.data for frame in quick.frames if frame.final}
    assert finals == {frame.data for frame in slow.frames if frame.final}
    assert len(finals) > 55
    for topic in (SECONDS, BTC):
        assert slow.of(topic)[-1] == quick.of(topic)[-1]
        assert [data for data in quick.of(topic) if data in slow.of(topic)] == slow.of(topic)
    assert len(slow.frames) - heard <= sum(frame.final for frame in quick.frames[heard:]) + 2
    (status,) = (one for one in world.relay.status() if one.market == "spot")
    assert status.conflated == len(quick.frames) - len(slow.frames)
    assert status.frames == len(quick.frames) + len(slow.frames)
    await world.wait(10)
    assert slow.frames[-5:] == quick.frames[-5:]


async def test_a_listener_that_takes_nothing_is_closed_before_more_than_a_megabyte_waits() -> None:
    world = StreamWorld()
    stuck, quick = (FakeListener(world.relay, Market.SPOT, TRADES, BTC) for _ in range(2))
    stuck.stuck = True
    data = b'{"e":"trade","t":%d,"p":"' + b"1" * 1000 + b'"}'
    for number in range(1_200):
        world.relay.relay(Market.SPOT, TRADES, data % number)
    assert stuck.closed == (1008, "too slow for its topics")
    assert MOST_BYTES <= stuck.waiting < MOST_BYTES + 2_000
    assert len(quick.of(TRADES)) == 1_200
    assert quick.closed is None


async def test_final_frames_for_a_listener_that_takes_nothing_are_bounded_too() -> None:
    world = StreamWorld()
    stuck = FakeListener(world.relay, Market.SPOT, BTC)
    stuck.waiting = HOLD_FROM_BYTES
    sent = sent_bytes = 0
    while stuck.closed is None:
        sent += 1
        data = _kline(sent, sent, final=True)
        sent_bytes += len(data)
        world.relay.relay(Market.SPOT, BTC, data)
    assert stuck.closed[0] == 1008
    assert sent_bytes == pytest.approx(MOST_BYTES - HOLD_FROM_BYTES, abs=100)


async def test_a_listener_that_fails_costs_the_others_nothing() -> None:
    class Failing(FakeListener):
        def send(self, frame: RelayedFrame) -> None:
            raise ConnectionResetError("a bug")

    world = StreamWorld()
    failing, good = Failing(world.relay, Market.SPOT, BTC), FakeListener(world.relay, Market.SPOT, BTC)
    await world.wait(10)
    assert failing.closed == (1011, "internal error")
    assert len(good.frames) >= 4
    assert len(world.matching(BackgroundTaskFailed)) == 1


async def test_no_candle_has_two_final_frames() -> None:
    world = StreamWorld()
    listener = FakeListener(world.relay, Market.USDM, BTC)
    for open_ms, event_ms, final in (
        (1, 10, False), (2, 11, False), (1, 12, True), (1, 13, True), (2, 14, True), (1, 15, True), (2, 16, True),
        (3, 17, True),
    ):  # fmt: skip
        world.relay.relay(Market.USDM, BTC, _kline(open_ms, event_ms, final=final))
    marks = [mark for data in listener.of(BTC) if (mark := kline_mark(data)) is not None]
    assert [(mark.open_ms, mark.event_ms) for mark in marks] == [(1, 10), (2, 11), (1, 12), (2, 14), (3, 17)]
    assert [one.repeated for one in world.relay.status()] == [0, 3, 0]


async def test_status_counts_topics_by_market() -> None:
    world = StreamWorld()
    both = FakeListener(world.relay, Market.SPOT, BTC, TRADES)
    FakeListener(world.relay, Market.SPOT, BTC)
    FakeListener(world.relay, Market.USDM, BTC)
    assert [(one.market, one.topics) for one in world.relay.status()] == [
        ("spot", 2), ("usdm", 1), ("coinm", 0),
    ]  # fmt: skip
    world.relay.unsubscribe(both, Market.SPOT, [TRADES, "never@subscribed"])
    world.relay.unsubscribe(both, Market.SPOT, [BTC])
    world.relay.leave(both)
    assert [(one.market, one.topics) for one in world.relay.status()] == [
        ("spot", 1), ("usdm", 1), ("coinm", 0),
    ]  # fmt: skip
