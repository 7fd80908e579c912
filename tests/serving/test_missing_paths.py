"""A path that the upstream does not have is the fault of who asks for it: nobody else notices."""

import json
from collections.abc import Callable

import httpx
import pytest

from tests.support.asgi_client import Response, ask
from tests.support.served_daemon import QUERY, ServedDaemon

pytestmark = pytest.mark.virtual


class LackingPaths(httpx.AsyncBaseTransport):
    """The exchange's network, but these paths are answered by a server that has never heard of them."""

    def __init__(self, network: httpx.AsyncBaseTransport, lacks: Callable[[str], bool]) -> None:
        self._network = network
        self._lacks = lacks

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._lacks(request.url.path):
            return httpx.Response(404, request=request)
        return await self._network.handle_async_request(request)


def lacking(*endings: str) -> ServedDaemon:
    """A daemon that forwards unknown paths, to an upstream without paths of these endings."""
    w = ServedDaemon()
    w.transport = LackingPaths(w.transport, lambda path: path.endswith(endings))
    w.restart()
    w.serve(unknown_paths="forward")
    return w


@pytest.mark.parametrize(
    ("path", "query"),
    [("/api/v3/news", b"page=%d"), ("/api/v3/avgPrice", b"symbol=%s"), ("/api/v3/uiKlines", b"symbol=%s&interval=1m")],
)
async def test_it_is_passed_on_and_closes_the_family_for_nobody(path: str, query: bytes) -> None:
    w = lacking("/news", "/avgPrice", "/uiKlines")
    for n in range(12):
        value = str(n).encode() if b"%d" in query else (b"ETHUSDT", b"BTCUSDT")[n % 2]
        missing: Response = await ask(w.app, path, query.replace(b"%d", b"%s") % value)
        assert (missing.status, json.loads(missing.body)["code"]) == (404, -1000)
        answer = await w.get("/api/v3/klines", QUERY)
        assert (answer.status, answer.headers.get("retry-after")) == (200, None)
        await w.clock.sleep(1.5)
    assert all(family.gate_state == "open" for family in w.governor.status())


async def test_a_clock_that_the_upstream_lacks_is_not_the_questions_fault() -> None:
    w = lacking("/time")
    answer = await w.get("/api/v3/klines", QUERY)
    assert (answer.status, json.loads(answer.body)["code"]) == (502, -1006)
