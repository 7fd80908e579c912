"""One flight: a read of one series, as the governor fetches it and replicas share it (docs/design.md#flights)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from mdcache.background_work import in_turns
from mdcache.cache.series_registry import Pin
from mdcache.candles.dump_merge import withdraw_contradicted
from mdcache.candles.plausibility import Suspicion, cut_at_long_gap, find_suspicion
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime
from mdcache.candles.window import Window, unite
from mdcache.clock import Clock, Instant
from mdcache.events import ReadReason
from mdcache.exchange.klines import request_headers, request_query
from mdcache.exchange.rows import ExpectedRows, Page, Row, page_steps
from mdcache.leases import Lease
from mdcache.upstream.models import Accepted, UpstreamReply, UpstreamRequest
from mdcache.upstream.priority import Priority

MAX_BODY_BYTES = 4 << 20  # a page of 1,500 rows takes 0.3 MB
_MAX_AHEAD_MS = 10_000  # spot itself pulls times into ..now + 10 s: docs/binance.md#time-bounds


@dataclass(frozen=True, slots=True)
class CheckedPage:
    """A reply that passed every check, and in what way it shows less than we already have, if it does."""

    rows: list[Row]
    window: Window
    read: ReadTime
    suspicion: Suspicion | None
    oddity: str


class Flight:
    """One read of one series: what the governor fetches (`Fetchable`), and what replicas share (`RowRead`).

    `min_as_of_ms`: the least as-of that serves a waiting request. `satisfied_by_peers`: another replica already had
    what was missing, and nothing was sent. `open_times_ms`: those of the reply's rows, once merged.
    `contradicted_rows`: rows of dumps that differed from a reply, and were forgotten.
    """

    def __init__(
        self,
        series: Series,
        window: Window,
        priority: Priority,
        reason: ReadReason,
        min_as_of_ms: int,
        clock: Clock,
        exchange_now: Callable[[Series], Instant],
    ) -> None:
        self.series = series
        self.window = window
        self.priority = priority
        self.reason = reason
        self.market = series.key.market
        self.endpoint = series.key.kind
        self.min_as_of_ms = min_as_of_ms
        self.sent: Instant | None = None
        self.sent_at_s = 0.0
        self.task: asyncio.Task[None] | None = None
        self.pin: Pin | None = None
        self.satisfied_by_peers = False
        self.waited_for_peer = False
        self.as_of_publishable = False
        self.open_times_ms: tuple[int, ...] | None = None
        self.lease: Lease | None = None
        self.contradicted_rows = 0
        self.clock = clock
        self._exchange_now = exchange_now

    def weight(self) -> int:
        """Return what the read would cost if it were sent now."""
        return self.window.weight(self.series.endpoint)

    def build_request(self) -> UpstreamRequest:
        """Build the request. From here on the window does not grow."""
        self.sent_at_s, self.sent = self.clock.now(), self._exchange_now(self.series)
        return _build_request(self.series, self.window)

    async def accept(self, reply: UpstreamReply) -> Accepted[CheckedPage]:
        """Return the reply's rows, or raise `InvalidBody` if it does not answer this window."""
        window, series = self.window, self.series
        page = await _read_page(series, window, reply, self.clock)
        self.contradicted_rows += withdraw_contradicted(series, page.rows, window)
        rows = cut_at_long_gap(series, page.rows, window)
        oddity = page.oddity
        if len(rows) < len(page.rows):  # as if no more were requested: a cut is no sign of a beginning
            window, oddity = replace(window, limit=len(rows)), "gap"
        read = ReadTime(reply.sent.ms, reply.sent.early_ms, reply.doubt_ms)
        checked = CheckedPage(rows, window, read, find_suspicion(series, rows, window, read), oddity)
        return Accepted(checked, len(rows))

    def united(self, other: Window) -> Window | None:
        """Return a window that asks for what this flight and `other` ask for; `None` if it was sent, or if none can."""
        series = self.series
        return None if self.sent else unite(self.window, other, series.endpoint, series.interval.length_ms)


class Look:
    """The read of another window of the same series, which decides about a suspicion: what the governor fetches."""

    def __init__(self, flight: Flight, window: Window) -> None:
        self._series = flight.series
        self._window = window
        self._clock = flight.clock
        self.market = flight.market
        self.endpoint = flight.endpoint
        self.reason = flight.reason
        self.priority = flight.priority

    def weight(self) -> int:
        """Return what the read costs."""
        return self._window.weight(self._series.endpoint)

    def build_request(self) -> UpstreamRequest:
        """Build the request."""
        return _build_request(self._series, self._window)

    async def accept(self, reply: UpstreamReply) -> Accepted[list[Row]]:
        """Return the reply's rows, or raise `InvalidBody` if it does not answer this window."""
        rows = (await _read_page(self._series, self._window, reply, self._clock)).rows
        return Accepted(rows, len(rows))


def _build_request(series: Series, window: Window) -> UpstreamRequest:
    key, path = series.key, series.endpoint.path
    query = request_query(key, window.start_ms, window.end_ms, window.limit)
    weight = window.weight(series.endpoint)
    return UpstreamRequest(path, query, request_headers(key), weight, MAX_BODY_BYTES, str(key))


async def _read_page(series: Series, window: Window, reply: UpstreamReply, clock: Clock) -> Page:
    latest_ms = reply.received.late_ms + _MAX_AHEAD_MS
    expected = ExpectedRows(
        series.interval,
        lo_ms=window.start_ms or 0,
        hi_ms=latest_ms if window.end_ms is None else min(window.end_ms, latest_ms),
        limit=window.limit,
        zone_ms=series.zone_ms,
        micros=series.key.micros,
        signed=series.key.signed,
    )
    return await in_turns(page_steps(reply.body, expected), clock)
