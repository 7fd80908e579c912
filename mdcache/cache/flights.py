"""Flights: reads in the air, each shared by all who wait for what it brings (6.3).

A flight owns its task. Who waits for it shields it: a leaving client cancels nothing. It queues with the best
lane and the latest deadline of its waiters, its window grows until it is sent, and what it brings is merged
whether or not somebody still waits.
"""

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

from mdcache.cache.landing import landed
from mdcache.cache.library import Library, Pin
from mdcache.cache.sharing import Alone, Sharing
from mdcache.cache.wanted import reach
from mdcache.candles.commons import Lease
from mdcache.candles.doubts import Doubt, doubt, trusted
from mdcache.candles.freshness import Floor
from mdcache.candles.merge import merge
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadAt
from mdcache.candles.window import Form, Window, prove
from mdcache.clock import Clock, Instant
from mdcache.errors import AskFailed, MdcacheError, Refusal
from mdcache.events import BodyOdd, Collapsed, Events, Failed, Retried, Revised, RowsRead
from mdcache.exchange.questions import wire_headers, wire_query
from mdcache.exchange.rows import Expected, Row, read_page
from mdcache.upstream.governor import Governor, Reply, Turn, Wire

MAX_BODY_BYTES = 4 << 20  # a page of 1,500 rows takes 0.3 MB
_ERROR_BELIEVED_S = 1.0  # 6.3.3
_LAG_PAUSES_S = (0.25, 0.5, 1.0, 2.0)  # a lagging replica has caught up with our last read after these, near enough
_FOREVER = 1 << 62
_FUTURE_MS = 10_000  # spot itself pulls times into ..now + 10 s: changelog 2024-12-09


@dataclass(frozen=True, slots=True)
class Landed:
    """A reply that passed every check, and what it lacks of what we have."""

    rows: list[Row]
    window: Window
    read: ReadAt
    doubt: Doubt | None
    oddity: str


class Flight:
    """One read of one series, as the governor sees it (its `Read`), and as those who share it do.

    `spared`: other replicas knew what it was to bring, and nothing was sent; the rest is as in `sharing.Shareable`.
    """

    def __init__(self, series: Series, window: Window, turn: Turn, reason: str, floor_ms: int = 0) -> None:
        self.series = series
        self.window = window
        self.turn = turn
        self.reason = reason
        self.market = series.key.market
        self.endpoint = series.key.kind
        self.sealed = False
        self.sent: Instant | None = None
        self.sealed_at_s = 0.0
        self.task: asyncio.Task[None] | None = None
        self.clock_now: Callable[[], tuple[float, Instant]] = lambda: (0.0, Instant(0, 0))
        self.floor_ms = floor_ms
        self.spared = False
        self.waited = False
        self.trusted = False
        self.brought: tuple[int, ...] | None = None
        self.lease: Lease | None = None

    def weight(self) -> int:
        """What it would cost if it were sent now."""
        return self.window.weight(self.series.rule)

    def seal(self) -> Wire:
        """The request's bytes; from here on the window does not grow."""
        self.sealed = True
        self.sealed_at_s, self.sent = self.clock_now()
        window, key = self.window, self.series.key
        query = wire_query(key, window.start_ms, window.end_ms, window.limit)
        return Wire(self.series.rule.path, query, wire_headers(key), self.weight(), MAX_BODY_BYTES)

    def accept(self, reply: Reply) -> Landed:
        """The rows of the reply; `BrokenBody` where it is not an answer to this window."""
        window, series = self.window, self.series
        latest = reply.received.late_ms + _FUTURE_MS
        expected = Expected(
            series.interval,
            lo_ms=window.start_ms or 0,
            hi_ms=latest if window.end_ms is None else min(window.end_ms, latest),
            limit=window.limit,
            zone_ms=series.zone_ms,
            micros=series.key.micros,
        )
        page = read_page(reply.body, expected)
        rows = trusted(series, page.rows, window)
        oddity = page.oddity
        if len(rows) < len(page.rows):  # as if no more had been asked for: it is no sign of a beginning
            window, oddity = replace(window, limit=len(rows)), "silence"
        read = ReadAt(reply.sent.ms, reply.sent.early_ms, reply.settles)
        return Landed(rows, window, read, doubt(series, rows, window, read), oddity)

    def grow(self, other: Window) -> bool:
        """Take `other` in as well, if nothing is sent yet and one call can bring both."""
        grown = None if self.sealed else _union(self.window, other, self.series)
        if grown is None:
            return False
        self.window = grown
        return True


