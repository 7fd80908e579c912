"""The application over the real data path and the simulated exchange: DESIGN 2 from the outside."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from prometheus_client import CollectorRegistry

from mdcache.cache.warming import Warming
from mdcache.events import Events
from mdcache.exchange.markets import Family, Market
from mdcache.serving.app import App
from mdcache.serving.asked import Reader
from mdcache.serving.binance import Binance
from mdcache.serving.binance import Sources as BinanceSources
from mdcache.serving.ops import Hands, Ops
from mdcache.serving.ports import Readiness
from mdcache.serving.ready import Readies
from mdcache.serving.status import Sources, Status, voids
from mdcache.telemetry.gauges import Gauges
from mdcache.telemetry.metrics import Metrics
from tests.serving.client import Response, ask
from tests.world.loop import run
from tests.world.world import World

QUERY = b"symbol=ETHUSDT&interval=1m&limit=500"
TOKEN = "whole-token"


class Whole(World):
    """A world with the application in front."""

    def restart(self) -> None:
        super().restart()
        governor, library = self.governor, self.library
        events = Events(self.events.append)
        gauges = Gauges(
            governor.status,
            lambda: len(self.flights),
            lambda: voids(library),
            lambda: len(library),
            lambda: library.rows,
            lambda: library.memory.held_bytes,
            lambda: library.memory.max_bytes,
            dict,
        )
        metrics = Metrics(CollectorRegistry(), "0", ["engine"], gauges)
        readies = Readies(library, governor.clocks, self.clock)
        binance = Binance(
            BinanceSources(self.candles, self.snapshots, self.info),
            readies,
            governor.clocks,
            governor,
            self.clock,
            metrics,
            8.0,
        )
        sources = Sources(
            "0", self.clock, governor, library, self.flights, self.directory, readies, Readiness, {"A": "b"}
        )
        bodies = self.snapshots.bodies
        warming = Warming(self.candles, self.clock, events)
        ops = Ops(
            Status(sources), Readiness, metrics.exposition, Hands(library, readies, bodies, governor, warming), TOKEN
        )
        self.app = App(binance, ops, Reader({"engine": "high"}, "auto"), self.clock, events, metrics)

    async def get(self, path: str = "/api/v3/klines", query: bytes = QUERY, **headers: str) -> Response:
        return await ask(self.app, path, query, headers={n.replace("_", "-"): v for n, v in headers.items()})

    async def direct(self, path: str, query: bytes) -> httpx.Response:
        async with httpx.AsyncClient(transport=self.transport, base_url="http://exchange.test") as client:
            return await client.get(f"{path}?{query.decode()}")


def whole(test: Callable[[Whole], Awaitable[None]]) -> Callable[[], None]:
    async def main() -> None:
        async with opened() as w:
            await test(w)

    def runner() -> None:
        run(main())

    runner.__name__ = test.__name__
    return runner


@asynccontextmanager
async def opened() -> AsyncIterator[Whole]:
    w = Whole()
    try:
        yield w
    finally:
        await w.aclose()


@whole
async def test_the_same_bytes_as_binance(w: Whole) -> None:
    for path in ("/api/v3/klines", "/fapi/v1/klines"):
        ours = await w.get(path, b"symbol=ETHUSDT&interval=1h&limit=200&endTime=1790000000000")
        theirs = await w.direct(path, b"symbol=ETHUSDT&interval=1h&limit=200&endTime=1790000000000")
        assert ours.status == theirs.status_code == 200
        assert ours.body == theirs.content
        assert ours.headers["content-type"] == theirs.headers["content-type"]


@whole
async def test_once_is_enough_within_the_ttl(w: Whole) -> None:
    first = await w.get()
    before = len(w.calls())
    replies = [await w.get() for _ in range(20)]
    assert len(w.calls()) == before
    assert first.headers["cache-status"].startswith("mdcache; fwd=uri-miss; fwd-status=200; stored; ttl=")
    assert {reply.headers["cache-status"] for reply in replies} <= {f"mdcache; hit; ttl={n}" for n in range(3)}
    assert {reply.headers["etag"] for reply in replies} == {first.headers["etag"]}
    assert {reply.headers["x-mdcache-as-of"] for reply in replies} == {first.headers["x-mdcache-as-of"]}
    assert int(first.headers["x-mbx-used-weight-1m"]) > 0
    await w.clock.sleep(2.5)
    refreshed = await w.get()
    assert len(w.calls()) == before + 1
    assert refreshed.headers["cache-status"].startswith("mdcache; fwd=stale; ")


@whole
async def test_a_closed_gate_is_told_with_when_to_return(w: Whole) -> None:
    await w.get()
    w.governor.close_gate(Family.SPOT, 90.0)
    await w.clock.sleep(3.0)
    marked = await w.get()
    assert marked.status == 200
    assert marked.headers["cache-status"].endswith("; detail=stale")
    await w.clock.sleep(40.0)
    refused = await w.get()
    assert (refused.status, json.loads(refused.body)["code"]) == (503, -1003)
    assert 40 < int(refused.headers["retry-after"]) <= 50
    assert (await w.get(query=QUERY, cache_control="only-if-cached")).status in {503, 504}
    reply = await ask(
        w.app,
        "/v1/admin/gate",
        b"",
        method="POST",
        headers={"authorization": f"Bearer {TOKEN}"},
        body=b'{"family":"spot","action":"open"}',
    )
    assert reply.status == 200
    assert (await w.get()).status == 200


@whole
async def test_wrong_questions_cost_nothing(w: Whole) -> None:
    await w.get()
    before = len(w.calls())
    for query, code in [(b"symbol=NOPEUSDT&interval=1m", -1121), (b"symbol=ETHUSDT&interval=7m", -1120)]:
        reply = await w.get(query=query)
        assert (reply.status, json.loads(reply.body)["code"]) == (400, code)
    assert len(w.calls()) == before


@whole
async def test_time_is_the_exchanges(w: Whole) -> None:
    body = json.loads((await w.get("/fapi/v1/time", b"")).body)
    assert abs(body["serverTime"] - w.clock.true_ms()) < 50
    assert w.governor.clocks.measured(Market.USDM)


@whole
async def test_a_purge_makes_it_ask_again(w: Whole) -> None:
    for _ in range(3):
        await w.get()
    before = len(w.calls())
    reply = await ask(
        w.app, "/v1/admin/purge", b"", method="POST", headers={"authorization": f"Bearer {TOKEN}"}, body=b"{}"
    )
    assert json.loads(reply.body) == {"purged": 1}
    assert (await w.get()).headers["cache-status"].startswith("mdcache; fwd=uri-miss")
    assert len(w.calls()) == before + 1


@whole
async def test_status_and_metrics(w: Whole) -> None:
    for _ in range(3):
        await w.get(x_mdcache_client="engine")
    status = json.loads((await w.get("/v1/status", b"")).body)
    assert status["series"]["count"] == 1
    assert status["symbols"]["spot"]["count"] > 0
    assert status["clocks"]["spot"]["measured"] is True
    page = (await w.get("/metrics", b"")).body.decode()
    assert 'mdcache_requests_total{client="engine",endpoint="klines",market="spot",result="hit"} 2.0' in page
    assert 'mdcache_gate_state{family="spot",state="open"} 1.0' in page


@pytest.mark.parametrize("header", ["gzip", "gzip, deflate, br"])
def test_far_clients_get_gzip(header: str) -> None:
    async def main() -> None:
        async with opened() as w:
            for _ in range(3):
                reply = await ask(w.app, query=QUERY, headers={"accept-encoding": header}, peer=("192.0.2.1", 5))
                assert reply.headers["content-encoding"] == "gzip"
                assert len(reply.body) < 30_000

    run(main())
