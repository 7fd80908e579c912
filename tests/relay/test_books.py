"""A client that listens to a book's changes is given no book that is older than its first event."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest

from mdcache.background_work import cancel_all
from mdcache.exchange.markets import Market
from mdcache.relay.relay import Relay
from mdcache.sim import SimConfig
from tests.support.relay_listener import FakeListener
from tests.support.served_daemon import ServedDaemon
from tests.support.virtual_daemon import DaemonOptions
from tests.support.virtual_time import close_at_end

pytestmark = pytest.mark.virtual

TOPIC, PATH = "btcusdt@depth@100ms", "/api/v3/depth"
QUERY = b"symbol=BTCUSDT&limit=1000"  # weighs 50, so that it is fresh for 10 s


def world() -> tuple[ServedDaemon, Relay]:
    w = ServedDaemon(SimConfig(), DaemonOptions(connections=True))
    assert w.cache.relay is not None
    return w, w.cache.relay


async def book(w: ServedDaemon, query: bytes = QUERY) -> int:
    """The number of the book that a client is given."""
    reply = await w.get(PATH, query)
    assert reply.status == 200, reply.body
    return int(json.loads(reply.body)["lastUpdateId"])


def reads(w: ServedDaemon) -> int:
    return sum(entry.path == PATH for entry in w.exchange.log)


def events(listener: FakeListener) -> list[dict[str, Any]]:
    return [json.loads(data) for data in listener.of(TOPIC)]


@pytest.mark.parametrize("before_s", [0.0, 0.7, 3.0])
async def test_the_book_joins_a_client_s_events_however_new_another_s_answer_is(before_s: float) -> None:
    w, relay = world()
    await book(w)
    await w.clock.sleep(before_s)
    listener = FakeListener(relay, Market.SPOT, TOPIC)
    number = await book(w)
    assert events(listener)[0]["U"] <= number + 1
    await w.clock.sleep(5)
    told = [event for event in events(listener) if event["u"] > number]
    assert told[0]["U"] <= number + 1 <= told[0]["u"]
    assert reads(w) == 2


async def test_the_second_client_of_a_topic_is_given_a_newer_book_than_the_first_s() -> None:
    w, relay = world()
    FakeListener(relay, Market.SPOT, TOPIC)
    first = await book(w)
    await w.clock.sleep(4)
    assert await book(w) == first, "who has no listener, or has begun before, shares it"
    second = FakeListener(relay, Market.SPOT, TOPIC)
    number = await book(w)
    await w.clock.sleep(1)
    assert number > first
    assert events(second)[0]["U"] <= number + 1
    assert reads(w) == 2


async def test_other_books_and_other_topics_change_nothing() -> None:
    w, relay = world()
    first = await book(w)
    FakeListener(relay, Market.SPOT, "ethusdt@depth", "btcusdt@depth20@100ms", "btcusdt@trade", "btcusdt@bookTicker")
    FakeListener(relay, Market.USDM, TOPIC)
    await w.clock.sleep(5)
    assert await book(w) == first
    assert reads(w) == 1


async def test_a_book_is_shared_again_when_nobody_listens() -> None:
    w, relay = world()
    listener = FakeListener(relay, Market.SPOT, TOPIC)
    number = await book(w)
    listener.leave()
    FakeListener(relay, Market.SPOT, TOPIC).leave()
    assert await book(w) == number


async def test_a_book_without_events_is_waited_for_two_seconds_only() -> None:
    w, relay = world()
    await book(w)
    w.exchange.control.stream_fault("silent", topic="@depth")
    FakeListener(relay, Market.SPOT, TOPIC)
    began = w.clock.now()
    await book(w)
    assert 1.9 < w.clock.now() - began < 2.5
    await book(w)
    assert w.clock.now() - began < 3


async def test_who_joins_a_topic_without_events_costs_one_read_and_no_wait() -> None:
    w, relay = world()
    w.exchange.control.stream_fault("silent", topic="@depth")
    FakeListener(relay, Market.SPOT, TOPIC)
    await book(w)
    for _ in range(3):
        await w.clock.sleep(0.5)
        FakeListener(relay, Market.SPOT, TOPIC)
        began_s, before = w.clock.now(), reads(w)
        for _ in range(5):
            await book(w)
            await w.clock.sleep(0.1)
        assert w.clock.now() - began_s < 1.0
        assert reads(w) == before + 1


@pytest.mark.parametrize(
    "topic", ["btcusdt@rpiDepth", "btcusdt@depth@500ms", "BTCUSDT@depth", "btcusdt@depth10", "btcusdt@depth@x"]
)
async def test_topics_that_the_exchange_does_not_have_change_nothing(topic: str) -> None:
    w, relay = world()
    first = await book(w)
    FakeListener(relay, Market.SPOT, topic)
    began_s = w.clock.now()
    assert await book(w) == first
    assert w.clock.now() - began_s < 0.5


async def test_a_book_waits_2_s_at_most_while_clients_come_and_go_on_a_topic_without_events() -> None:
    w, relay = world()
    await book(w)
    w.exchange.control.stream_fault("silent", topic="@depth")

    async def come_and_go() -> None:
        listener = FakeListener(relay)
        while True:
            listener.leave()
            listener = FakeListener(relay, Market.SPOT, TOPIC)
            await w.clock.sleep(0.9)

    coming = asyncio.create_task(come_and_go())
    close_at_end(partial(cancel_all, coming))
    await w.clock.sleep(0.1)
    began_s = w.clock.now()
    async with asyncio.timeout(20):
        await book(w)
    assert w.clock.now() - began_s < 2.5
