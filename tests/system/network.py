"""The network between daemons and the exchange: it fails, and remembers what was sent when, and what came back."""

import asyncio
import re
from dataclasses import dataclass

import httpx

from mdcache.sim import Exchange
from tests.support.sim_streams import SimConnection, SimStreams
from tests.support.sim_transport import SimTransport
from tests.support.virtual_time import VirtualClock
from tests.system.lives import Life

HANDSHAKE = "handshake"
_UNTIL = re.compile(rb"banned until (\d+)")


@dataclass
class Trip:
    """One request. Times are the exchange's, in milliseconds; `None`: nothing came back."""

    life: Life
    family: str
    path: str
    query: str
    sent_ms: int
    reached_ms: int | None = None
    received_ms: int | None = None
    status: int | None = None
    stated_until_ms: int | None = None
    page: bool = False  # a web page, and not the exchange's answer
    checked: bool = False


class Network:
    """`down`: nothing arrives; `hangs`: nor is that told. `trips`: what was sent since they were last looked at."""

    def __init__(self) -> None:
        self.down = self.hangs = False
        self.trips: list[Trip] = []


class WatchedStreams(SimStreams):
    """One process's way to the streams: its handshakes are trips, too."""

    def __init__(self, exchange: Exchange, clock: VirtualClock, network: Network, life: Life) -> None:
        super().__init__(exchange, clock)
        self._network = network
        self._life = life

    async def __call__(self, url: str) -> SimConnection:
        family = "futures" if "/usdm" in url or "/coinm" in url else "spot"
        self._network.trips.append(Trip(self._life, family, HANDSHAKE, url, self._clock.true_ms()))
        return await super().__call__(url)


class WatchedTransport(SimTransport):
    """One process's way to the exchange."""

    def __init__(self, exchange: Exchange, clock: VirtualClock, network: Network, life: Life) -> None:
        super().__init__(exchange, clock)
        self._network = network
        self._life = life

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._life.ended:
            raise httpx.ConnectError("this process has ended", request=request)
        path = request.url.path
        family = "spot" if path.startswith("/api/") else "futures"
        trip = Trip(self._life, family, path, request.url.query.decode(), self._clock.true_ms())
        self._network.trips.append(trip)
        if self._network.down:
            if self._network.hangs:
                await asyncio.Event().wait()
            raise httpx.ConnectError("no route to host", request=request)
        trip.reached_ms = trip.sent_ms + round(1000 * self._exchange.delay_before(path))
        response = await super().handle_async_request(request)
        trip.received_ms, trip.status = self._clock.true_ms(), response.status_code
        trip.page = response.headers.get("content-type") == "text/html"
        if response.status_code == 200:
            return response
        body = await response.aread()
        trip.stated_until_ms = _stated_until_ms(response, body, trip.received_ms)
        return httpx.Response(response.status_code, headers=response.headers, content=body, request=request)


def _stated_until_ms(response: httpx.Response, body: bytes, now_ms: int) -> int | None:
    stated = [int(found[1]) for found in _UNTIL.finditer(body)]
    if "retry-after" in response.headers:
        stated.append(now_ms + 1000 * int(response.headers["retry-after"]))
    return max(stated, default=None)
