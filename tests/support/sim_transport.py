"""The network inside the process: an httpx transport whose other end is the simulated exchange."""

import asyncio
from collections.abc import AsyncIterator

import httpx

from mdcache.sim import Exchange
from tests.support.virtual_time import VirtualClock


class _Body(httpx.AsyncByteStream):
    def __init__(self, body: bytes, *, cut: bool) -> None:
        self._body = body
        self._cut = cut

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._cut:
            yield self._body[: len(self._body) // 2]
            raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
        for start in range(0, len(self._body), 65_536):
            yield self._body[start : start + 65_536]


class SimTransport(httpx.AsyncBaseTransport):
    """Carries requests to `exchange` in the clock's time; counts what is in flight and was ever sent.

    `unplugged`: nothing arrives.
    """

    def __init__(self, exchange: Exchange, clock: VirtualClock, client: str = "192.0.2.1") -> None:
        self._exchange = exchange
        self._clock = clock
        self._client = client
        self.unplugged = False
        self.sent = 0
        self.in_flight = 0
        self.most_in_flight = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.unplugged:
                raise httpx.ConnectError("no route to host", request=request)
            return await self._carry(request)
        finally:
            self.in_flight -= 1

    async def _carry(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path, request.url.query.decode()
        await self._clock.sleep(self._exchange.delay_before(path))
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = self._exchange.respond(request.method, path, query, headers, self._client)
        await self._clock.sleep(reply.delay_after_s)
        if reply.fault == "timeout":
            await asyncio.Event().wait()
        if reply.fault == "drop":
            raise httpx.RemoteProtocolError("server disconnected without sending a response", request=request)
        return httpx.Response(
            reply.status,
            headers=list(reply.headers),
            stream=_Body(reply.body, cut=reply.fault == "truncate"),
            request=request,
        )
