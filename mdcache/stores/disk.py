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

from mdcache.candles.atrest import Change, Kept, Outline, Which
from mdcache.clock import Clock
from mdcache.events import Events, TierFailed, TierMoved, TierUsed
from mdcache.exchange.questions import SeriesKey
from mdcache.stores.schema import Damaged, Newer
from mdcache.stores.sqlite import File, Work

TIER = "disk"
_PATIENCE_S = 2.0  # where nothing ends for so long the disk hangs, and no answer waits for it until it moves again
_RETRY_S, _MOST_RETRY_S = 1.0, 60.0  # between writes that failed
_AT_ONCE = 64  # series handed to the thread; it writes as many of them as a slice of time allows
_LOOK_S = 0.05  # how often a flush looks whether the disk failed
_MOST_WAITING_BYTES = 64 << 20  # of changes that can't be written as fast as they come
_MOST_WAITING = 50_000  # series
_DAMAGE = (Damaged, UnicodeDecodeError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InternalError)
_BROKEN_FILE = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}  # with their extended codes: sqlite.org/rescode.html
_PROOFS = ("write", "purge")
_T = TypeVar("_T")
_P = ParamSpec("_P")


@dataclass(slots=True)
class _Waiting:
    """What is to be written of one series; `anew`: and what is there now is to go first."""

    anew: bool = False
    change: Change | None = None
    touched: set[int] = field(default_factory=set)

    @property
    def nbytes(self) -> int:
        blocks = self.change.blocks.values() if self.change is not None else ()
        return sum(kept.block.nbytes for kept in blocks if kept is not None)

    def take(self, later: "_Waiting") -> None:
        """`later` came after this."""
        if later.anew:
            self.anew, self.change, self.touched = True, None, set()
        self.touched |= later.touched
        if later.change is not None:
            blocks = {**(self.change.blocks if self.change is not None else {}), **later.change.blocks}
            self.change = Change(later.change.bare, later.change.voids, blocks)


class _Failed(Exception):
    """The disk could not do it; what is wrong was told."""


def origin(url: str) -> str:
    """An upstream's base URL as what rests is kept by it: one spelling, and nobody's password."""
    parts = urlsplit(url)
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port is not None else "")
    return f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}"


