"""`wait` of `/v1/candles`: held until something has changed, at no cost for each that waits.

Rule: docs/design.md#native.
"""

import asyncio
import json
from typing import Any

import pytest

from mdcache.serving.native.row_reads import RowReads
from tests.support.asgi_client import Response, ask
from tests.support.candles_questions import MINUTE, get, world
from tests.support.event_client import EventClient
from tests.support.served_daemon import ServedDaemon

pytestmark = pytest.mark.virtual

ONE = "market=spot&symbols=BTCUSDT&intervals=1m&limit=10&closed=true"
TWO = "market=spot&symbols=BTCUSDT,ETHUSDT&intervals=1m&limit=10&closed=true"


async def token(w: ServedDaemon, query: str) -> str:
    found: str = json.loads((await get(w, query)).body)["token"]
    return found


async def timed(w: ServedDaemon, query: str) -> tuple[Response, int]:
    """The answer, and when it came."""
    reply = await get(w, query)
    return reply, w.clock.true_ms()


def newest(reply: Response) -> list[Any]:
    return [each["rows"][-1] for each in json.loads(reply.body)["series"]]


@pytest.mark.parametrize("streams", [True, False])
async def test_a_close_is_answered_at_once_and_all_that_wait_cost_one_read(*, streams: bool) -> None:
    w = world(streams=streams)
    listener: EventClient | None = None
    if streams:
        listener = await EventClient(w.app, "market=spot&symbols=BTCUSDT&intervals=1m&closed=true").started()
    since = await token(w, ONE)
    await w.clock.sleep(5.0)
    before = len(w.calls())
    replies = await asyncio.gather(*(timed(w, f"{ONE}&since={since}&wait=60") for _ in range(200)))
    close_ms = (replies[0][1] - 1) // MINUTE * MINUTE
    for reply, at_ms in replies:
        assert reply.status == 200
        assert newest(reply)[0][6] == close_ms - 1
        assert newest(reply)[0][11] is True
        if listener is not None:
            told_ms = listener.named("closed")[-1].at_s * 1000 - w.clock.now() * 1000 + w.clock.true_ms()
            assert at_ms - told_ms <= 150
        assert at_ms - close_ms <= 2_000
    assert len(w.calls()) - before <= 2  # the refresh on arrival, and one after the close
    recent = json.loads((await ask(w.app, "/v1/status", b"")).body)["answers"]
    assert recent["seconds"]["all"]["p99"] <= 2.5  # of work: up to a minute of waiting was wanted
    if not streams:
        assert not len(w.app._listeners)
        assert not any(each.series for each in w.event_streams.counts().values())


async def test_a_close_while_the_question_was_looked_at_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    w = world(streams=True)
    listener = await EventClient(w.app, TWO.replace("limit=10&", "")).started()
    since = await token(w, TWO)
    find_all, slow = RowReads.find_all, True

    async def find_all_slowly(self: RowReads, *args: Any) -> Any:
        nonlocal slow
        found, wait_s, slow = await find_all(self, *args), 0.5 * slow, False  # the rest of a thousand series
        await w.clock.sleep(wait_s)
        return found

    monkeypatch.setattr(RowReads, "find_all", find_all_slowly)
    await w.clock.sleep((MINUTE - w.clock.true_ms() % MINUTE) / 1000 - 0.05)
    began_s = w.clock.now()
    reply = await get(w, f"{TWO}&since={since}&wait=30")
    assert began_s < listener.named("closed")[-1].at_s < began_s + 0.5
    assert reply.status == 200
    assert w.clock.now() - began_s < 1.0


