"""Flights: reads in the air, each shared by all who wait for what it brings (docs/design.md#flights).

A flight owns its task. Who waits for it shields it: a leaving client cancels nothing. It queues with the best
lane and the latest deadline of its waiters, its window grows until it is sent, and what it brings is merged
whether or not somebody still waits.
"""

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

from mdcache.cache.replicas.read_goal import reach
from mdcache.cache.replicas.row_ports import NoRowSharing, RowSharing
from mdcache.cache.series_registry import Pin, SeriesRegistry
from mdcache.cache.shared_task import landed
from mdcache.cache.single_flight import improve_priority
from mdcache.candles.freshness import TailFloor
from mdcache.candles.merge import merge
from mdcache.candles.plausibility import Suspicion, cut_at_silence, find_suspicion
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime
from mdcache.candles.shared_rows import Lease
from mdcache.candles.window import Window, WindowKind, prove
from mdcache.clock import Clock, Instant
from mdcache.errors import MdcacheError, Refusal, UpstreamFailed
from mdcache.events import BackgroundTaskFailed, Events, OddBody, RequestCollapsed, Retried, RowRevised, RowsRead
from mdcache.exchange.klines import request_headers, request_query
from mdcache.exchange.rows import ExpectedRows, Row, read_page
from mdcache.upstream.governor import Governor, Priority, UpstreamReply, UpstreamRequest

MAX_BODY_BYTES = 4 << 20  # a page of 1,500 rows takes 0.3 MB
_ERROR_MEMO_S = 1.0  # docs/design.md#shared-errors
_LAG_PAUSES_S = (0.25, 0.5, 1.0, 2.0)  # a lagging replica has caught up with our last read after these, near enough
_FOREVER = 1 << 62
_MAX_AHEAD_MS = 10_000  # spot itself pulls times into ..now + 10 s: docs/binance.md#time-bounds


@dataclass(frozen=True, slots=True)
class CheckedPage:
    """A reply that passed every check, and what it lacks of what we have."""

    rows: list[Row]
    window: Window
    read: ReadTime
    suspicion: Suspicion | None
    oddity: str


class Flight:
    """One read of one series, as the governor sees it (its `Read`), and as those who share it do.

    `spared`: other replicas knew what it was to bring, and nothing was sent; the rest is as in `sharing.Shareable`.
    """

    def __init__(self, series: Series, window: Window, priority: Priority, reason: str, min_as_of_ms: int = 0) -> None:
        self.series = series
        self.window = window
        self.priority = priority
        self.reason = reason
        self.market = series.key.market
        self.endpoint = series.key.kind
        self.frozen = False
        self.sent: Instant | None = None
        self.frozen_at_s = 0.0
        self.task: asyncio.Task[None] | None = None
        self.clock_now: Callable[[], tuple[float, Instant]] = lambda: (0.0, Instant(0, 0))
        self.min_as_of_ms = min_as_of_ms
        self.satisfied_by_peers = False
        self.waited_for_peer = False
        self.as_of_publishable = False
        self.open_times_ms: tuple[int, ...] | None = None
        self.lease: Lease | None = None

    def weight(self) -> int:
        """What it would cost if it were sent now."""
        return self.window.weight(self.series.endpoint)

    def build_request(self) -> UpstreamRequest:
        """The request's bytes; from here on the window does not grow."""
        self.frozen = True
        self.frozen_at_s, self.sent = self.clock_now()
        window, key = self.window, self.series.key
        query = request_query(key, window.start_ms, window.end_ms, window.limit)
        return UpstreamRequest(self.series.endpoint.path, query, request_headers(key), self.weight(), MAX_BODY_BYTES)

    def accept(self, reply: UpstreamReply) -> CheckedPage:
        """The rows of the reply; `InvalidBody` where it is not an answer to this window."""
        window, series = self.window, self.series
        latest = reply.received.late_ms + _MAX_AHEAD_MS
        expected = ExpectedRows(
            series.interval,
            lo_ms=window.start_ms or 0,
            hi_ms=latest if window.end_ms is None else min(window.end_ms, latest),
            limit=window.limit,
            zone_ms=series.zone_ms,
            micros=series.key.micros,
        )
        page = read_page(reply.body, expected)
        rows = cut_at_silence(series, page.rows, window)
        oddity = page.oddity
        if len(rows) < len(page.rows):  # as if no more had been asked for: it is no sign of a beginning
            window, oddity = replace(window, limit=len(rows)), "silence"
        read = ReadTime(reply.sent.ms, reply.sent.early_ms, reply.may_settle)
        return CheckedPage(rows, window, read, find_suspicion(series, rows, window, read), oddity)

    def grow(self, other: Window) -> bool:
        """Take `other` in as well, if nothing is sent yet and one call can bring both."""
        grown = None if self.frozen else _union(self.window, other, self.series)
        if grown is None:
            return False
        self.window = grown
        return True


