"""Run calls on the row file in its thread, and track from their outcomes whether the disk works."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from mdcache.clock import Clock
from mdcache.events import Events
from mdcache.store_events import StoreOp, Tier, TierFailed, TierStateChanged, TierUsed
from mdcache.stores.disk.row_file import RowFile
from mdcache.stores.disk.schema import Damaged, NewerVersion

TIER = Tier.DISK
_HANG_TIMEOUT_S = 2.0  # if no call ends for this long, the disk hangs, and no answer waits for it until one does
_DAMAGE = (Damaged, UnicodeDecodeError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InternalError)
_BROKEN_FILE = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}  # with their extended codes: sqlite.org/rescode.html
_PROVING_OPS = (StoreOp.WRITE, StoreOp.PURGE)
_T = TypeVar("_T")
_P = ParamSpec("_P")


class DiskFailed(Exception):
    """The disk failed; the cause has been reported."""


class FileAccess:
    """The only way to use `file`.

    Attributes:
        trouble: what is wrong, in one clause; empty if nothing is. It is cleared when the operation that failed works
        again, or one that proves more. refused: the file belongs to a later release or another program, and is never
        touched again.
    """

    def __init__(self, file: RowFile, thread: Executor, clock: Clock, events: Events) -> None:
        self.trouble = ""
        self.refused = False
        self._file = file
        self._thread = thread
        self._clock = clock
        self._events = events
        self._failed_op = ""
        self._hanging: asyncio.Task[Any] | None = None
        self._completed = 0

    async def read(self, op: StoreOp, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a call that an answer waits for: wait while the disk makes progress, and fail at once while it hangs.

        Raises:
            DiskFailed: the call failed, or the disk hangs.
        """
        if self.refused or (self._hanging is not None and not self._hanging.done()):
            raise DiskFailed
        task = asyncio.get_running_loop().create_task(self.run(op, call, *args, **kwargs))
        completed = -1
        while not task.done() and completed != self._completed:
            completed = self._completed
            await asyncio.wait({task}, timeout=_HANG_TIMEOUT_S)
        if task.done():
            return task.result()
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        self._hanging = task
        self.report_failure(op, f"nothing moved for {_HANG_TIMEOUT_S:.0f} s")
        raise DiskFailed

    async def run(self, op: StoreOp, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a call on the file in its thread, however long it takes; raise `DiskFailed` if it fails."""
        began_s = self._clock.now()
        job = partial(self._call_in_thread, partial(call, *args, **kwargs))
        result, faults, error = await asyncio.get_running_loop().run_in_executor(self._thread, job)
        self._completed += 1
        self._events.emit(TierUsed(TIER, op, self._clock.now() - began_s))
        for fault in faults:
            self._events.emit(TierFailed(TIER, op, fault, lost=True))
        if error is None:
            self._report_success(op)
            return result  # type: ignore[return-value] # `None` comes with an error, if it is none
        self.refused = self.refused or isinstance(error, NewerVersion)
        self.report_failure(op, str(error) or type(error).__name__)
        raise DiskFailed

    async def aclose(self, timeout_s: float) -> None:
        """Close the file, unless the disk hangs, and end the thread."""
        closed = asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        await asyncio.wait({closed}, timeout=timeout_s)
        self._thread.shutdown(wait=False)

    def report_failure(self, op: StoreOp, detail: str) -> None:
        """Report that `op` failed; the disk is down from now on."""
        self._events.emit(TierFailed(TIER, op, detail, lost=False))
        if not self.trouble:
            self._events.emit(TierStateChanged(TIER, "down", detail))
        self.trouble, self._failed_op = detail, op

    def _report_success(self, op: StoreOp) -> None:
        if self.trouble and not self.refused and op in (self._failed_op, *_PROVING_OPS):
            self.trouble = ""
            self._events.emit(TierStateChanged(TIER, "ok", ""))

    def _call_in_thread(self, call: Callable[[], _T]) -> tuple[_T | None, list[str], Exception | None]:
        """Return, in the thread, a call's result, the faults it found, and its error. A broken file is set aside."""
        result, failure = None, None
        try:
            result = call()
            if self._file.faults and not self._file.is_consistent():
                self._file.set_aside()
        except Exception as error:  # noqa: BLE001 - no error may reach an answer
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
