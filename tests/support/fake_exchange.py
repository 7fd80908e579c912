"""An exchange inside an `httpx` transport, in virtual time; and reads to ask it with.

It shares no code with `mdcache/exchange` or `mdcache/upstream`: it counts weight by its own clock's UTC
minute, answers `/time`, and misbehaves on demand.
"""

import asyncio
import gzip
import json
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import httpx

from mdcache.errors import BodyFault, InvalidBody
from mdcache.events import Event, Events, ReadReason
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.governor import Governor, GovernorSettings
from mdcache.upstream.models import Accepted, UpstreamReply, UpstreamRequest
from mdcache.upstream.priority import Lane, Priority
from tests.support.virtual_time import VirtualClock, close_at_end

BASE_URLS = {
    Market.SPOT: "https://spot.test",
    Market.USDM: "https://usdm.test/base/",
    Market.COINM: "https://coinm.test",
}


@dataclass
class ReceivedRequest:
    """A request as the exchange saw it."""

    at_ms: int
    host: str
    path: str
    query: str
    weight: int
    headers: dict[str, str]


class Pieces(httpx.AsyncByteStream):
    """A body in pieces, with a pause before each."""

    def __init__(self, pieces: list[bytes], pause_s: float = 0.0) -> None:
        self.pieces = pieces
        self.pause_s = pause_s
        self.given = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if self.pause_s:
                await asyncio.sleep(self.pause_s)
            self.given += len(piece)
            yield piece

    async def aclose(self) -> None:
        self.closed = True


Answer = Callable[["FakeExchange", httpx.Request], httpx.Response | None]


@dataclass
class FakeExchange(httpx.AsyncBaseTransport):
    """Answers after `trip_s`; `fault` may answer in its place. Its clock is `skew_ms` ahead of the world's."""

    clock: VirtualClock
    trip_s: float = 0.05
    skew_ms: int = 0
    date_skew_ms: int = 0
    limit: int = 6_000
    fault: Answer | None = None
    foreign: int = 0
    headers: bool = True
    seen: list[ReceivedRequest] = field(default_factory=list)
    spent: Counter[tuple[str, int]] = field(default_factory=Counter)
    flying: int = 0
    most_flying: int = 0

    def now_ms(self) -> int:
        return self.clock.true_ms() + self.skew_ms

    @property
    def klines(self) -> list[ReceivedRequest]:
        return [seen for seen in self.seen if not seen.path.endswith("/time")]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            await asyncio.sleep(self.trip_s / 2)
            response = self._answer(request)
            await asyncio.sleep(self.trip_s / 2)
            return response
        finally:
            self.flying -= 1

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path, request.url.query.decode()
        weight = int(dict(request.url.params).get("w", "1"))
        family = "spot" if request.url.host == "spot.test" else "futures"
        minute = (family, self.now_ms() // 60_000)
        self.spent[minute] += weight
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(ReceivedRequest(self.now_ms(), request.url.host, path, query, weight, headers))
        if self.fault is not None and (response := self.fault(self, request)) is not None:
            return self._dress(response, minute)
        body: Any = {"serverTime": self.now_ms()} if path.endswith("/time") else [[1, "ok"]]
        return self._dress(httpx.Response(200, content=json.dumps(body).encode()), minute)

    def _dress(self, response: httpx.Response, minute: tuple[str, int]) -> httpx.Response:
        if self.headers:
            response.headers.setdefault("x-mbx-used-weight-1m", str(self.spent[minute] + self.foreign))
        date_s = (self.now_ms() + self.date_skew_ms) // 1000
        response.headers.setdefault("date", formatdate(date_s, usegmt=True))
        return response


@dataclass
class FakeRead:
    """A read that takes any JSON body for good."""

    market: Market = Market.SPOT
    priority: Priority = field(default_factory=lambda: Priority(Lane.NORMAL, math.inf))
    cost: int = 1
    promised: int | None = None  # the weight it says it has; `cost` where it is honest
    path: str = "klines"
    endpoint: str = "klines"
    reason: ReadReason = ReadReason.REFRESH
    max_bytes: int = 1_000_000
    built: int = 0
    broken: int = 0
    headers: tuple[tuple[str, str], ...] = ()

    def weight(self) -> int:
        return self.cost if self.promised is None else self.promised

    def build_request(self) -> UpstreamRequest:
        self.built += 1
        return UpstreamRequest(
            self.market.prefix + self.path, f"w={self.cost}", self.headers, self.cost, self.max_bytes
        )

    async def accept(self, reply: UpstreamReply) -> Accepted[UpstreamReply]:
        if self.broken:
            self.broken -= 1
            raise InvalidBody(BodyFault.COLUMNS, "made up")
        try:
            body = json.loads(reply.body)
        except ValueError as error:
            raise InvalidBody(BodyFault.NOT_JSON, str(error)) from error
        return Accepted(reply, len(body) if isinstance(body, list) else None)


def fake_read(lane: Lane = Lane.NORMAL, within_s: float = math.inf, *, cost: int = 1, **more: Any) -> FakeRead:
    """A read that gives up after `within_s` from now."""
    turn_fields = {name: more.pop(name) for name in ("client", "crossed", "paced") if name in more}
    drop_at_s = asyncio.get_running_loop().time() + within_s
    return FakeRead(priority=Priority(lane, drop_at_s, **turn_fields), cost=cost, **more)


@dataclass
class GovernedExchange:
    """A governor, its exchange, and all events."""

    clock: VirtualClock
    exchange: FakeExchange
    governor: Governor
    events: list[Event]

    def events_of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def gate(self, family: Family = Family.SPOT) -> str:
        return next(each.gate_state for each in self.governor.status() if each.family == family.value)


async def governed(
    *, seed: int = 1, limits: GovernorSettings | None = None, synced: bool = True, **exchange: Any
) -> GovernedExchange:
    """A world whose clocks are measured, with nothing yet in the exchange's log."""
    clock = VirtualClock()
    events: list[Event] = []
    shop = FakeExchange(clock, **exchange)
    governor = Governor(
        clock=clock,
        rng=random.Random(seed),
        events=Events(events.append),
        base_urls=BASE_URLS,
        settings=limits or GovernorSettings(),
        transport=shop,
    )
    if synced:
        fault, shop.fault = shop.fault, None
        for market in Market:
            await governor.clocks.ensure(market)
        shop.fault = fault
        shop.seen.clear()
        events.clear()
    close_at_end(governor.aclose)
    return GovernedExchange(clock, shop, governor, events)


def refuse(status: int, body: bytes = b"", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=body, headers=named)


def zipped(body: bytes) -> httpx.Response:
    return httpx.Response(200, stream=Pieces([gzip.compress(body)]), headers={"content-encoding": "gzip"})


def always(make_response: Callable[[], httpx.Response]) -> Answer:
    return lambda *_: make_response()


def first(count: int, make_response: Callable[[], httpx.Response]) -> Answer:
    left = [count]

    def answer(exchange: FakeExchange, request: httpx.Request) -> httpx.Response | None:
        left[0] -= 1
        return make_response() if left[0] >= 0 else None

    return answer


async def outcomes(world: GovernedExchange, count: int, **more: Any) -> list[object]:
    reads = (world.governor.fetch(fake_read(**more)) for _ in range(count))
    return await asyncio.gather(*reads, return_exceptions=True)