class Flights:
    """All flights in the air."""

    def __init__(
        self,
        governor: Governor,
        registry: SeriesRegistry,
        clock: Clock,
        exchange_now: Callable[[Series], Instant],
        events: Events,
        stalled_after_s: float,
        sharing: RowSharing | None = None,
    ) -> None:
        self.sharing: RowSharing = sharing or NoRowSharing()
        self._governor = governor
        self._registry = registry
        self._clock = clock
        self._exchange_now = exchange_now
        self._events = events
        self._stalled_after_s = stalled_after_s
        self._by_series: dict[Series, list[Flight]] = {}
        self._recent_errors: dict[
            tuple[Series, WindowKind, int | None, int | None], tuple[float, UpstreamFailed | Refusal]
        ] = {}

    def __len__(self) -> int:
        return sum(len(flights) for flights in self._by_series.values())

    def join(
        self, series: Series, window: Window, floor: TailFloor, priority: Priority, reason: str
    ) -> tuple[Flight, bool]:
        """A flight that will bring (a part of) `window`, and whether it is somebody else's; starts one if none is.

        Raises the error that this very window met less than a second ago.
        """
        for flight in self._by_series.get(series, []):
            if self._satisfies(flight, window, floor):
                improve_priority(flight.priority, priority)
                flight.min_as_of_ms = max(flight.min_as_of_ms, floor.as_of_ms)
                self._events.emit(RequestCollapsed(series.key.market))
                return flight, True
        self._raise_recent_error(series, window)
        return self._start(Flight(series, window, priority, reason, floor.as_of_ms)), False

    async def wait(self, flight: Flight, deadline_s: float) -> None:
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

    def _satisfies(self, flight: Flight, window: Window, floor: TailFloor) -> bool:
        if flight.task is None or flight.task.done():
            return False
        if flight.frozen and self._clock.now() - flight.frozen_at_s > self._stalled_after_s:
            return False
        if window.kind is not WindowKind.TAIL:
            return _will_bring(flight.window, window, flight.series) or flight.grow(window)
        if flight.window.kind is not WindowKind.TAIL:
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
        pin = self._registry.pin(series.key)
        flight.task = asyncio.get_running_loop().create_task(self._run(flight), name=f"flight {series.key}")
        flight.task.add_done_callback(lambda task: self._finished(flight, pin, task))
        return flight

    async def _run(self, flight: Flight) -> None:
        series = flight.series
        now_ms = self._exchange_now(series).late_ms
        await self._registry.persistence.load_range(series, *reach(series, flight.window, now_ms))
        flight.satisfied_by_peers = await self.sharing.satisfied_by_peers(flight)
        if not flight.satisfied_by_peers:
            await self._read_and_merge(flight)

    async def _read_and_merge(self, flight: Flight) -> None:
        series = flight.series
        page = await self._fetch(flight)
        pauses = iter(_LAG_PAUSES_S)
        again = page.suspicion is not None
        while again and page.suspicion is not None:
            self._events.emit(Retried(series.key.market, "shows-less"))
            page = await self._fetch(flight)
            pause = next(pauses, None) if page.suspicion is not None and page.suspicion.lagging else None
            again = pause is not None
            if pause is not None:
                await self._clock.sleep(pause)
        revisions = merge(series, page.rows, page.window, page.read)
        flight.open_times_ms, flight.as_of_publishable = tuple(row.open_ms for row in page.rows), page.read.may_settle
        path = series.endpoint.path
        self._events.emit(RowsRead(series.key.market, path, len(page.rows), flight.reason))
        if page.oddity:
            self._events.emit(OddBody(series.key.market, path, page.oddity))
        for revision in revisions:
            self._events.emit(
                RowRevised(series.key.market, str(series.key), revision.open_ms, revision.was, revision.now)
            )

    async def _fetch(self, flight: Flight) -> CheckedPage:
        """A reply, and at hand all that it will be merged with: rows that rest are no less known for it."""
        page = await self._governor.fetch(flight)
        series = flight.series
        proof = prove(page.window, page.rows, series.endpoint, page.read.as_of_ms, series.policy.confirm_ms)
        if proof is None:
            return page
        length_ms = series.interval.length_ms
        end_ms = _FOREVER if proof.open_ended else proof.hi_ms + length_ms
        if await self._registry.persistence.load_range(series, proof.lo_ms - length_ms, end_ms):
            return replace(page, suspicion=find_suspicion(series, page.rows, page.window, page.read))
        return page

    def _finished(self, flight: Flight, pin: Pin, task: "asyncio.Task[None]") -> None:
        series = flight.series
        flights = self._by_series[series]
        flights.remove(flight)
        if not flights:
            del self._by_series[series]
        self._registry.unpin(pin)
        self._registry.note_merged(series)
        error = None if task.cancelled() else task.exception()
        self.sharing.finished(flight, error)
        if isinstance(error, UpstreamFailed | Refusal):
            now_s = self._clock.now()
            self._recent_errors = {k: v for k, v in self._recent_errors.items() if v[0] > now_s}
            self._recent_errors[_error_key(series, flight.window)] = (now_s + _ERROR_MEMO_S, error)
        elif error is not None and not isinstance(error, MdcacheError):
            self._events.emit(BackgroundTaskFailed("flight", f"{type(error).__name__}: {error}"))

    def _raise_recent_error(self, series: Series, window: Window) -> None:
        believed = self._recent_errors.get(_error_key(series, window))
        if believed is not None and self._clock.now() < believed[0]:
            raise copy.copy(believed[1])


