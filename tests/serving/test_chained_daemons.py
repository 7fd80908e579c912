"""An mdcache before an mdcache: ages add up, refusals pass through, and nothing is younger than it is."""

import asyncio
import json

import httpx
import pytest

from mdcache.events import UpstreamCalled
from mdcache.exchange.markets import Family
from tests.support.served_daemon import QUERY, ServedDaemon

pytestmark = pytest.mark.virtual

KLINES, PRICE = "/api/v3/klines", "/api/v3/ticker/price"
SYMBOL = b"symbol=ETHUSDT"


def chained(near: ServedDaemon) -> ServedDaemon:
    """A second daemon whose exchange is the first."""
    far = ServedDaemon()
    far.exchange = near.exchange
    far.transport = httpx.ASGITransport(near.app)
    far.restart()
    return far


@pytest.mark.parametrize(("path", "query"), [(KLINES, QUERY), (PRICE, SYMBOL)])
async def test_an_answer_is_never_younger_than_it_is(path: str, query: bytes) -> None:
    near = ServedDaemon()
    far = chained(near)
    for pause_s in (0.0, 0.3, 0.9, 1.3, 1.9, 0.7, 2.6, 0.99, 0.01):
        first = await near.get(path, query)
        await asyncio.sleep(pause_s)
        second = await far.get(path, query)
        assert second.status == 200
        as_of = int(second.headers["x-mdcache-as-of"])
        held = {reply.body: int(reply.headers["x-mdcache-as-of"]) for reply in (first, await near.get(path, query))}
        if second.body in held and "klines" not in path:
            assert as_of <= max(held.values())
        assert as_of <= near.clock.true_ms()
        body = near.exchange.truth(path, query.decode(), at_ms=as_of)
        assert second.body == body
    await far.aclose()
    await near.aclose()


@pytest.mark.parametrize(("path", "query"), [(KLINES, QUERY), (PRICE, SYMBOL)])
async def test_a_closed_gate_passes_through_at_once(path: str, query: bytes) -> None:
    near = ServedDaemon()
    far = chained(near)
    await far.get("/api/v3/ticker/price", b"symbol=BTCUSDT")
    near.governor.close_gate(Family.SPOT, 90.0)
    reply = await far.get(path, query)
    assert (reply.status, json.loads(reply.body)["code"]) == (503, -1003)
    assert 85 < int(reply.headers["retry-after"]) <= 90
    refused = far.matching_events(lambda event: isinstance(event, UpstreamCalled) and event.status == 503)
    assert len(refused) == 1  # with a Retry-After: not retried
    assert all(status.gate_state == "open" for status in far.governor.status())
    await far.aclose()
    await near.aclose()


@pytest.mark.parametrize(("path", "query"), [(KLINES, QUERY), (PRICE, SYMBOL)])
async def test_marked_answers_stay_marked(path: str, query: bytes) -> None:
    near = ServedDaemon()
    far = chained(near)
    await near.get(path, query)
    near.governor.close_gate(Family.SPOT, 90.0)
    await asyncio.sleep(10.0)
    reply = await far.get(path, query)
    assert reply.status == 200
    assert reply.headers["cache-status"].endswith("; detail=stale")
    assert int(reply.headers["age"]) >= 10
    await asyncio.sleep(25.0)
    assert (await far.get(path, query)).status == 503
    await far.aclose()
    await near.aclose()


async def test_the_whole_history_costs_the_exchange_once() -> None:
    near = ServedDaemon()
    far, other = chained(near), chained(near)
    query = b"symbol=ETHUSDT&interval=1h&limit=500&endTime=1780000000000"
    bodies = {(await daemon.get(KLINES, query)).body for daemon in (far, other, near, far)}
    assert len(bodies) == 1
    assert len(near.calls()) <= 2  # a full page for the far one's, and what its own bounds need before it
    for daemon in (far, other, near):
        await daemon.aclose()
