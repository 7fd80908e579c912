"""The disk store: settled rows in one SQLite file, written behind by one thread.

Changes wait here, in memory, by series, and are written some series at a time; what waits is seen by who reads. A
fault never raises: what can't be read was never there, and what can't be written waits, or is forgotten on the disk
too, so that nothing old comes back. `trouble` says in one clause what is wrong, as long as it is.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from mdcache.candles.persistence import SeriesChange, SeriesFilter, SeriesOutline, StoredBlock
from mdcache.clock import Clock
from mdcache.events import Events, TierFailed, TierStateChanged, TierUsed
from mdcache.exchange.klines import SeriesKey
from mdcache.stores.disk.row_file import RowFile, SeriesWrite
from mdcache.stores.disk.schema import Damaged, NewerVersion

TIER = "disk"
_HANG_TIMEOUT_S = 2.0  # where nothing ends for so long the disk hangs, and no answer waits for it until it moves again
_RETRY_S, _MAX_RETRY_S = 1.0, 60.0  # between writes that failed
_BATCH_SERIES = 64  # series handed to the thread; it writes as many of them as a slice of time allows
_POLL_S = 0.05  # how often a flush looks whether the disk failed
_MAX_PENDING_BYTES = 64 << 20  # of changes that can't be written as fast as they come
_MAX_PENDING_SERIES = 50_000  # series
_DAMAGE = (Damaged, UnicodeDecodeError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InternalError)
_BROKEN_FILE = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}  # with their extended codes: sqlite.org/rescode.html
_PROVING_OPS = ("write", "purge")
_T = TypeVar("_T")
_P = ParamSpec("_P")


@dataclass(slots=True)
class _PendingWrite:
    """What is to be written of one series; `anew`: and what is there now is to go first."""

    discard_first: bool = False
    change: SeriesChange | None = None
    touched: set[int] = field(default_factory=set)

    @property
    def nbytes(self) -> int:
        blocks = self.change.blocks.values() if self.change is not None else ()
        return sum(kept.block.nbytes for kept in blocks if kept is not None)

    def merge(self, later: "_PendingWrite") -> None:
        """`later` came after this."""
        if later.discard_first:
            self.discard_first, self.change, self.touched = True, None, set()
        self.touched |= later.touched
        if later.change is not None:
            blocks = {**(self.change.blocks if self.change is not None else {}), **later.change.blocks}
            self.change = SeriesChange(later.change.outside_blocks, later.change.empty_ranges, blocks)


class _DiskFailed(Exception):
    """The disk could not do it; what is wrong was told."""


def origin(url: str) -> str:
    """An upstream's base URL as what rests is kept by it: one spelling, and nobody's password."""
    parts = urlsplit(url)
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port is not None else "")
    return f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}"


class DiskRowStore:
    """A `RowStore` over `file`, which is touched in `thread` only."""

    def __init__(self, file: RowFile, thread: Executor, clock: Clock, events: Events) -> None:
        self.trouble = ""
        self._file = file
        self._thread = thread
        self._clock = clock
        self._events = events
        self._pending: dict[SeriesKey, _PendingWrite] = {}
        self._pending_bytes = 0
        self._purges: list[SeriesFilter] = []
        self._writing: dict[SeriesKey, _PendingWrite] = {}
        self._writer: asyncio.Task[None] | None = None
        self._stuck: asyncio.Task[Any] | None = None
        self._completed = 0
        self._incompatible = False
        self._backing_off = False
        self._batch_size = _BATCH_SERIES
        self._failed_op = ""

    def status(self) -> dict[str, object]:
        """Of `/v1/status`."""
        return {
            "state": "down" if self.trouble else "ok",
            "detail": self.trouble,
            "path": str(self._file.path),
            "bytes": self._file.held_bytes,
            "max_bytes": self._file.max_bytes,
            "waiting_series": len(self._pending),
            "waiting_bytes": self._pending_bytes,
        }

    # ---------------------------------------------------------------------------------- reading

    async def outline(self, key: SeriesKey) -> SeriesOutline:
        """What rests of a series; after a fault nothing does, for good."""
        waiting = self._pending_of(key)
        if any(which.matches(key) for which in self._purges):
            return SeriesOutline()
        found = SeriesOutline()
        if not waiting.discard_first:
            try:
                found = await self._read("open", self._file.outline, key)
            except _DiskFailed:
                self._enqueue(key, _PendingWrite(discard_first=True))
                return SeriesOutline()
        change = waiting.change
        if change is None:
            return found
        blocks = {index: known for index, known in found.blocks.items() if index not in change.blocks}
        blocks |= {index: kept.coverage for index, kept in change.blocks.items() if kept is not None}
        return SeriesOutline(change.outside_blocks, change.empty_ranges, blocks)

    async def blocks(self, key: SeriesKey, indexes: Iterable[int]) -> dict[int, StoredBlock]:
        """Those of the blocks that are there and whole."""
        waiting = self._pending_of(key)
        changed: Mapping[int, StoredBlock | None] = waiting.change.blocks if waiting.change is not None else {}
        wanted = list(indexes)
        found = {index: kept for index in wanted if (kept := changed.get(index)) is not None}
        away = [index for index in wanted if index not in changed]
        if away and not waiting.discard_first and not any(which.matches(key) for which in self._purges):
            with suppress(_DiskFailed):
                found |= await self._read("load", self._file.blocks, key, away)
        return found

    # ---------------------------------------------------------------------------------- writing

    def save(self, key: SeriesKey, change: SeriesChange) -> None:
        """Keep `change`, soon; a change of a series that waits already joins it."""
        self._enqueue(key, _PendingWrite(change=change))

    def touch(self, key: SeriesKey, indexes: Iterable[int]) -> None:
        """These blocks were asked for."""
        self._enqueue(key, _PendingWrite(touched=set(indexes)))

    async def purge(self, series_filter: SeriesFilter) -> int:
        """Forget the series that match; returns how many rested, when they are gone, or will be before others come."""
        for key in [key for key in self._pending if series_filter.matches(key)]:
            self._pending_bytes -= self._pending.pop(key).nbytes
        for key, entry in self._writing.items():
            if series_filter.matches(key):
                entry.merge(_PendingWrite(discard_first=True))
        try:
            return await self._run("purge", self._file.purge, series_filter)
        except _DiskFailed:
            self._purges.append(series_filter)
            self._start_writer()
            return 0

    async def flush(self) -> None:
        """Return when nothing waits, or the disk failed."""
        while (self._pending or self._writing or self._purges) and self._writer is not None and not self._backing_off:
            await asyncio.wait({self._writer}, timeout=_POLL_S)

    async def aclose(self, timeout_s: float) -> None:
        """Write what waits, for at most `patience_s`, and let go of the file."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.flush()
        except TimeoutError:
            self._report_failure("write", f"{len(self._pending)} series were not saved in time")
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        closed = asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        await asyncio.wait({closed}, timeout=timeout_s)
        self._thread.shutdown(wait=False)

    # ------------------------------------------------------------------------------------ parts

    def _pending_of(self, key: SeriesKey) -> _PendingWrite:
        """All that is to be written of a series, what is being written included."""
        whole = _PendingWrite()
        for entries in (self._writing, self._pending):
            if key in entries:
                whole.merge(entries[key])
        return whole

    def _enqueue(self, key: SeriesKey, more: _PendingWrite) -> None:
        if self._incompatible:
            return
        waiting = self._pending.setdefault(key, _PendingWrite())
        self._pending_bytes -= waiting.nbytes
        waiting.merge(more)
        self._pending_bytes += waiting.nbytes
        if len(self._pending) > _MAX_PENDING_SERIES:
            self._purges, self._pending, self._pending_bytes = [SeriesFilter()], {}, 0
        while self._pending_bytes > _MAX_PENDING_BYTES:  # forgotten on the disk too, and read again one day
            oldest = next(key for key, each in self._pending.items() if each.nbytes)
            self._pending_bytes -= self._pending.pop(oldest).nbytes
            self._pending[oldest] = _PendingWrite(discard_first=True)
            self._events.emit(TierFailed(TIER, "write", f"{oldest}: too much waits to be written", lost=True))
        self._start_writer()

    def _start_writer(self) -> None:
        if self._writer is None and not self._incompatible:
            self._writer = asyncio.get_running_loop().create_task(self._write_all(), name="writer of the disk")

    async def _write_all(self) -> None:
        pause_s = _RETRY_S
        while self._pending or self._purges or self._file.loose:
            try:
                await self._write_next()
                pause_s, self._batch_size = _RETRY_S, _BATCH_SERIES
            except _DiskFailed:
                if self._incompatible:
                    break
                self._backing_off = True
                await self._clock.sleep(pause_s)
                self._backing_off = False
                pause_s, self._batch_size = min(2 * pause_s, _MAX_RETRY_S), 1  # one that can't be written holds up none
        self._writer = None

    async def _write_next(self) -> None:
        while self._purges:
            await self._run("purge", self._file.purge, self._purges[0])
            del self._purges[0]
        keys = list(islice(self._pending, self._batch_size))
        self._writing = {key: self._pending.pop(key) for key in keys}
        self._pending_bytes -= sum(entry.nbytes for entry in self._writing.values())
        works = [
            SeriesWrite(key, each.discard_first, each.change, sorted(each.touched))
            for key, each in self._writing.items()
        ]
        if not works:
            await self._run("pack", self._file.pack)
            return
        done = 0
        try:
            done = await self._run("write", self._file.write, works)
        finally:
            self._requeue(keys[done:], first=done > 0)

    def _requeue(self, keys: Iterable[SeriesKey], *, first: bool) -> None:
        """These were not written: they wait again, before or behind the others."""
        writing, self._writing = self._writing, {}
        back: dict[SeriesKey, _PendingWrite] = {}
        for key in keys:
            entry = writing[key]
            later = self._pending.pop(key, _PendingWrite())
            self._pending_bytes -= later.nbytes
            entry.merge(later)
            self._pending_bytes += entry.nbytes
            back[key] = entry
        self._pending = back | self._pending if first else self._pending | back

    async def _read(self, op: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """A call that an answer waits for: as long as the disk does something, and not at all while it hangs."""
        if self._incompatible or (self._stuck is not None and not self._stuck.done()):
            raise _DiskFailed
        task = asyncio.get_running_loop().create_task(self._run(op, call, *args, **kwargs))
        ended = -1
        while not task.done() and ended != self._completed:
            ended = self._completed
            await asyncio.wait({task}, timeout=_HANG_TIMEOUT_S)
        if task.done():
            return task.result()
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        self._stuck = task
        self._report_failure(op, f"nothing moved for {_HANG_TIMEOUT_S:.0f} s")
        raise _DiskFailed

    async def _run(self, op: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a call of the file's in its thread. Raises `_Failed`, having told why."""
        began_s = self._clock.now()
        job = partial(self._call_in_thread, partial(call, *args, **kwargs))
        result, faults, error = await asyncio.get_running_loop().run_in_executor(self._thread, job)
        self._completed += 1
        self._events.emit(TierUsed(TIER, op, self._clock.now() - began_s))
        for fault in faults:
            self._events.emit(TierFailed(TIER, op, fault, lost=True))
        if error is None:
            self._report_success(op)
            return result  # type: ignore[return-value]
        self._incompatible = self._incompatible or isinstance(error, NewerVersion)
        self._report_failure(op, str(error) or type(error).__name__)
        raise _DiskFailed

    def _call_in_thread(self, call: Callable[[], _T]) -> tuple[_T | None, list[str], Exception | None]:
        """In the thread: a call's result, what it found broken, and its error. A broken file is set aside."""
        result, failure = None, None
        try:
            result = call()
            if self._file.faults and not self._file.is_consistent():
                self._file.set_aside()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach an answer
            failure = self._set_aside_if_corrupt(error)
        faults, self._file.faults = self._file.faults, []
        return result, faults, failure

    def _set_aside_if_corrupt(self, error: Exception) -> Exception:
        name = getattr(error, "sqlite_errorname", None) or ""
        if isinstance(error, _DAMAGE) or any(name.startswith(broken) for broken in _BROKEN_FILE):
            try:
                self._file.set_aside()
            except OSError as worse:
                return worse
        return error

    def _report_success(self, op: str) -> None:
        """What failed works again, or something that proves more."""
        if self.trouble and not self._incompatible and op in (self._failed_op, *_PROVING_OPS):
            self.trouble = ""
            self._events.emit(TierStateChanged(TIER, "ok", ""))

    def _report_failure(self, op: str, detail: str) -> None:
        self._events.emit(TierFailed(TIER, op, detail, lost=False))
        if not self.trouble:
            self._events.emit(TierStateChanged(TIER, "down", detail))
        self.trouble, self._failed_op = detail, op
