"""Open everything that outlives a process, in one directory: settled rows, gates and budgets, symbols.

If something can't be written, `troubles` names it, and the daemon serves from memory.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from mdcache.clock import Clock
from mdcache.events import Event, Events
from mdcache.exchange.markets import Market
from mdcache.store_events import TierFailed, TierStateChanged
from mdcache.stores.disk import gate_file
from mdcache.stores.disk.exchange_info_files import ExchangeInfoFiles
from mdcache.stores.disk.gate_file import GateFile, GateFileUnreadable
from mdcache.stores.disk.row_file import RowFile
from mdcache.stores.disk.row_store import DiskRowStore
from mdcache.stores.disk.schema import Connect, connect
from mdcache.stores.disk.state_dir import StateDir
from mdcache.stores.worker_thread import WorkerThread
from mdcache.upstream.governor import Governor

_ROWS_CLOSE_TIMEOUT_S = 5.0  # at shutdown, for the last settled rows to be written
_GATES_CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class PersistenceSettings:
    """Settings of what is stored, and under which names.

    `origins`: each market's upstream. `max_row_bytes`: 0 if no rows may be stored. `boot_id` names the boot since which
    the clock counts. Tests replace `thread` and `connect`.
    """

    egress: str
    origins: Mapping[Market, str]
    max_row_bytes: int
    boot_id: str
    thread: Callable[[str], Executor] = WorkerThread
    connect: Connect = connect


@dataclass(frozen=True, slots=True)
class PersistentState:
    """The parts; each is `None` if there is no directory to write to, or it may not be stored.

    `startup_events`: problems at the start, to be emitted once all sinks are attached.
    """

    state_dir: StateDir | None = None
    disk: DiskRowStore | None = None
    gates: GateFile | None = None
    bodies: ExchangeInfoFiles | None = None
    startup_events: tuple[Event, ...] = ()

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with the disk, for people."""
        found = (part.trouble for part in (self.state_dir, self.disk, self.gates) if part is not None)
        return tuple(f"disk: {trouble}; serving from memory" for trouble in found if trouble)

    def status(self) -> dict[str, object]:
        """Return what `/v1/status` shows; empty if nothing is stored."""
        if self.state_dir is None:
            return {}
        rows = self.disk.status() if self.disk is not None else {}
        return {"state": "down" if self.troubles else "ok", "detail": "; ".join(self.troubles), **rows}

    async def aclose(self) -> None:
        """Write what is not written yet."""
        if self.disk is not None:
            await self.disk.aclose(_ROWS_CLOSE_TIMEOUT_S)
        if self.gates is not None:
            await self.gates.aclose(_GATES_CLOSE_TIMEOUT_S)
        if self.bodies is not None:
            await self.bodies.aclose(_GATES_CLOSE_TIMEOUT_S)


def open_state(
    state_dir: StateDir, settings: PersistenceSettings, governor: Governor, clock: Clock, events: Events
) -> PersistentState:
    """Open the stores in a directory, and restore the governor's gates and budgets from it.

    Args:
        state_dir: the directory; what can be read in it is used even if nothing can be written.
        settings: what may be stored.
        governor: obeys from here on what Binance told the last process.
        clock: measures retries and delays.
        events: receives uses and failures.
    """
    path = state_dir.path / "gates.json"
    others: dict[str, dict[str, object]] = {}
    kept = not state_dir.trouble
    try:
        others = gate_file.read(path)
        sound = settings.egress not in others or governor.restore(others[settings.egress], settings.boot_id)
        detail = (
            "" if sound else f"{path}: the entry for egress {settings.egress!r} is unreadable; starting with a probe"
        )
    except GateFileUnreadable as error:
        governor.restore(None, settings.boot_id)
        kept = kept and not error.newer
        detail = f"{error}; starting with a probe"
    found: list[Event] = [TierFailed(gate_file.TIER, gate_file.OP, detail, lost=True)] if detail else []
    if state_dir.trouble:
        return PersistentState(
            state_dir, startup_events=(*found, TierStateChanged(gate_file.TIER, "down", state_dir.trouble))
        )
    gates = None
    if kept:
        thread = settings.thread("gates")
        gates = GateFile(
            path, settings.egress, others, lambda: governor.saved_state(settings.boot_id), thread, clock, events
        )
        governor.subscribe(gates.changed)
    disk = None
    if settings.max_row_bytes:
        file = RowFile(state_dir.path / "candles.db", settings.origins, settings.max_row_bytes, clock, settings.connect)
        disk = DiskRowStore(file, settings.thread("rows"), clock, events)
    bodies = ExchangeInfoFiles(state_dir.path, settings.origins, settings.thread("symbols"), clock, events)
    return PersistentState(state_dir, disk, gates, bodies, tuple(found))
