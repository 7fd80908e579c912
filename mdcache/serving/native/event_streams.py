"""`GET /v1/stream`: listen to candles as Server-Sent Events (docs/design.md#events)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from mdcache.errors import GateClosed, MdcacheError, Refusal
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from mdcache.exchange.symbols import MarketSymbols
from mdcache.serving.errors import METHOD_NOT_ALLOWED
from mdcache.serving.listeners import ListenerEnd, ListenerKind, Listeners
from mdcache.serving.native.event_listener import EventListener
from mdcache.serving.native.positions import BadPosition, Position, name_of
from mdcache.serving.native.series_events import EventName
from mdcache.serving.native.stream_query import StreamQuery, parse_stream_query
from mdcache.serving.native.watchers import SeriesWatchers, WatcherSources
from mdcache.serving.responses import ALLOW, HttpResponse, Receive, Scope, Send, failure_response, refusal_response

MAX_MISSED = 1_000  # candles of a series that a listener may resume from
_LATE_MS = 5_000  # a close of the last seconds may not have been shown yet when a listener begins
_AHEAD_MS = 60_000  # of our clock; a position further ahead is not one of ours
_FULL_RETRY_S = 5
_FIELDS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
)


@dataclass(slots=True)
class EventCounts:
    """What is listened to on one market, and what was sent since the start, by the event's name."""

    series: int = 0
    sent: Counter[EventName] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class EventSources:
    """What event streams are made of.

    `check`: measures a market's clock and checks that symbols exist, and returns why it can't, or raises. `symbols`:
    those known of a market. `upstreams`: base URLs by market.
    """

    watchers: WatcherSources
    check: Callable[[Market, tuple[str, ...]], Awaitable[GateClosed | None]]
    symbols: Callable[[Market], MarketSymbols]
    upstreams: Mapping[Market, str]


class EventStreams:
    """All listeners to events."""

    def __init__(self, sources: EventSources, listeners: Listeners) -> None:
        self._sources = sources
        self._listeners = listeners
        self.watchers = SeriesWatchers(sources.watchers)
        self._sent: dict[Market, Counter[EventName]] = {market: Counter() for market in Market}

    def counts(self) -> dict[Market, EventCounts]:
        """Return what is listened to, and what was sent, by market."""
        series = Counter(key.market for key in self.watchers)
        return {market: EventCounts(series[market], self._sent[market]) for market in Market}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client is gone, or why it can't have any."""
        try:
            listener = await self._admit(scope)
        except MdcacheError as error:
            listener = failure_response(error)
        if isinstance(listener, HttpResponse):
            await listener.send(send, head_only=scope["method"] == "HEAD")
            return
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _FIELDS})
            await listener.run(receive, send)
        finally:
            self._listeners.remove(listener)
            await listener.aclose()

    async def _admit(self, scope: Scope) -> EventListener | HttpResponse:
        """Return a listener, or the whole answer to a request that is refused or wants no body."""
        if scope["method"] == "OPTIONS":
            return HttpResponse(204, (ALLOW,), b"")
        if scope["method"] not in {"GET", "HEAD"}:
            return refusal_response(*METHOD_NOT_ALLOWED, "Only GET is supported here.", ALLOW)
        query = parse_stream_query(scope["query_string"].decode("latin-1"))
        if (gate_closed := await self._sources.check(query.market, query.symbols)) is not None:
            raise gate_closed
        position = self._position(query, scope)
        if scope["method"] == "HEAD":
            return HttpResponse(200, _FIELDS, b"")
        if (refusal := self._listeners.refusal()) is not None:
            self._listeners.count_end(query.market, ListenerEnd.NO_ROOM)
            return refusal_response(503, -1008, refusal, (b"retry-after", b"%d" % _FULL_RETRY_S))
        listener = EventListener(query, position, self.watchers, self._sent[query.market])
        self._listeners.add(listener, query.market, ListenerKind.EVENTS)
        return listener

    async def aclose(self) -> None:
        """End all watchers."""
        await self.watchers.aclose()

    def _position(self, query: StreamQuery, scope: Scope) -> Position:
        """Return where a listener begins: where it was, by `Last-Event-ID`, or now."""
        symbols, intervals = len(query.symbols), len(query.intervals)
        upstream = self._sources.upstreams[query.market]
        name = name_of(query.market, query.symbols, query.intervals, upstream)
        now = self._sources.watchers.exchange_now(query.market)
        text = next((value for key, value in scope["headers"] if key == b"last-event-id"), b"").decode("latin-1")
        if not text:
            return Position.at(name, now.early_ms - _LATE_MS, symbols, intervals)
        try:
            position = Position.read(text, name, symbols, intervals)
        except BadPosition as error:
            raise Refusal(400, -1130, f"Last-Event-ID can't be resumed from: {error}.") from error
        self._check_age(query, position, now.ms)
        return position

    def _check_age(self, query: StreamQuery, position: Position, now_ms: int) -> None:
        trading = self._sources.symbols(query.market)
        for place, interval in enumerate(query.intervals):
            oldest_ms = now_ms - MAX_MISSED * INTERVALS[interval].length_ms
            for symbol, name in enumerate(query.symbols):
                until_ms = position.until_ms(place, symbol)
                if until_ms > now_ms + _AHEAD_MS:
                    raise Refusal(400, -1130, "Last-Event-ID can't be resumed from: it lies ahead.")
                if until_ms < oldest_ms and trading.trades(name, by_pair=False):
                    text = f"Last-Event-ID is more than {MAX_MISSED} candles of {name} {interval} old: ask for candles "
                    raise Refusal(410, -1130, text + "of that time, and listen without it.")
