"""Junk from upstream, with status 200 or another: an error of ours, or the very bytes; never a 500."""

import random
from collections.abc import Callable
from functools import partial
from itertools import product

import httpx
import pytest

from mdcache.events import BackgroundTaskFailed, BodyRejected
from mdcache.exchange.endpoints import ENDPOINTS
from tests.serving.test_snapshots import QUESTIONS
from tests.support.examples import long, thinned
from tests.support.junk import junk
from tests.support.served_daemon import ServedDaemon
from tests.support.sim_transport import SimTransport
from tests.support.virtual_daemon import DaemonOptions

pytestmark = pytest.mark.virtual

KLINES = "/api/v3/klines"
DEEP = b"[" * 20_000 + b"]" * 20_000
BODIES = [DEEP, b'{"a":' * 20_000, b'[["\xff"]]', b"\xff", b"[", b"null", b'[{"symbol":"\xff"}]']
KLINE_QUESTIONS = [
    (KLINES, "symbol=ETHUSDT&interval=1m&limit=5"),
    ("/fapi/v1/klines", "symbol=ETHUSDT&interval=1M&limit=5"),
    ("/dapi/v1/klines", "symbol=ETHUSD_PERP&interval=1h&startTime=1700000000000&endTime=1700100000000"),
    ("/fapi/v1/markPriceKlines", "symbol=ETHUSDT&interval=1w&startTime=1600000000000&limit=9"),
]
INFO_QUESTIONS = [(f"/{each}/exchangeInfo", "") for each in ("api/v3", "fapi/v1", "dapi/v1")] + [
    ("/api/v3/exchangeInfo", "symbol=BTCUSDT"),
    ("/api/v3/exchangeInfo", "permissions=SPOT&showPermissionSets=false"),
    ("/api/v3/time", ""),
]


class JunkTransport(SimTransport):
    """The simulated exchange, whose replies `spoil` changes: a path and a body to a status and a body."""

    spoil: Callable[[str, bytes], tuple[int, bytes]] = staticmethod(lambda _, body: (200, body))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reply = await super().handle_async_request(request)
        status, body = self.spoil(request.url.path, await reply.aread())
        headers = [
            (name, value) for name, value in reply.headers.items() if name not in {"content-length", "content-encoding"}
        ]
        return httpx.Response(status, headers=headers, content=body, request=request)


def spoil_path(path: str, status: int, body: bytes, seen: str, good: bytes) -> tuple[int, bytes]:
    return (status, body) if seen == path else (200, good)


def served() -> tuple[ServedDaemon, JunkTransport]:
    w = ServedDaemon(options=DaemonOptions(deadline_s=2.0, max_stale_s=0.0))
    w.transport = transport = JunkTransport(w.exchange, w.clock)
    w.restart()
    return w, transport


@pytest.mark.parametrize(("status", "body"), thinned(product([200, 400, 404, 403, 418, 429, 500, 503], BODIES), 5, 7))
async def test_junk_is_an_error_of_ours_for_every_status(status: int, body: bytes) -> None:
    w, transport = served()
    for path, query in [KLINE_QUESTIONS[0], ("/api/v3/ticker/price", "symbol=BTCUSDT")]:
        transport.spoil = partial(spoil_path, path, status, body)
        reply = await w.get(path, query.encode())
        assert reply.status == {403: 503, 418: 503, 429: 503, 400: 400, 404: 404}.get(status, 502), reply.body
    assert status != 200 or w.event_count(BodyRejected) >= 2
    assert not w.matching_events(lambda event: isinstance(event, BackgroundTaskFailed))


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", [*range(4), *long(*range(4, 12))])
async def test_generated_junk_never_ends_as_500_and_is_passed_on_as_it_is(seed: int) -> None:
    rng = random.Random(seed)
    questions = [*KLINE_QUESTIONS, *INFO_QUESTIONS, *rng.sample(QUESTIONS, 25)]
    w, transport = served()
    sent: dict[str, bytes] = {}

    def spoil(path: str, good: bytes) -> tuple[int, bytes]:
        sent[path] = junk(good, rng)
        return rng.choice((200, 200, 200, 200, 400, 500)), sent[path]

    for path, query in questions:
        transport.spoil = spoil
        reply = await w.get(path, query.encode())
        assert reply.status in {200, 400, 502, 503}, (reply.status, reply.body, sent)
        if reply.status == 200 and path in ENDPOINTS and len(w.calls(ending=path)) == 1:
            assert reply.body == sent[path]
        transport.spoil = lambda _, good: (200, good)
        await w.clock.sleep(400.0)
        again = await w.get(path, query.encode())
        assert again.status == 200, (path, query, again.body, sent)
    failures = w.matching_events(lambda event: isinstance(event, BackgroundTaskFailed))
    assert not [each for each in failures if getattr(each, "task", "") == "request"], failures