async def test_many_series_that_close_together_are_one_answer() -> None:
    w = world(streams=True)
    since = await token(w, TWO)
    reply = await get(w, f"{TWO}&since={since}&wait=60")
    assert [row[0] for row in newest(reply)] == [(w.clock.true_ms() // MINUTE - 1) * MINUTE] * 2


async def test_nothing_new_is_no_content_at_the_deadline() -> None:
    w = world()
    query = "market=spot&symbols=BTCUSDT&intervals=1h&limit=10&closed=true"
    since = await token(w, query)
    began_s, before = w.clock.now(), len(w.calls())
    reply = await get(w, f"{query}&since={since}&wait=12.5")
    assert (reply.status, reply.body) == (204, b"")
    assert 12.5 <= w.clock.now() - began_s <= 12.6
    assert len(w.calls()) - before <= 1


async def test_it_does_not_wait_if_something_is_new_already() -> None:
    w = world()
    since = await token(w, ONE)
    await w.clock.sleep(60.0)
    began_s = w.clock.now()
    assert (await get(w, f"{ONE}&since={since}&wait=60")).status == 200
    assert w.clock.now() - began_s < 1.0


async def test_the_open_candle_is_news_too() -> None:
    w = world()
    query = "market=spot&symbols=BTCUSDT&intervals=1m&limit=10"
    since = await token(w, query)
    reply = await get(w, f"{query}&since={since}&wait=60")
    assert newest(reply)[0][11] is False
    assert w.clock.true_ms() - json.loads(reply.body)["series"][0]["as_of"] < 500


async def test_while_binance_cant_be_asked_it_says_so_by_the_deadline() -> None:
    w = world(max_stale_s=10.0)
    since = await token(w, ONE)
    w.exchange.control.ban("spot", 300.0)
    began_s = w.clock.now()
    for reply in await asyncio.gather(*(get(w, f"{ONE}&since={since}&wait=30") for _ in range(3))):
        assert w.clock.now() - began_s <= 30.1
        assert (reply.status, json.loads(reply.body)["code"]) == (503, -1003)
        assert int(reply.headers["retry-after"]) > 200


async def test_a_series_that_still_cant_be_answered_is_no_news() -> None:
    w = world(streams=True)
    query = "market=spot&symbols=BTCUSDT,NOSUCHUSDT&intervals=1m&limit=3&closed=true"
    since = await token(w, query)
    close_ms = w.clock.true_ms() // MINUTE * MINUTE + MINUTE
    reply, at_ms = await timed(w, f"{query}&since={since}&wait=60")
    assert 0 <= at_ms - close_ms <= 2_000
    assert [each["symbol"] for each in json.loads(reply.body)["series"]] == ["BTCUSDT"]
    since = json.loads(reply.body)["token"]
    assert (await get(w, f"{query}&since={since}&wait=5")).status == 204
    w.exchange.control.list_symbol("spot", "NOSUCHUSDT")
    (listed,) = json.loads((await get(w, f"{query}&since={since}&wait=60")).body)["series"]
    assert (listed["symbol"], "error" in listed) == ("NOSUCHUSDT", False)


async def test_one_that_leaves_and_a_shutdown_end_the_wait() -> None:
    w = world()
    query = "market=spot&symbols=BTCUSDT&intervals=1h&limit=10&closed=true"
    since = await token(w, query)
    waiting = [asyncio.create_task(get(w, f"{query}&since={since}&wait=60")) for _ in range(3)]
    await w.clock.sleep(2.0)
    assert len(w.app._listeners) == 3
    w.app.drain(1.0)
    await w.clock.sleep(1.0)
    assert all(task.done() and task.result().status == 204 for task in waiting)
    assert not len(w.app._listeners)
    assert (await get(w, f"{query}&since={since}&wait=60")).status == 503


async def test_more_may_not_wait_than_may_listen() -> None:
    w = world()
    w.app._listeners.most = 1
    since = await token(w, ONE)
    first = asyncio.create_task(get(w, f"{ONE}&since={since}&wait=60"))
    await w.clock.sleep(1.0)
    second = await get(w, f"{ONE}&since={since}&wait=60")
    assert second.status == 503
    assert "MDCACHE_LISTENERS_MAX" in json.loads(second.body)["msg"]
    assert int(second.headers["retry-after"]) >= 1
    assert (await first).status == 200