class Flights:
    """All flights in the air."""

    def __init__(
        self,
        governor: Governor,
        library: Library,
        clock: Clock,
        exchange_now: Callable[[Series], Instant],
        events: Events,
        stalled_after_s: float,
        sharing: Sharing | None = None,
    ) -> None:
        self.sharing: Sharing = sharing or Alone()
        self._governor = governor
        self._library = library
        self._clock = clock
        self._exchange_now = exchange_now
        self._events = events
        self._stalled_after_s = stalled_after_s
        self._by_series: dict[Series, list[Flight]] = {}
        self._failed: dict[tuple[Series, Form, int | None, int | None], tuple[float, AskFailed | Refusal]] = {}

    def __len__(self) -> int:
        return sum(len(flights) for flights in self._by_series.values())

    def join(self, series: Series, window: Window, floor: Floor, turn: Turn, reason: str) -> tuple[Flight, bool]:
        """A flight that will bring (a part of) `window`, and whether it is somebody else's; starts one if none is.

        Raises the error that this very window met less than a second ago.
        """
        for flight in self._by_series.get(series, []):
            if self._serves(flight, window, floor):
                improve(flight.turn, turn)
                flight.floor_ms = max(flight.floor_ms, floor.as_of_ms)
                self._events.emit(Collapsed(series.key.market))
                return flight, True
        self._raise_believed(series, window)
        return self._start(Flight(series, window, turn, reason, floor.as_of_ms)), False

    async def land(self, flight: Flight, deadline_s: float) -> None:
        """Wait until `flight` has landed, or raise its error, or `DeadlinePassed` at `deadline_s`."""
        if flight.task is not None:
            await landed(flight.task, deadline_s - self._clock.now())

    async def aclose(self) -> None:
        """End what is in the air."""
        tasks = [f.task for flights in self._by_series.values() for f in flights if f.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.sharing.aclose()

    def _serves(self, flight: Flight, window: Window, floor: Floor) -> bool:
        if flight.task is None or flight.task.done():
            return False
        if flight.sealed and self._clock.now() - flight.sealed_at_s > self._stalled_after_s:
            return False
        if window.form is not Form.TAIL:
            return _brings(flight.window, window, flight.series) or flight.grow(window)
        if flight.window.form is not Form.TAIL:
            return False
        if flight.sent is None:
            return flight.grow(window)
        tail = flight.series.tail
        close = tail.newest_close_ms if tail is not None else None
        # one sent now would be past that close by the early edge, and this one is not
        crossed = close is not None and flight.sent.early_ms <= close < self._exchange_now(flight.series).early_ms
        return flight.sent.ms >= floor.as_of_ms and not crossed

    def _start(self, flight: Flight) -> Flight:
        series = flight.series
        flight.clock_now = lambda: (self._clock.now(), self._exchange_now(series))
        self._by_series.setdefault(series, []).append(flight)
        pin = self._library.pin(series.key)
        flight.task = asyncio.get_running_loop().create_task(self._fly(flight), name=f"flight {series.key}")
        flight.task.add_done_callback(lambda task: self._ended(flight, pin, task))
        return flight

    async def _fly(self, flight: Flight) -> None:
        series = flight.series
        now_ms = self._exchange_now(series).late_ms
        await self._library.rest.bring(series, *reach(series, flight.window, now_ms))
        flight.spared = await self.sharing.spares(flight)
        if not flight.spared:
            await self._read(flight)

    async def _read(self, flight: Flight) -> None:
        series = flight.series
        page = await self._fetch(flight)
        pauses = iter(_LAG_PAUSES_S)
        again = page.doubt is not None
        while again and page.doubt is not None:
            self._events.emit(Retried(series.key.market, "shows-less"))
            page = await self._fetch(flight)
            pause = next(pauses, None) if page.doubt is not None and page.doubt.lagging else None
            again = pause is not None
            if pause is not None:
                await self._clock.sleep(pause)
        revisions = merge(series, page.rows, page.window, page.read)
        flight.brought, flight.trusted = tuple(row.open_ms for row in page.rows), page.read.settles
        path = series.rule.path
        self._events.emit(RowsRead(series.key.market, path, len(page.rows), flight.reason))
        if page.oddity:
            self._events.emit(BodyOdd(series.key.market, path, page.oddity))
        for revision in revisions:
            self._events.emit(Revised(series.key.market, str(series.key), revision.open_ms, revision.was, revision.now))

    async def _fetch(self, flight: Flight) -> Landed:
        """A reply, and at hand all that it will be merged with: rows that rest are no less known for it."""
        page = await self._governor.fetch(flight)
        series = flight.series
        proof = prove(page.window, page.rows, series.rule, page.read.as_of_ms, series.policy.confirm_ms)
        if proof is None:
            return page
        length_ms = series.interval.length_ms
        end_ms = _FOREVER if proof.tail else proof.hi_ms + length_ms
        if await self._library.rest.bring(series, proof.lo_ms - length_ms, end_ms):
            return replace(page, doubt=doubt(series, page.rows, page.window, page.read))
        return page

    def _ended(self, flight: Flight, pin: Pin, task: "asyncio.Task[None]") -> None:
        series = flight.series
        flights = self._by_series[series]
        flights.remove(flight)
        if not flights:
            del self._by_series[series]
        self._library.unpin(pin)
        self._library.merged(series)
        error = None if task.cancelled() else task.exception()
        self.sharing.landed(flight, error)
        if isinstance(error, AskFailed | Refusal):
            now_s = self._clock.now()
            self._failed = {k: v for k, v in self._failed.items() if v[0] > now_s}
            self._failed[_error_key(series, flight.window)] = (now_s + _ERROR_BELIEVED_S, error)
        elif error is not None and not isinstance(error, MdcacheError):
            self._events.emit(Failed("flight", f"{type(error).__name__}: {error}"))

    def _raise_believed(self, series: Series, window: Window) -> None:
        believed = self._failed.get(_error_key(series, window))
        if believed is not None and self._clock.now() < believed[0]:
            raise copy.copy(believed[1])


def _error_key(series: Series, window: Window) -> tuple[Series, Form, int | None, int | None]:
    return series, window.form, window.start_ms, window.end_ms


def improve(turn: Turn, by: Turn) -> None:
    """Give a shared read the better lane and the later deadline of one more who waits for it."""
    turn.lane = min(turn.lane, by.lane, key=lambda lane: lane.rank)
    turn.drop_at_s = max(turn.drop_at_s, by.drop_at_s)
    turn.crossed = turn.crossed or by.crossed
    turn.paced = turn.paced and by.paced


def _brings(flying: Window, wanted: Window, series: Series) -> bool:
    """Whether the reply to `flying` will bring the end of `wanted` from which its reader goes on."""
    span = flying.limit * series.interval.length_ms
    at = wanted.end_ms if wanted.start_ms is None or series.rule.nearest_end else wanted.start_ms
    if at is None:
        return False
    start, end = flying.start_ms, flying.end_ms
    if flying.form is Form.TAIL:
        return False  # it lands soon, and the plan after it knows better
    if flying.form is Form.BACK or (flying.form is Form.RANGE and series.rule.nearest_end):
        return end is not None and max(end - span, start or 0) < at <= end
    return start is not None and start <= at < start + span and (end is None or at <= end)


def _union(mine: Window, other: Window, series: Series) -> Window | None:
    """One window that asks for both, if they are of one form, near enough, and fit a page."""
    if mine.form is not other.form:
        return None
    limit = max(mine.limit, other.limit)
    if mine.form is Form.TAIL:
        return Window(Form.TAIL, None, None, limit)
    length, cap = series.interval.length_ms, series.rule.max_limit
    if mine.form is Form.FORWARD and mine.start_ms is not None and other.start_ms is not None:
        start = min(mine.start_ms, other.start_ms)
        rows = (max(mine.start_ms + mine.limit * length, other.start_ms + other.limit * length) - start) // length
        return Window(Form.FORWARD, start, None, min(cap, rows)) if rows <= cap + cap // 2 else None
    if mine.form is Form.BACK and mine.end_ms is not None and other.end_ms is not None:
        end = max(mine.end_ms, other.end_ms)
        rows = (end - min(mine.end_ms - mine.limit * length, other.end_ms - other.limit * length)) // length
        return Window(Form.BACK, None, end, min(cap, rows)) if rows <= cap + cap // 2 else None
    return None
