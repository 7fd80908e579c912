"""All that outlives a process, in one folder: settled rows, gates and budgets, lists of symbols.

What can't be written is told in `troubles`; the daemon serves from memory then.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from mdcache.clock import Clock
from mdcache.events import Event, Events, TierFailed, TierStateChanged
from mdcache.exchange.markets import Market
from mdcache.stores.disk import gate_file
from mdcache.stores.disk.exchange_info_files import ExchangeInfoFiles
from mdcache.stores.disk.gate_file import GateFile, GateFileUnreadable
from mdcache.stores.disk.row_file import RowFile
from mdcache.stores.disk.row_store import DiskRowStore
from mdcache.stores.disk.schema import Connect, connect
from mdcache.stores.disk.state_dir import StateDir
from mdcache.stores.worker_thread import WorkerThread

_ROWS_CLOSE_TIMEOUT_S = 5.0  # for what settled last to be written, at the end
_GATES_CLOSE_TIMEOUT_S = 1.0


class SavedGates(Protocol):
    """Whose gates and budgets rest (`upstream.governor.Governor`)."""

    def watch(self, on_change: Callable[[bool], None]) -> None:
        """Have `changed` called in each step that changes what should rest: with True where a gate moved."""
        ...

    def saved_state(self, boot: str) -> dict[str, object]:
        """Gates and budgets, by family."""
        ...

    def restore(self, plain: Mapping[str, object] | None, boot: str) -> bool:
        """Take up what `at_rest` gave; `None`: it can't be read. Whether all could be."""
        ...


@dataclass(frozen=True, slots=True)
class PersistenceSettings:
    """What rests, and for whom. `origins`: each market's upstream; `rows_bytes`: 0 where no rows may rest.

    `boot` names what the clock counts from. `thread` and `connect` stand in for the real ones in tests.
    """

    egress: str
    origins: Mapping[Market, str]
    max_row_bytes: int
    boot_id: str
    thread: Callable[[str], Executor] = WorkerThread
    connect: Connect = connect


@dataclass(frozen=True, slots=True)
class PersistentState:
    """The parts; each is `None` where there is no folder to write it to, or it may not rest.

    `found`: what was wrong at the start, to be emitted when everybody listens.
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
        """Of `/v1/status`; empty where nothing rests."""
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
    state_dir: StateDir, settings: PersistenceSettings, governor: SavedGates, clock: Clock, events: Events
) -> PersistentState:
    """What rests in `folder`. From here on the governor goes by what it was told, also where nothing is writable."""
    path = state_dir.path / "gates.json"
    others: dict[str, dict[str, object]] = {}
    kept = not state_dir.trouble
    try:
        others = gate_file.read(path)
        sound = settings.egress not in others or governor.restore(others[settings.egress], settings.boot_id)
        detail = "" if sound else f"{path}: what it says of {settings.egress} can't be read; asking with care"
    except GateFileUnreadable as error:
        governor.restore(None, settings.boot_id)
        kept = kept and not error.newer
        detail = f"{error}; asking with care"
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
        governor.watch(gates.changed)
    disk = None
    if settings.max_row_bytes:
        file = RowFile(state_dir.path / "candles.db", settings.origins, settings.max_row_bytes, clock, settings.connect)
        disk = DiskRowStore(file, settings.thread("rows"), clock, events)
    bodies = ExchangeInfoFiles(state_dir.path, settings.origins, settings.thread("symbols"), clock, events)
    return PersistentState(state_dir, disk, gates, bodies, tuple(found))
