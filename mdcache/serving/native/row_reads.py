"""Find the rows of many series for one question, some at a time, without joining them (docs/design.md#native).

Found rows are slices of blocks, which are in memory anyway: a million of them cost little more than a few. The printed
rows of a series that is asked for again are kept as ready answers, as long as those of Binance's form would be.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import xxhash

from mdcache.cache.answers import CacheStatus, Caller
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.plan import Serve
from mdcache.clock import Clock
from mdcache.errors import DeadlinePassed, MdcacheError
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, KlineEndpoint
from mdcache.serving.binance.ready_answers import ReadyAnswers
from mdcache.serving.binance.request import RequestKey
from mdcache.serving.native.candles_query import Span
from mdcache.serving.native.found_rows import FoundRows, KeptRows
from mdcache.serving.native.tables import json_rows
from mdcache.serving.native.wakes import Wakes
from mdcache.serving.ports import RowSource
from mdcache.upstream.exchange_clock import ExchangeClocks

_PAGE_ROWS = 2_000  # of one question to the data path: it is planned, and printed, in less than half a millisecond
_PIECE_ROWS = 500  # that are printed at once; as a table, too, they take half a millisecond
_KEPT_ROWS = 2_000  # of a series, which are kept as they are printed
_READS_AT_ONCE = 8  # no more are sent at once anyway
_SLICE_S = 0.002  # then other tasks run
_FOREVER_MS = 10**15
_NATIVE_PATH = "/v1/candles"


class RowReads:
    """Finds rows for the native API."""

    def __init__(
        self, source: RowSource, ready_answers: ReadyAnswers, clock: Clock, clocks: ExchangeClocks, deadline_s: float
    ) -> None:
        self._source = source
        self._ready_answers = ready_answers
        self._clock = clock
        self._clocks = clocks
        self._deadline_s = deadline_s
        self._turns = Wakes(clock)

    async def find_all(
        self, keys: list[SeriesKey], span: Span, directives: FreshnessDirectives | None, caller: Caller
    ) -> list[FoundRows | MdcacheError]:
        """Find the rows of many series of one market; an error takes the place of those that can't be answered."""
        late = DeadlinePassed(1.0, "not all series could be read in time")
        found: list[FoundRows | MdcacheError] = [late] * len(keys)
        missing: list[int] = []
        wanted_span = _span_key(span)
        began_s = now_s = self._clock.now()
        now = self._clocks.now(keys[0].market)
        for place, key in enumerate(keys):
            ready = self._ready_answers.find(_ready_key(key, wanted_span), directives, now_s, now)
            if ready is None:
                missing.append(place)
            else:
                found[place] = cast("KeptRows", ready[0]).found(now)  # nothing else is kept under such keys
            if (now_s := self._clock.now()) - began_s > _SLICE_S:
                await asyncio.sleep(0)
                began_s = now_s = self._clock.now()
                now = self._clocks.now(key.market)
        if missing:
            left = iter(missing)
            wanted = directives or FreshnessDirectives()

            async def work(places: Iterator[int]) -> None:
                for place in places:
                    try:
                        found[place] = await self._find(keys[place], span, wanted, caller)
                    except MdcacheError as error:
                        found[place] = error

            try:
                async with asyncio.timeout(self._deadline_s), asyncio.TaskGroup() as group:
                    for _ in range(min(_READS_AT_ONCE, len(missing))):
                        group.create_task(work(left))
            except TimeoutError:
                pass  # what was not found has its error
        return found

    async def find(
        self, key: SeriesKey, span: Span, directives: FreshnessDirectives | None, caller: Caller
    ) -> FoundRows:
        """Find the rows of one series; raise an error of `errors.py`."""
        (found,) = await self.find_all([key], span, directives, caller)
        if isinstance(found, MdcacheError):
            raise found
        return found

    def kept(self, found: FoundRows) -> KeptRows | None:
        """Return the rows as they are kept, if they have been printed by now, for this answer or another."""
        if found.ready_key is None:
            return found.kept
        ready = self._ready_answers.find(found.ready_key, None, self._clock.now())
        return cast("KeptRows", ready[0]) if ready is not None and ready[0].tag == found.tag else None

    def printed(self, found: FoundRows) -> Iterator[bytes]:
        """Return the rows as JSON, without the outer brackets, in pieces that commas join."""
        if (kept := self.kept(found)) is not None:
            if kept.content:
                yield kept.content
            return
        for served, answer in found.pages:
            if found.ready_key is None:
                yield from _slices(served, newest_open=answer.newest_open)
                continue
            body = json_rows(b",".join(served.parts()), served.rows, newest_open=answer.newest_open)
            ready = KeptRows(replace(answer, body=body), found.key, found.tag)
            self._ready_answers.offer(found.ready_key, ready, self._clocks.now(found.key.market))
            if body:
                yield body

    # ------------------------------------------------------------------------------- one series

    async def _find(self, key: SeriesKey, span: Span, directives: FreshnessDirectives, caller: Caller) -> FoundRows:
        if not span.limit:
            pages = await self._read_between(key, span, directives, caller)
        else:
            pages = await self._read_newest(key, span, directives, caller)
        served, answer = pages[-1]
        if span.closed and answer.newest_open:
            pages[-1] = served.without_newest(), replace(answer, newest_open=False)
        if span.limit and (extra := sum(served.rows for served, _ in pages) - span.limit) > 0:
            served, answer = pages[0]
            pages[0] = served.newest(served.rows - extra), answer
        return await self._finish(key, span, pages)

    async def _finish(self, key: SeriesKey, span: Span, pages: list[tuple[Serve, KlineAnswer]]) -> FoundRows:
        now = self._clocks.now(key.market)
        tags = xxhash.xxh3_128()
        for served, answer in pages:
            for part in served.parts():
                tags.update(part)
                tags.update(b",")
            tags.update(b"0" if answer.newest_open else b"1")
            if len(pages) > 1:
                await asyncio.sleep(0)
        tag = tags.hexdigest().encode()
        answers = [answer for _, answer in pages]
        as_of_ms = min(now.ms if answer.settled else answer.as_of_ms for answer in answers)
        status = next(
            (each.cache_status for each in answers if each.cache_status is not CacheStatus.HIT), CacheStatus.HIT
        )
        stale = any(answer.stale for answer in answers)
        settled = all(answer.settled for answer in answers)
        small = len(pages) == 1 and pages[0][0].rows <= _KEPT_ROWS
        ready_key = _ready_key(key, _span_key(span)) if small else None
        return FoundRows(key, tag, as_of_ms, settled, status, stale, tuple(pages), ready_key=ready_key)

    async def _read_newest(
        self, key: SeriesKey, span: Span, directives: FreshnessDirectives, caller: Caller
    ) -> list[tuple[Serve, KlineAnswer]]:
        """Read the newest rows, backwards, page by page; one more than asked for, if the open one does not count."""
        endpoint = _endpoint(key)
        pages: list[tuple[Serve, KlineAnswer]] = []
        left, end_ms = span.limit + span.closed, span.end_ms
        while True:
            limit = min(left, _PAGE_ROWS)
            await self._turns.turn()  # what is in memory is found without waiting for anything
            served, answer = await self._source.find(
                KlineQuestion(key, endpoint, None, end_ms, limit), directives, caller
            )
            pages.insert(0, (served, answer))
            left -= served.rows
            first_ms = served.first_open_ms()
            # a page of COIN-M ends where its window does, not only where the rows do
            if not left or first_ms is None or (served.rows < limit and endpoint.max_span_ms is None):
                return pages
            end_ms = first_ms - 1

    async def _read_between(
        self, key: SeriesKey, span: Span, directives: FreshnessDirectives, caller: Caller
    ) -> list[tuple[Serve, KlineAnswer]]:
        """Read the rows that open between two moments, page by page."""
        endpoint, length_ms = _endpoint(key), INTERVALS[key.interval].length_ms
        width_ms = min(_PAGE_ROWS * length_ms, (endpoint.max_span_ms or _FOREVER_MS) - 1)
        until_ms = _FOREVER_MS if span.end_ms is None else span.end_ms
        pages: list[tuple[Serve, KlineAnswer]] = []
        lo_ms = span.start_ms or 0
        while True:
            hi_ms = lo_ms + width_ms - 1
            last = hi_ms >= min(until_ms, self._clocks.now(key.market).late_ms)
            end_ms = None if last and until_ms > hi_ms else min(hi_ms, until_ms)
            question = KlineQuestion(key, endpoint, lo_ms, end_ms, 2 * _PAGE_ROWS)  # old rows may lie off the grid
            await self._turns.turn()
            pages.append(await self._source.find(question, directives, caller))
            if last:
                return pages
            lo_ms = hi_ms + 1


def _slices(served: Serve, *, newest_open: bool) -> Iterator[bytes]:
    left = served.rows
    for raw, rows in served.slices(_PIECE_ROWS):
        left -= rows
        yield json_rows(raw, rows, newest_open=newest_open and not left)


def _endpoint(key: SeriesKey) -> KlineEndpoint:
    return KLINE_ENDPOINTS[f"{key.market.prefix}{key.kind}"]


def _span_key(span: Span) -> bytes:
    return f"{span.limit} {span.start_ms} {span.end_ms} {span.closed}".encode()


def _ready_key(key: SeriesKey, span: bytes) -> RequestKey:
    return _NATIVE_PATH, f"{key.market} {key.subject} {key.interval}".encode(), span