class DiskStore:
    """A `Store` over `file`, which is touched in `thread` only."""

    def __init__(self, file: File, thread: Executor, clock: Clock, events: Events) -> None:
        self.trouble = ""
        self._file = file
        self._thread = thread
        self._clock = clock
        self._events = events
        self._waiting: dict[SeriesKey, _Waiting] = {}
        self._waiting_bytes = 0
        self._purges: list[Which] = []
        self._writing: dict[SeriesKey, _Waiting] = {}
        self._writer: asyncio.Task[None] | None = None
        self._stuck: asyncio.Task[Any] | None = None
        self._ended = 0
        self._refused = False
        self._pausing = False
        self._at_once = _AT_ONCE
        self._failed_op = ""

    def status(self) -> dict[str, object]:
        """Of `/v1/status`."""
        return {
            "state": "down" if self.trouble else "ok",
            "detail": self.trouble,
            "path": str(self._file.path),
            "bytes": self._file.held_bytes,
            "max_bytes": self._file.max_bytes,
            "waiting_series": len(self._waiting),
            "waiting_bytes": self._waiting_bytes,
        }

    # ---------------------------------------------------------------------------------- reading

    async def outline(self, key: SeriesKey) -> Outline:
        """What rests of a series; after a fault nothing does, for good."""
        waiting = self._waits(key)
        if any(which.takes(key) for which in self._purges):
            return Outline()
        found = Outline()
        if not waiting.anew:
            try:
                found = await self._read("open", self._file.outline, key)
            except _Failed:
                self._put(key, _Waiting(anew=True))
                return Outline()
        change = waiting.change
        if change is None:
            return found
        blocks = {index: known for index, known in found.blocks.items() if index not in change.blocks}
        blocks |= {index: kept.known for index, kept in change.blocks.items() if kept is not None}
        return Outline(change.bare, change.voids, blocks)

    async def blocks(self, key: SeriesKey, indexes: Iterable[int]) -> dict[int, Kept]:
        """Those of the blocks that are there and whole."""
        waiting = self._waits(key)
        changed: Mapping[int, Kept | None] = waiting.change.blocks if waiting.change is not None else {}
        wanted = list(indexes)
        found = {index: kept for index in wanted if (kept := changed.get(index)) is not None}
        away = [index for index in wanted if index not in changed]
        if away and not waiting.anew and not any(which.takes(key) for which in self._purges):
            with suppress(_Failed):
                found |= await self._read("load", self._file.blocks, key, away)
        return found

    # ---------------------------------------------------------------------------------- writing

    def save(self, key: SeriesKey, change: Change) -> None:
        """Keep `change`, soon; a change of a series that waits already joins it."""
        self._put(key, _Waiting(change=change))

    def touch(self, key: SeriesKey, indexes: Iterable[int]) -> None:
        """These blocks were asked for."""
        self._put(key, _Waiting(touched=set(indexes)))

    async def purge(self, which: Which) -> int:
        """Forget the series that match; returns how many rested, when they are gone, or will be before others come."""
        for key in [key for key in self._waiting if which.takes(key)]:
            self._waiting_bytes -= self._waiting.pop(key).nbytes
        for key, entry in self._writing.items():
            if which.takes(key):
                entry.take(_Waiting(anew=True))
        try:
            return await self._run("purge", self._file.purge, which)
        except _Failed:
            self._purges.append(which)
            self._wake()
            return 0

    async def flush(self) -> None:
        """Return when nothing waits, or the disk failed."""
        while (self._waiting or self._writing or self._purges) and self._writer is not None and not self._pausing:
            await asyncio.wait({self._writer}, timeout=_LOOK_S)

    async def aclose(self, patience_s: float) -> None:
        """Write what waits, for at most `patience_s`, and let go of the file."""
        try:
            async with asyncio.timeout(patience_s):
                await self.flush()
        except TimeoutError:
            self._tell_failure("write", f"{len(self._waiting)} series were not saved in time")
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        closed = asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        await asyncio.wait({closed}, timeout=patience_s)
        self._thread.shutdown(wait=False)

    # ------------------------------------------------------------------------------------ parts

    def _waits(self, key: SeriesKey) -> _Waiting:
        """All that is to be written of a series, what is being written included."""
        whole = _Waiting()
        for entries in (self._writing, self._waiting):
            if key in entries:
                whole.take(entries[key])
        return whole

    def _put(self, key: SeriesKey, more: _Waiting) -> None:
        if self._refused:
            return
        waiting = self._waiting.setdefault(key, _Waiting())
        self._waiting_bytes -= waiting.nbytes
        waiting.take(more)
        self._waiting_bytes += waiting.nbytes
        if len(self._waiting) > _MOST_WAITING:
            self._purges, self._waiting, self._waiting_bytes = [Which()], {}, 0
        while self._waiting_bytes > _MOST_WAITING_BYTES:  # forgotten on the disk too, and read again one day
            oldest = next(key for key, each in self._waiting.items() if each.nbytes)
            self._waiting_bytes -= self._waiting.pop(oldest).nbytes
            self._waiting[oldest] = _Waiting(anew=True)
            self._events.emit(TierFailed(TIER, "write", f"{oldest}: too much waits to be written", lost=True))
        self._wake()

    def _wake(self) -> None:
        if self._writer is None and not self._refused:
            self._writer = asyncio.get_running_loop().create_task(self._write_all(), name="writer of the disk")

    async def _write_all(self) -> None:
        pause_s = _RETRY_S
        while self._waiting or self._purges or self._file.loose:
            try:
                await self._write_next()
                pause_s, self._at_once = _RETRY_S, _AT_ONCE
            except _Failed:
                if self._refused:
                    break
                self._pausing = True
                await self._clock.sleep(pause_s)
                self._pausing = False
                pause_s, self._at_once = min(2 * pause_s, _MOST_RETRY_S), 1  # one that can't be written holds up none
        self._writer = None

    async def _write_next(self) -> None:
        while self._purges:
            await self._run("purge", self._file.purge, self._purges[0])
            del self._purges[0]
        keys = list(islice(self._waiting, self._at_once))
        self._writing = {key: self._waiting.pop(key) for key in keys}
        self._waiting_bytes -= sum(entry.nbytes for entry in self._writing.values())
        works = [Work(key, each.anew, each.change, sorted(each.touched)) for key, each in self._writing.items()]
        if not works:
            await self._run("pack", self._file.pack)
            return
        done = 0
        try:
            done = await self._run("write", self._file.write, works)
        finally:
            self._put_back(keys[done:], first=done > 0)

    def _put_back(self, keys: Iterable[SeriesKey], *, first: bool) -> None:
        """These were not written: they wait again, before or behind the others."""
        writing, self._writing = self._writing, {}
        back: dict[SeriesKey, _Waiting] = {}
        for key in keys:
            entry = writing[key]
            later = self._waiting.pop(key, _Waiting())
            self._waiting_bytes -= later.nbytes
            entry.take(later)
            self._waiting_bytes += entry.nbytes
            back[key] = entry
        self._waiting = back | self._waiting if first else self._waiting | back

    async def _read(self, op: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """A call that an answer waits for: as long as the disk does something, and not at all while it hangs."""
        if self._refused or (self._stuck is not None and not self._stuck.done()):
            raise _Failed
        task = asyncio.get_running_loop().create_task(self._run(op, call, *args, **kwargs))
        ended = -1
        while not task.done() and ended != self._ended:
            ended = self._ended
            await asyncio.wait({task}, timeout=_PATIENCE_S)
        if task.done():
            return task.result()
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        self._stuck = task
        self._tell_failure(op, f"nothing moved for {_PATIENCE_S:.0f} s")
        raise _Failed

    async def _run(self, op: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a call of the file's in its thread. Raises `_Failed`, having told why."""
        began_s = self._clock.now()
        job = partial(self._guarded, partial(call, *args, **kwargs))
        result, faults, error = await asyncio.get_running_loop().run_in_executor(self._thread, job)
        self._ended += 1
        self._events.emit(TierUsed(TIER, op, self._clock.now() - began_s))
        for fault in faults:
            self._events.emit(TierFailed(TIER, op, fault, lost=True))
        if error is None:
            self._tell_success(op)
            return result  # type: ignore[return-value]
        self._refused = self._refused or isinstance(error, Newer)
        self._tell_failure(op, str(error) or type(error).__name__)
        raise _Failed

    def _guarded(self, call: Callable[[], _T]) -> tuple[_T | None, list[str], Exception | None]:
        """In the thread: a call's result, what it found broken, and its error. A broken file is set aside."""
        result, failure = None, None
        try:
            result = call()
            if self._file.faults and not self._file.sound():
                self._file.set_aside()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not reach an answer
            failure = self._broken_aside(error)
        faults, self._file.faults = self._file.faults, []
        return result, faults, failure

    def _broken_aside(self, error: Exception) -> Exception:
        name = getattr(error, "sqlite_errorname", None) or ""
        if isinstance(error, _DAMAGE) or any(name.startswith(broken) for broken in _BROKEN_FILE):
            try:
                self._file.set_aside()
            except OSError as worse:
                return worse
        return error

    def _tell_success(self, op: str) -> None:
        """What failed works again, or something that proves more."""
        if self.trouble and not self._refused and op in (self._failed_op, *_PROOFS):
            self.trouble = ""
            self._events.emit(TierMoved(TIER, "ok", ""))

    def _tell_failure(self, op: str, detail: str) -> None:
        self._events.emit(TierFailed(TIER, op, detail, lost=False))
        if not self.trouble:
            self._events.emit(TierMoved(TIER, "down", detail))
        self.trouble, self._failed_op = detail, op
