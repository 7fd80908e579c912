"""`Client` and `AsyncClient`: the same calls, sent in two ways."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import wraps
from typing import Concatenate, Generic, ParamSpec, Self, TypeVar

import httpx

from mdcache.client import calls
from mdcache.client.calls import Call, ExchangeTime, Reply, read_error
from mdcache.client.candles import Candle, Event
from mdcache.client.errors import ClientError, Unavailable
from mdcache.client.events import Subscription

P = ParamSpec("P")
T = TypeVar("T")
ChangesT = TypeVar("ChangesT")
EventsT = TypeVar("EventsT")
_TIMEOUT = httpx.Timeout(10.0, read=75.0)  # the longest wait is a minute
_STREAM_TIMEOUT = httpx.Timeout(10.0, read=40.0)  # something comes every 15 s
_OK = 200


def _sync(make: Callable[P, Call[T]]) -> "Callable[Concatenate[Client, P], T]":
    @wraps(make)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._send(make(*args, **kwargs))

    return method


def _async(make: Callable[P, Call[T]]) -> "Callable[Concatenate[AsyncClient, P], Awaitable[T]]":
    @wraps(make)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._send(make(*args, **kwargs))

    return method


class _Listening(ABC, Generic[ChangesT, EventsT]):
    """The calls of both clients that listen."""

    def changed(
        self, market: str, symbols: Sequence[str], intervals: Sequence[str], after: str | None = None
    ) -> ChangesT:
        """Iterate over candles that close, each once, in the order of a series; for as long as you like.

        Args:
            market: `spot`, `usdm` or `coinm`.
            symbols: Their names.
            intervals: As Binance calls them.
            after: `position` of an earlier iteration: what closed since comes first.

        Raises:
            Refused: While iterating: the question is wrong, or `after` is too old to resume from.
        """
        return self._changes(Subscription(market, symbols, intervals, after, closed=True))

    def stream(
        self, market: str, symbols: Sequence[str], intervals: Sequence[str], after: str | None = None
    ) -> EventsT:
        """Iterate over all events: open candles, closes, revisions, and whether a series is current."""
        return self.events(Subscription(market, symbols, intervals, after, closed=False))

    @abstractmethod
    def events(self, subscription: Subscription) -> EventsT:
        """Iterate over the events of a subscription."""

    @abstractmethod
    def _changes(self, subscription: Subscription) -> ChangesT: ...


class Client(_Listening["Changes", Iterator[Event]]):
    """Asks an mdcache.

    Args:
        url: Where it listens.
        name: The name it knows this client by, if it has a list of clients.
        transport: Replaces the network in tests.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8700", *, name: str = "", transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=_named(name), timeout=_TIMEOUT, transport=transport)
        self._time = ExchangeTime()

    candles = _sync(calls.candles)
    price_at = _sync(calls.price_at)
    fetch_ohlcv = _sync(calls.fetch_ohlcv)

    def _changes(self, subscription: Subscription) -> "Changes":
        return Changes(self, subscription)

    def events(self, subscription: Subscription) -> Iterator[Event]:
        """Iterate over the events of a subscription; connect again whenever the connection ends."""
        while True:
            error: ClientError | None = None
            try:
                with self._http.stream(
                    "GET",
                    "/v1/stream",
                    params=subscription.params,
                    headers=subscription.headers(),
                    timeout=_STREAM_TIMEOUT,
                ) as reply:
                    if reply.status_code != _OK:
                        error = read_error(Reply(reply.status_code, reply.headers, reply.read(), self._time))
                    else:
                        for line in reply.iter_lines():
                            if (event := subscription.take(line)) is not None:
                                yield event
            except httpx.TransportError:
                pass  # it is connected again
            time.sleep(subscription.pause_s(error))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        sent_s = self._time.now_s()
        try:
            reply = self._http.get(call.path, params=call.params, headers=call.headers)
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        return call.read(_received(reply, sent_s, self._time))


class AsyncClient(_Listening["AsyncChanges", AsyncIterator[Event]]):
    """Asks an mdcache, with asyncio; the arguments are those of `Client`."""

    def __init__(
        self, url: str = "http://127.0.0.1:8700", *, name: str = "", transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_named(name), timeout=_TIMEOUT, transport=transport)
        self._time = ExchangeTime()

    candles = _async(calls.candles)
    price_at = _async(calls.price_at)
    fetch_ohlcv = _async(calls.fetch_ohlcv)

    def _changes(self, subscription: Subscription) -> "AsyncChanges":
        return AsyncChanges(self, subscription)

    async def events(self, subscription: Subscription) -> AsyncIterator[Event]:
        """Iterate over the events of a subscription; connect again whenever the connection ends."""
        while True:
            error: ClientError | None = None
            try:
                async with self._http.stream(
                    "GET",
                    "/v1/stream",
                    params=subscription.params,
                    headers=subscription.headers(),
                    timeout=_STREAM_TIMEOUT,
                ) as reply:
                    if reply.status_code != _OK:
                        error = read_error(Reply(reply.status_code, reply.headers, await reply.aread(), self._time))
                    else:
                        async for line in reply.aiter_lines():
                            if (event := subscription.take(line)) is not None:
                                yield event
            except httpx.TransportError:
                pass  # it is connected again
            await asyncio.sleep(subscription.pause_s(error))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send(self, call: Call[T]) -> T:
        sent_s = self._time.now_s()
        try:
            reply = await self._http.get(call.path, params=call.params, headers=call.headers)
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        return call.read(_received(reply, sent_s, self._time))


class Changes(Iterator[Candle]):
    """Candles that close. `position`: after the last one that was given out."""

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self._events = client.events(subscription)
        self._subscription = subscription

    @property
    def position(self) -> str:
        """From where another iteration goes on; empty until there is a connection."""
        return self._subscription.position

    def __next__(self) -> Candle:
        while True:
            event = next(self._events)
            if event.name == "closed" and event.candle is not None:
                return event.candle


class AsyncChanges(AsyncIterator[Candle]):
    """The same for `AsyncClient`."""

    def __init__(self, client: AsyncClient, subscription: Subscription) -> None:
        self._events = client.events(subscription)
        self._subscription = subscription

    @property
    def position(self) -> str:
        """From where another iteration goes on; empty until there is a connection."""
        return self._subscription.position

    async def __anext__(self) -> Candle:
        while True:
            event = await anext(self._events)
            if event.name == "closed" and event.candle is not None:
                return event.candle


def _named(name: str) -> dict[str, str]:
    return {"x-mdcache-client": name} if name else {}


def _received(reply: httpx.Response, sent_s: float, exchange_time: ExchangeTime) -> Reply:
    if (now := reply.headers.get("x-mdcache-now")) is not None:
        exchange_time.note(sent_s, int(now))
    return Reply(reply.status_code, reply.headers, reply.content, exchange_time)


def _unreachable(error: httpx.TransportError) -> Unavailable:
    return Unavailable(f"mdcache does not answer: {type(error).__name__}", 1.0)
