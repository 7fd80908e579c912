"""Load dump files into their series, so that no read need bring their rows (docs/design.md#dumps).

The files of a series are loaded one after the other, oldest first, in slices of a few blocks: each is stored before the
next one begins, and leaves memory again. So a load needs little memory, and one that is repeated goes on where it was:
a file whose rows are all known is not opened. Reading and checking is done in a thread.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import IO

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.dump_merge import DumpMerge, merge_dump
from mdcache.candles.ranges import Span
from mdcache.candles.series import Series
from mdcache.clock import Clock
from mdcache.dumps.csv_rows import CsvRows
from mdcache.dumps.faults import DumpFileFault, DumpsUnavailable, DumpUnusable
from mdcache.dumps.files import DumpFile, files_for, is_overdue, is_symbol
from mdcache.dumps.sources import DumpSource
from mdcache.dumps.zip_reader import read_lines
from mdcache.events import DumpRowsJudged, DumpVerdict, Events
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.refusals import bad_symbol
from mdcache.exchange.rows import Row

_BLOCKS_AT_ONCE = 32  # about 8 MB, stored within half a second
_open_ms = attrgetter("open_ms")

OpenDumps = Callable[[str, Market], DumpSource]
OnRows = Callable[[int, DumpMerge], None]  # up to which open time, and what became of the rows
OnUnusable = Callable[[DumpFile, DumpUnusable], None]


class DumpLoader:
    """Loads files of one series at a time; `open_source` returns the place that a job names."""

    def __init__(self, registry: SeriesRegistry, clock: Clock, events: Events, open_source: OpenDumps) -> None:
        self._registry = registry
        self._clock = clock
        self._events = events
        self.open_source = open_source

    async def load(
        self,
        source: DumpSource,
        key: SeriesKey,
        asked: Span,
        on_rows: OnRows,
        on_unusable: OnUnusable,
    ) -> None:
        """Load what the files have of a span, and leave the rest to be read.

        Args:
            source: Where the files are.
            key: The series.
            asked: First and last open time.
            on_rows: Called after each block, and for each file that need not be opened.
            on_unusable: Called for each file that can't be used.

        Raises:
            DumpsUnavailable: No file can be had, or nothing can be stored.
        """
        if not is_symbol(key.subject):
            raise bad_symbol()
        loading = _Loading(self._registry, source, key, on_rows)
        now_ms = self._clock.wall_ms()
        for file in files_for(key.market, key.subject, key.interval, *asked, now_ms):
            try:
                await self._load_file(loading, file)
            except DumpUnusable as error:
                on_unusable(file, error)
                if error.fault is DumpFileFault.MISSING and is_overdue(file, now_ms) and not source.cheap_misses:
                    on_rows(file.span[1], DumpMerge())
                    continue
            for day in loading.lacking(file, asked):
                try:
                    await self._load_file(loading, day)
                except DumpUnusable as error:
                    on_unusable(day, error)
            on_rows(file.span[1], DumpMerge())

    async def _load_file(self, loading: "_Loading", file: DumpFile) -> None:
        if await loading.is_known(file):
            return
        stream = await loading.source.open(file)
        before = loading.judged
        try:
            await loading.load(stream, file, self._clock.wall_ms())
        finally:
            stream.close()
            found = loading.judged
            for verdict, rows in (
                (DumpVerdict.TAKEN, found.taken - before.taken),
                (DumpVerdict.SAME, found.same - before.same),
                (DumpVerdict.DIFFERING, found.differing - before.differing),
                (DumpVerdict.LEFT, found.left - before.left),
            ):
                if rows:
                    self._events.emit(DumpRowsJudged(loading.key.market, str(loading.key), verdict, rows))


class _Loading:
    """The files of one series; `judged`: what became of their rows so far."""

    def __init__(self, registry: SeriesRegistry, source: DumpSource, key: SeriesKey, on_rows: OnRows) -> None:
        self._registry = registry
        self._question = KlineQuestion(key, KLINE_ENDPOINTS[f"{key.market.prefix}{key.kind}"], None, None, 1)
        self._on_rows = on_rows
        self.source = source
        self.key = key
        self.judged = DumpMerge()

    async def is_known(self, file: DumpFile) -> bool:
        """Return whether every row of the file's span is known."""
        pin = self._registry.pin(self.key)
        try:
            series = self._registry.get_or_create(self._question)
            await self._registry.persistence.load_outline(series)
            return not _unknown(series, *file.span)
        finally:
            self._registry.unpin(pin)

    def lacking(self, file: DumpFile, asked: Span) -> list[DumpFile]:
        """Return the daily files of the days of which nothing is known."""
        series = self._registry.get_or_create(self._question)
        days = [day for day in file.days() if day.span[1] > asked[0] and day.span[0] <= asked[1]]
        return [day for day in days if _unknown(series, *day.span) == [day.span]]

    async def load(self, stream: IO[bytes], file: DumpFile, now_ms: int) -> None:
        """Load a file that is open, a few blocks at a time."""
        series = self._registry.get_or_create(self._question)
        reader = CsvRows(file, now_ms)
        blocks = _by_block(reader.read(read_lines(stream, file)), series.blocks.width_ms)
        while await self._load_slice(blocks):
            pass
        self._note(file.span[0], DumpMerge(left=reader.refused))

    def _note(self, until_ms: int, judged: DumpMerge) -> None:
        self.judged += judged
        self._on_rows(until_ms, judged)

    async def _load_slice(self, blocks: Iterator[list[Row]]) -> bool:
        """Merge and store some blocks; return whether there were any."""
        persistence, brought, any_rows = self._registry.persistence, set[int](), False
        pin = self._registry.pin(self.key)
        try:
            series = self._registry.get_or_create(self._question)
            await persistence.load_outline(series)
            for _ in range(_BLOCKS_AT_ONCE):
                rows = await asyncio.to_thread(next, blocks, None)
                if rows is None:
                    break
                any_rows = True
                near = (rows[0].open_ms - 1, series.next_open(rows[-1].open_ms) + 1)
                touched = range(near[0] // series.blocks.width_ms, near[1] // series.blocks.width_ms + 1)
                brought |= {*touched} - {*series.blocks.indexes(*near)}
                await persistence.load_range(series, *near)
                judged = merge_dump(series, rows)
                self._registry.note_merged(series)
                self._note(rows[-1].open_ms + 1, judged)
            if trouble := await persistence.flush():
                raise DumpsUnavailable(trouble)
        finally:
            self._registry.unpin(pin)
        self._registry.release(self.key, brought)
        return any_rows


def _unknown(series: Series, start: int, end: int) -> list[Span]:
    """Return the parts of [start, end) that are neither in memory nor stored."""
    end = end if series.tail is None else min(end, series.tail.start_ms)
    return [gap for lo, hi in series.coverage.gaps(start, end) for gap in series.stored.gaps(lo, hi)]


def _by_block(slices: Iterator[list[Row]], width_ms: int) -> Iterator[list[Row]]:
    """Yield the same rows, those of one block at a time."""
    waiting: list[Row] = []
    for rows in slices:
        waiting += rows
        while waiting:
            end_ms = (waiting[0].open_ms // width_ms + 1) * width_ms
            count = bisect_left(waiting, end_ms, key=_open_ms)
            if count == len(waiting):
                break
            yield waiting[:count]
            del waiting[:count]
    if waiting:
        yield waiting