def _error_key(series: Series, window: Window) -> tuple[Series, WindowKind, int | None, int | None]:
    return series, window.kind, window.start_ms, window.end_ms


def _will_bring(flying: Window, wanted: Window, series: Series) -> bool:
    """Whether the reply to `flying` will bring the end of `wanted` from which its reader goes on."""
    span = flying.limit * series.interval.length_ms
    at = wanted.end_ms if wanted.start_ms is None or series.endpoint.nearest_end else wanted.start_ms
    if at is None:
        return False
    start, end = flying.start_ms, flying.end_ms
    if flying.kind is WindowKind.TAIL:
        return False  # it lands soon, and the plan after it knows better
    if flying.kind is WindowKind.BACKWARD or (flying.kind is WindowKind.RANGE and series.endpoint.nearest_end):
        return end is not None and max(end - span, start or 0) < at <= end
    return start is not None and start <= at < start + span and (end is None or at <= end)


def _union(mine: Window, other: Window, series: Series) -> Window | None:
    """One window that asks for both, if they are of one form, near enough, and fit a page."""
    if mine.kind is not other.kind:
        return None
    limit = max(mine.limit, other.limit)
    if mine.kind is WindowKind.TAIL:
        return Window(WindowKind.TAIL, None, None, limit)
    length, cap = series.interval.length_ms, series.endpoint.max_limit
    if mine.kind is WindowKind.FORWARD and mine.start_ms is not None and other.start_ms is not None:
        start = min(mine.start_ms, other.start_ms)
        rows = (max(mine.start_ms + mine.limit * length, other.start_ms + other.limit * length) - start) // length
        return Window(WindowKind.FORWARD, start, None, min(cap, rows)) if rows <= cap + cap // 2 else None
    if mine.kind is WindowKind.BACKWARD and mine.end_ms is not None and other.end_ms is not None:
        end = max(mine.end_ms, other.end_ms)
        rows = (end - min(mine.end_ms - mine.limit * length, other.end_ms - other.limit * length)) // length
        return Window(WindowKind.BACKWARD, None, end, min(cap, rows)) if rows <= cap + cap // 2 else None
    return None
