"""Flights: reads of rows in progress, each shared by all requests that it serves (docs/design.md#flights).

`SingleFlight` runs them and shares them by series. This module decides which flight serves which window, and merges its
reply. A window may grow until it is sent, and a reply is merged whether or not a request still waits.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from mdcache.cache.flight import CheckedPage, Flight, Look
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.sharing import NoSharing, RowSharing
from mdcache.cache.single_flight import SingleFlight
from mdcache.cache.wipes import Wipes
from mdcache.candles.dump_merge import withdraw_at, withdraw_contradicted
from mdcache.candles.freshness import TailFloor
from mdcache.candles.merge import merge, prove_reply
from mdcache.candles.plausibility import Suspicion, find_suspicion
from mdcache.candles.ranges import FOREVER_MS
from mdcache.candles.row_comparison import RowComparison, compare_rows
from mdcache.candles.series import Series
from mdcache.candles.window import Window, WindowKind, advances, reach
from mdcache.clock import Clock, Instant
from mdcache.errors import BodyFault, InvalidBody, Refusal
from mdcache.events import (
    BackgroundTask,
    DumpRowsJudged,
    DumpVerdict,
    Events,
    OddBody,
    ReadReason,
    RequestCollapsed,
    Retried,
    RetryReason,
    RowRevised,
    RowsRead,
)
from mdcache.exchange import refusals
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.measured import MIN_CAP
from mdcache.exchange.rows import Row
from mdcache.upstream.governor import Governor
from mdcache.upstream.priority import Lane, Priority

_SECOND_LOOKS_S = (0.0, 0.25, 0.5, 1.0, 2.0)  # after the first, only if a server of Binance lags
_REREADS = 3  # until none that was sent later has been merged meanwhile


@dataclass(frozen=True, slots=True)
class Reread:
    """What a second read of settled rows showed.

    `confirmed`: a further read showed the same, and it was merged. `contradicted`: rows of dumps that the first read
    showed otherwise, beyond those in `found`; they were replaced.
    """

    found: RowComparison
    confirmed: bool
    contradicted: int = 0


class Flights:
    """All flights in progress."""

    def __init__(
        self,
        governor: Governor,
        registry: SeriesRegistry,
        clock: Clock,
        exchange_now: Callable[[Series], Instant],
        events: Events,
        stalled_after_s: float,
        wipes: Wipes,
        sharing: RowSharing | None = None,
    ) -> None:
        self._wipes = wipes
        self.sharing: RowSharing = sharing or NoSharing()
        self._governor = governor
        self._registry = registry
        self._clock = clock
        self._exchange_now = exchange_now
        self._events = events
        self._stalled_after_s = stalled_after_s
        self._flights: SingleFlight[SeriesKey, Flight] = SingleFlight(
            BackgroundTask.FLIGHT, clock, events, self._run, self._finished, _error_key
        )

    def __len__(self) -> int:
        return len(self._flights)

    def join(
        self, series: Series, window: Window, floor: TailFloor, priority: Priority, reason: ReadReason
    ) -> tuple[Flight, bool]:
        """Join the flight that will return the rows of `window`, or start one.

        Args:
            series: The series to read.
            window: What is missing. A flight is joined if it returns the end at which the next plan continues.
            floor: Which tails satisfy the request, if the window is a tail's.
            priority: How the read may queue. A flight that is joined gets the better of both.
            reason: Why it is read, for metrics and log.

        Returns:
            The flight, and whether another request had started it.

        Raises:
            UpstreamFailed, Refusal: The error with which a read of this same window failed less than a second ago.
        """

        def serves(flight: Flight) -> bool:
            return self._serves(flight, window, floor)

        def new() -> Flight:
            return self._new(series, window, priority, reason, floor.as_of_ms)

        flight, joined = self._flights.join(series.key, priority, serves, new)
        if joined:
            flight.min_as_of_ms = max(flight.min_as_of_ms, floor.as_of_ms)
            self._events.emit(RequestCollapsed(series.key.market))
        else:
            flight.pin = self._registry.pin(series.key)
        return flight, joined

    async def wait(self, flight: Flight, deadline_s: float) -> None:
        """Wait until `flight` has ended; raise its error, or `DeadlinePassed` at `deadline_s` (by the clock)."""
        await self._flights.wait(flight, deadline_s)

    async def pull(self, series: Series, window: Window) -> bool:
        """Apply what other replicas know of `window`, without reading; return whether that changed anything."""
        return await self.sharing.pull(self._new(series, window, Priority(Lane.NORMAL, 0.0), ReadReason.REFRESH, 0))

    async def reread(self, series: Series, window: Window, priority: Priority) -> Reread:
        """Read settled rows once more; a change that two reads show alike is merged (docs/design.md#audit).

        Args:
            series: The series.
            window: A range of settled rows.
            priority: How its reads may queue.

        Raises:
            UpstreamUnavailable, UpstreamFailed, Refusal: Nothing was learnt, and nothing was merged.
        """
        flight = self._new(series, window, priority, ReadReason.AUDIT, 0)
        flight.pin = self._registry.pin(series.key)
        try:
            page = await self._fetch(flight)
            found = await self._compare(flight, page)
            if not found.changes:
                if flight.contradicted_rows:  # of a dump, which one read outranks
                    self._merge(flight, page)
                return Reread(found, confirmed=False, contradicted=flight.contradicted_rows)
            for _ in range(_REREADS):
                page = await self._fetch_plausible(flight)
                if (again := await self._compare(flight, page)) != found:
                    return Reread(found, confirmed=False, contradicted=flight.contradicted_rows)
                if page.read.as_of_ms >= series.merged_as_of_ms:  # otherwise the merge would only fill gaps
                    self._merge(flight, page)
                    self.sharing.finished(flight, None)
                    return Reread(again, confirmed=True, contradicted=flight.contradicted_rows)
            return Reread(found, confirmed=False, contradicted=flight.contradicted_rows)
        finally:
            self._registry.unpin(flight.pin)
            self._registry.note_merged(series)

    async def aclose(self) -> None:
        """Cancel all flights."""
        await self._flights.aclose()
        await self.sharing.aclose()

    def _serves(self, flight: Flight, window: Window, floor: TailFloor) -> bool:
        """Return whether a request for `window` can wait for `flight`; extend the flight if it may still grow."""
        series = flight.series
        if flight.sent is not None and self._clock.now() - flight.sent_at_s > self._stalled_after_s:
            return False
        if window.kind is not WindowKind.TAIL or flight.sent is None:
            united = flight.united(window)
            if united != window and advances(flight.window, window, series.endpoint, series.interval.length_ms):
                return True
            flight.window = united or flight.window
            return united is not None
        if flight.window.kind is not WindowKind.TAIL:
            return False
        tail = series.live_tail
        close_ms = tail.newest_close_ms if tail is not None else None
        # when the flight was sent, that close may not have passed; by now it surely has
        before_close = close_ms is not None and flight.sent.early_ms <= close_ms < self._exchange_now(series).early_ms
        return flight.sent.ms >= floor.as_of_ms and not before_close

    def _new(self, series: Series, window: Window, priority: Priority, reason: ReadReason, min_as_of_ms: int) -> Flight:
        return Flight(series, window, priority, reason, min_as_of_ms, self._clock, self._exchange_now)

    # ------------------------------------------------------------------------------- a flight's task

    async def _run(self, flight: Flight) -> None:
        series = flight.series
        now_ms = self._exchange_now(series).late_ms
        touched = reach(flight.window, series.endpoint, series.interval.length_ms, now_ms)
        await self._registry.persistence.load_range(series, *touched)
        flight.satisfied_by_peers = await self.sharing.satisfied_by_peers(flight)
        if not flight.satisfied_by_peers:
            await self._read_and_merge(flight)

    async def _compare(self, flight: Flight, page: CheckedPage) -> RowComparison:
        """Compare a page with all that is settled in the window."""
        window = flight.window
        if window.start_ms is not None and window.end_ms is not None:
            await self._registry.persistence.load_range(flight.series, window.start_ms, window.end_ms + 1)
        return compare_rows(flight.series, page.rows, window, page.read.as_of_ms)

    async def _read_and_merge(self, flight: Flight) -> None:
        self._merge(flight, await self._fetch_plausible(flight))

    def _merge(self, flight: Flight, page: CheckedPage) -> None:
        series = flight.series
        revisions = merge(series, page.rows, page.window, page.read)
        flight.open_times_ms = tuple([row.open_ms for row in page.rows])
        flight.as_of_publishable = not page.read.doubt_ms
        market, path = series.key.market, series.endpoint.path
        self._events.emit(RowsRead(market, len(page.rows)))
        if page.oddity:
            self._events.emit(OddBody(market, path, page.oddity))
        if flight.contradicted_rows:
            differing = DumpVerdict.DIFFERING
            self._events.emit(DumpRowsJudged(market, str(series.key), differing, flight.contradicted_rows))
        for revision in revisions:
            self._events.emit(RowRevised(market, str(series.key), revision.open_ms, revision.was, revision.now))

    async def _fetch_plausible(self, flight: Flight) -> CheckedPage:
        """Fetch a page, and look again while that may show more."""
        page = await self._fetch(flight)
        disproved = False
        for pause_s in _SECOND_LOOKS_S:
            suspicion = page.suspicion
            if suspicion is None or (pause_s and not suspicion.lagging):
                break
            self._events.emit(Retried(flight.market, RetryReason.INCOMPLETE))
            if suspicion.look is not None:
                looked = await self._governor.fetch(Look(flight, suspicion.look))
                if suspicion.known_ms is not None:
                    await self._resolve_shortened(flight.series, page, suspicion, looked)
                if suspicion.known_ms is not None or not looked:
                    break
                disproved = True
            if pause_s:
                await self._clock.sleep(pause_s)
            page = await self._fetch(flight)
        if disproved and page.suspicion is not None and page.suspicion.look is not None:
            raise InvalidBody(BodyFault.LAGGING, f"{page.suspicion.detail}, and there are later rows")
        return page

    async def _resolve_shortened(
        self, series: Series, page: CheckedPage, suspicion: Suspicion, looked: list[Row]
    ) -> None:
        """Note that a page was cut, or forget what the exchange lacks; raise `InvalidBody` if it is neither."""
        if any(row.open_ms == suspicion.known_ms for row in looked):
            series.note_capped(len(page.rows))
            return
        if not looked and suspicion.look is not None and suspicion.look.end_ms != suspicion.known_ms:
            raise InvalidBody(BodyFault.EMPTY, f"nothing from {suspicion.known_ms} on")
        if suspicion.known_ms is None or not withdraw_at(series, suspicion.known_ms):
            await self._wipes.forget(series)

    async def _fetch(self, flight: Flight) -> CheckedPage:
        """Fetch a page, and load every stored block it will be merged with."""
        page = await self._fetch_accepted(flight)
        series = flight.series
        proof = prove_reply(series, page.rows, page.window, page.read.as_of_ms)
        if proof is None:
            return page
        length_ms = series.interval.length_ms
        end_ms = FOREVER_MS if proof.open_ended else proof.hi_ms + length_ms
        if await self._registry.persistence.load_range(series, proof.lo_ms - length_ms, end_ms):
            flight.contradicted_rows += withdraw_contradicted(series, page.rows, page.window)
            return replace(page, suspicion=find_suspicion(series, page.rows, page.window, page.read))
        return page

    async def _fetch_accepted(self, flight: Flight) -> CheckedPage:
        """Fetch a page, with half as many rows while the exchange refuses so many; that many count from then on."""
        limit = flight.window.limit
        while True:
            try:
                page = await self._governor.fetch(flight)
            except Refusal as refusal:
                fewer = max(MIN_CAP, flight.window.limit // 2)
                if not refusals.is_about_limit(refusal) or fewer >= flight.window.limit:
                    raise
                flight.window = replace(flight.window, limit=fewer)
            else:
                if flight.window.limit < limit:
                    self._registry.lower_cap(flight.series.endpoint, flight.window.limit)
                    self._events.emit(OddBody(flight.market, flight.series.endpoint.path, "lower-cap"))
                return page

    def _finished(self, flight: Flight, error: BaseException | None) -> None:
        if flight.pin is not None:
            self._registry.unpin(flight.pin)
        self._registry.note_merged(flight.series)
        self.sharing.finished(flight, error)


def _error_key(flight: Flight) -> Hashable:
    return flight.series.key, replace(flight.window, limit=0)  # whatever the limit
