"""`GET /v1/stream`: listen to candles as Server-Sent Events (docs/design.md#events)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from mdcache.errors import GateClosed, Refusal
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from mdcache.exchange.symbols import MarketSymbols
from mdcache.results import Result
from mdcache.serving.listeners import ListenerEnd, ListenerKind, Listeners
from mdcache.serving.native.event_listener import EventListener
from mdcache.serving.native.messages import NativeReply, NativeRequest
from mdcache.serving.native.positions import BadPosition, Position, name_of
from mdcache.serving.native.series_events import EventName
from mdcache.serving.native.stream_query import StreamQuery, parse_stream_query
from mdcache.serving.native.watchers import SeriesWatchers, WatcherSources
from mdcache.serving.responses import Receive, Send, refusal_response

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


@dataclass(frozen=True, slots=True)
class _EventReply:
    """An answer without an end. `make_listener`: makes the one who is sent it, if more than its head is wanted."""

    make_listener: Callable[[], EventListener]
    market: Market
    listeners: Listeners
    receive: Receive

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Send events until the client is gone."""
        head = {"type": "http.response.start", "status": 200, "headers": _FIELDS}
        if head_only:
            await send(head)
            await send({"type": "http.response.body", "body": b""})
            return
        listener = self.make_listener()
        self.listeners.add(listener, self.market, ListenerKind.EVENTS)
        try:
            await send(head)
            await listener.run(self.receive, send)
        finally:
            self.listeners.remove(listener)
            await listener.aclose()


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

    async def answer(self, request: NativeRequest) -> NativeReply:
        """Answer with events, or with why the client can't have any."""
        query = parse_stream_query(request.query)
        if (gate_closed := await self._sources.check(query.market, query.symbols)) is not None:
            raise gate_closed
        position = self._position(query, request.last_event_id)
        if (refusal := self._listeners.refusal()) is not None:
            self._listeners.count_end(query.market, ListenerEnd.NO_ROOM)
            retry_after = b"retry-after", b"%d" % _FULL_RETRY_S
            return NativeReply(refusal_response(503, -1008, refusal, retry_after), Result.ERROR)

        def make_listener() -> EventListener:
            return EventListener(query, position, self.watchers, self._sent[query.market])

        reply = _EventReply(make_listener, query.market, self._listeners, request.receive)
        return NativeReply(reply, Result.HIT)

    async def aclose(self) -> None:
        """End all watchers."""
        await self.watchers.aclose()

    def _position(self, query: StreamQuery, text: str) -> Position:
        """Return where a listener begins: where it was, by `Last-Event-ID`, or now."""
        symbols, intervals = len(query.symbols), len(query.intervals)
        upstream = self._sources.upstreams[query.market]
        name = name_of(query.market, query.symbols, query.intervals, upstream)
        now = self._sources.watchers.exchange_now(query.market)
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
