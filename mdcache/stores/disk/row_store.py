"""The disk store: settled rows in one SQLite file, written in the background by one thread.

Rule: docs/design.md#stores.

Changes wait in memory, by series, and are written a few series at a time; a reader sees what waits. A fault never
raises. What can't be read counts as not stored. What can't be written waits, or is deleted on the disk, too: nothing
outdated may be read later.
"""

import asyncio
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress

from mdcache.background_work import cancel_all, supervise
from mdcache.candles.persistence import SeriesChange, SeriesFilter, SeriesOutline, StoredBlock
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, Events
from mdcache.exchange.klines import SeriesKey
from mdcache.store_events import StoreOp, TierFailed
from mdcache.stores.disk.file_access import TIER, DiskFailed, FileAccess
from mdcache.stores.disk.pending_writes import PendingWrite, PendingWrites
from mdcache.stores.disk.row_file import RowFile

_RETRY_S, _MAX_RETRY_S = 1.0, 60.0  # between writes that failed
_BATCH_SERIES = 64  # handed to the thread, which writes as many of them as its time slice allows
_POLL_S = 0.05  # how often a flush checks whether the disk failed


class DiskRowStore:
    """Implements the port of `candles/persistence.py` with `file`, which only `thread` touches."""

    def __init__(self, file: RowFile, thread: Executor, clock: Clock, events: Events) -> None:
        self._file = file
        self._access = FileAccess(file, thread, clock, events)
        self._clock = clock
        self._events = events
        self._pending = PendingWrites()
        self._writer: asyncio.Task[None] | None = None
        self._backing_off = False
        self._batch_size = _BATCH_SERIES

    @property
    def trouble(self) -> str:
        """What is wrong with the disk, in one clause; empty if nothing is."""
        return self._access.trouble

    def status(self) -> dict[str, object]:
        """Return what `/v1/status` shows."""
        return {
            "state": "down" if self.trouble else "ok",
            "detail": self.trouble,
            "path": str(self._file.path),
            "bytes": self._file.held_bytes,
            "max_bytes": self._file.max_bytes,
            "waiting_series": len(self._pending),
            "waiting_bytes": self._pending.nbytes,
        }

    # ---------------------------------------------------------------------------------- reading

    async def outline(self, key: SeriesKey) -> SeriesOutline:
        """Return what is stored of a series; after a fault it is empty, and stays so."""
        pending = self._pending.of(key)
        found = SeriesOutline()
        if not pending.discard_first:
            try:
                found = await self._access.read(StoreOp.OPEN, self._file.outline, key)
            except DiskFailed:
                self._enqueue(key, PendingWrite(discard_first=True))
                return SeriesOutline()
        change = pending.change
        if change is None:
            return found
        blocks = {index: coverage for index, coverage in found.blocks.items() if index not in change.blocks}
        blocks |= {index: stored.coverage for index, stored in change.blocks.items() if stored is not None}
        return SeriesOutline(change.outside_blocks, change.empty_ranges, blocks)

    async def block_indexes(self) -> dict[SeriesKey, list[int]]:
        """Return the indexes of the blocks stored of each series, without changes that wait to be written."""
        try:
            return await self._access.read(StoreOp.SCAN, self._file.block_indexes)
        except DiskFailed:
            return {}

    async def blocks(self, key: SeriesKey, indexes: Iterable[int]) -> dict[int, StoredBlock]:
        """Return those of the blocks that are stored and intact."""
        pending = self._pending.of(key)
        changed: Mapping[int, StoredBlock | None] = pending.change.blocks if pending.change is not None else {}
        wanted = list(indexes)
        found = {index: stored for index in wanted if (stored := changed.get(index)) is not None}
        missing = [index for index in wanted if index not in changed]
        if missing and not pending.discard_first:
            with suppress(DiskFailed):
                found |= await self._access.read(StoreOp.LOAD, self._file.blocks, key, missing)
        return found

    # ---------------------------------------------------------------------------------- writing

    def save(self, key: SeriesKey, change: SeriesChange) -> None:
        """Write `change` soon, merged with any other change of the series that waits."""
        self._enqueue(key, PendingWrite(change=change))

    def touch(self, key: SeriesKey, indexes: Iterable[int]) -> None:
        """Note that these blocks were used."""
        self._enqueue(key, PendingWrite(touched=set(indexes)))

    async def purge(self, series_filter: SeriesFilter) -> int:
        """Delete the matching series.

        Returns:
            How many were stored, once they are deleted; 0 if the disk fails: then they are deleted before anything else
            is written.
        """
        self._pending.drop(series_filter)
        try:
            return await self._access.run(StoreOp.PURGE, self._file.purge, series_filter)
        except DiskFailed:
            self._pending.purges.append(series_filter)
            self._start_writer()
            return 0

    async def flush(self) -> str:
        """Wait until nothing is left to write, or the disk has failed; return what is wrong with it."""
        while self._pending and self._writer is not None and not self._backing_off:
            await asyncio.wait({self._writer}, timeout=_POLL_S)
        return self.trouble

    async def aclose(self, timeout_s: float) -> None:
        """Write what is left, for at most `timeout_s`, and close the file."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.flush()
        except TimeoutError:
            self._access.report_failure(StoreOp.WRITE, f"{len(self._pending)} series were not saved in time")
        await cancel_all(self._writer)
        await self._access.aclose(timeout_s)

    # ------------------------------------------------------------------------------------ parts

    def _enqueue(self, key: SeriesKey, write: PendingWrite) -> None:
        if self._access.refused:
            return
        for lost in self._pending.add(key, write):
            detail = f"{lost}: more changes wait to be written than memory may hold"
            self._events.emit(TierFailed(TIER, StoreOp.WRITE, detail, lost=True))
        self._start_writer()

    def _start_writer(self) -> None:
        if self._writer is None and not self._access.refused:
            self._writer = supervise(BackgroundTask.ROW_STORE, self._write_all, self._clock, self._events)

    async def _write_all(self) -> None:
        pause_s = _RETRY_S
        while self._pending:
            try:
                await self._write_next()
                pause_s, self._batch_size = _RETRY_S, _BATCH_SERIES
            except DiskFailed:
                if self._access.refused:
                    break
                self._backing_off = True
                await self._clock.sleep(pause_s)
                self._backing_off = False
                pause_s = min(2 * pause_s, _MAX_RETRY_S)
                self._batch_size = 1  # a series that can't be written delays no other
        self._writer = None

    async def _write_next(self) -> None:
        while self._pending.purges:
            await self._access.run(StoreOp.PURGE, self._file.purge, self._pending.purges[0])
            del self._pending.purges[0]
        works = self._pending.begin(self._batch_size)
        if not works:
            return
        done = 0
        try:
            done = await self._access.run(StoreOp.WRITE, self._file.write, works)
        finally:
            self._pending.end(works, done)
