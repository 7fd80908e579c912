"""More to send than there is time for: frames that count come all, of the others the newest, and other work goes on."""

import asyncio
import itertools
import json
import time

import pytest

from mdcache.clock import SystemClock
from mdcache.exchange.markets import Market
from mdcache.exchange.topics import kline_mark
from mdcache.relay.frames import RelayedFrame
from mdcache.relay.paced_frames import PacedFrames
from tests.support.relay_listener import FakeListener
from tests.support.waiting import until
from tests.upstream.streams.world import StreamWorld

_WORK_S = 0.002


def _frame(topic: str, number: int) -> tuple[tuple[Market, str], RelayedFrame]:
    return (Market.SPOT, topic), RelayedFrame(Market.SPOT, topic, b"%d" % number)


async def test_frames_that_wait_give_way_to_newer_ones_and_none_is_sent_late() -> None:
    sent: list[tuple[str, int]] = []

    def send(frame: RelayedFrame) -> None:
        time.sleep(_WORK_S)
        sent.append((frame.topic, int(frame.data)))

    paced, held = PacedFrames(SystemClock(), send), 0
    topics = [f"t{number}" for number in range(20)]
    for number in range(30):  # 1.2 s of work in 0.3 s
        for topic in topics:
            held += paced.offer(*_frame(topic, number))
        before = len(sent)
        await asyncio.sleep(0)
        assert len(sent) - before <= 1  # in one step of the loop
        await asyncio.sleep(0.01)
    paced.send(*_frame("t3", 99))
    await until(lambda: {topic for topic, number in sent if number == 29} == set(topics))
    assert held == 20 * 30 + 1 - len(sent)
    assert held > 200
    for topic in topics:
        numbers = [number for name, number in sent if name == topic]
        assert numbers == sorted(set(numbers))
    assert [number for name, number in sent if name == "t3"][-2:] == [29, 99]


async def test_what_takes_no_time_is_sent_at_once() -> None:
    sent: list[int] = []
    paced = PacedFrames(SystemClock(), lambda frame: sent.append(int(frame.data)))
    for number in range(500):
        assert not paced.offer(*_frame("t", number))
    assert sent == list(range(500))


async def test_frames_of_a_topic_that_is_dropped_are_not_sent() -> None:
    sent: list[str] = []

    def send(frame: RelayedFrame) -> None:
        time.sleep(_WORK_S)
        sent.append(frame.topic)

    paced = PacedFrames(SystemClock(), send)
    while not paced.offer(*_frame("gone", 1)):
        paced.offer(*_frame("busy", 1))
    before = sent.count("gone")
    paced.drop((Market.SPOT, "gone"))
    await until(lambda: sent[-1] == "busy")
    await asyncio.sleep(0.05)
    assert sent.count("gone") == before
    paced.cancel()


@pytest.mark.virtual
async def test_an_overloaded_relay_sends_every_final_frame_and_trade_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = itertools.count()
    monkeypatch.setattr(PacedFrames, "_wait_s", lambda _: 0.001 if next(turns) % 5 else 0.0)
    world = StreamWorld()
    kline, trade = "nobodys@kline_1m", "nobodys@trade"  # of which the exchange sends nothing itself
    listener = FakeListener(world.relay, Market.SPOT, kline, trade)
    for number in range(300):
        opened = number // 10
        text = {"e": "kline", "E": number, "k": {"t": opened, "x": number % 10 == 9}}
        world.relay.relay(Market.SPOT, kline, json.dumps(text).encode())
        world.relay.relay(Market.SPOT, trade, b'{"e":"trade","t":%d}' % number)
        if number % 7 == 0:
            await world.wait(0.002)
    await world.wait(1)
    marks = [mark for data in listener.of(kline) if (mark := kline_mark(data)) is not None]
    assert [mark.event_ms for mark in marks] == sorted({mark.event_ms for mark in marks})
    assert [mark.open_ms for mark in marks if mark.final] == list(range(30))
    assert len(listener.of(trade)) == 300
    assert 30 < len(marks) < 300
    (status,) = (one for one in world.relay.status() if one.market == "spot")
    assert status.conflated == 300 - len(marks)
