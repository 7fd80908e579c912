"""Gates and budgets in a file, so that a new process obeys what Binance told the last one.

The file is read once, before anything is sent. A thread writes it: at once when a gate changes, and within a second
after weight was spent. It has an entry for each egress that was ever used.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import msgspec

from mdcache.background_work import cancel_all, supervise
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, Events
from mdcache.exchange.undecodable import UNDECODABLE
from mdcache.store_events import StoreOp, Tier, TierFailed, TierStateChanged, TierUsed
from mdcache.stores.disk.state_dir import replace_file

VERSION = 1
TIER, OP = Tier.DISK, StoreOp.GATE
_WRITE_DELAY_S = 1.0
_RETRY_S, _MAX_RETRY_S = 1.0, 60.0
_MAX_EGRESSES = 32  # an operator chooses the names; the oldest are dropped first

Families = Mapping[str, object]


class _Content(msgspec.Struct, frozen=True):
    version: int
    egress: dict[str, dict[str, object]]


class GateFileUnreadable(Exception):
    """There is a file, but its content is unreadable; `newer`: a later release wrote it, and it is not overwritten."""

    def __init__(self, detail: str, *, newer: bool = False) -> None:
        super().__init__(detail)
        self.newer = newer


def read(path: Path) -> dict[str, dict[str, object]]:
    """Return the saved families by egress; empty if there is no file. Raises `GateFileUnreadable`."""
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise GateFileUnreadable(f"{path}: {error.strerror or error}") from error
    try:
        version = msgspec.json.decode(raw, type=dict[str, object]).get("version")
        if isinstance(version, int) and version > VERSION:
            raise GateFileUnreadable(
                f"{path} has version {version}, newer than the {VERSION} of this release", newer=True
            )
        return msgspec.json.decode(raw, type=_Content).egress
    except UNDECODABLE as error:
        raise GateFileUnreadable(f"{path}: {error}") from error


def write(path: Path, egress: str, others: Mapping[str, Families], families: Families) -> None:
    """Replace the file: `families` under `egress`, beside the `others` that were read. Raises `OSError`."""
    kept = [(name, found) for name, found in others.items() if name != egress][-_MAX_EGRESSES:]
    whole = {"version": VERSION, "egress": dict(kept) | {egress: families}}
    replace_file(path, msgspec.json.encode(whole))


class GateFile:
    """Write what `saved_state` returns under `egress`, with the `others` that were read; all in `thread`."""

    def __init__(
        self,
        path: Path,
        egress: str,
        others: Mapping[str, Families],
        saved_state: Callable[[], Families],
        thread: Executor,
        clock: Clock,
        events: Events,
    ) -> None:
        self.trouble = ""
        self._path = path
        self._egress = egress
        self._others = others
        self._saved_state = saved_state
        self._thread = thread
        self._clock = clock
        self._events = events
        self._gate_changed = asyncio.Event()
        self._dirty = False
        self._writer: asyncio.Task[None] | None = None

    def changed(self, *, gate: bool) -> None:
        """Write the state: at once if a gate changed, soon if not."""
        self._dirty = True
        if gate:
            self._gate_changed.set()
        if self._writer is None:
            self._writer = supervise(BackgroundTask.GATE_FILE, self._write_all, self._clock, self._events)

    async def aclose(self, timeout_s: float) -> None:
        """Write what is not written yet, for at most `timeout_s`."""
        writer = self._writer
        if writer is not None:
            self._gate_changed.set()
            await asyncio.wait({writer}, timeout=timeout_s)
            await cancel_all(writer)
        self._thread.shutdown(wait=False)

    async def _write_all(self) -> None:
        retry_s = _RETRY_S
        while self._dirty:
            await self._delay(_WRITE_DELAY_S)
            self._dirty, written = False, False
            try:
                written = await self._write()
            finally:
                self._dirty |= not written
            if written:
                retry_s = _RETRY_S
                continue
            await self._clock.sleep(retry_s)
            retry_s = min(2 * retry_s, _MAX_RETRY_S)
        self._writer = None

    async def _delay(self, seconds: float) -> None:
        """Wait, but no longer than until a gate changes."""
        moved = asyncio.ensure_future(self._gate_changed.wait())
        slept = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({moved, slept}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            moved.cancel()
            slept.cancel()
        self._gate_changed.clear()

    async def _write(self) -> bool:
        began_s = self._clock.now()
        job = partial(write, self._path, self._egress, self._others, self._saved_state())
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, job)
        except OSError as error:
            self._report_failure(f"{self._path}: {error.strerror or error}")
            return False
        self._events.emit(TierUsed(TIER, OP, self._clock.now() - began_s))
        if self.trouble:
            self.trouble = ""
            self._events.emit(TierStateChanged(TIER, "ok", "gates"))
        return True

    def _report_failure(self, detail: str) -> None:
        self._events.emit(TierFailed(TIER, OP, detail, lost=False))
        if not self.trouble:
            self._events.emit(TierStateChanged(TIER, "down", detail))
        self.trouble = detail
