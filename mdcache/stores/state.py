"""All that outlives a process, in one folder: settled rows, gates and budgets, lists of symbols.

What can't be written is told in `troubles`; the daemon serves from memory then.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from mdcache.clock import Clock
from mdcache.events import Event, Events, TierFailed, TierMoved
from mdcache.exchange.markets import Market
from mdcache.stores import gatefile
from mdcache.stores.bodies import Bodies
from mdcache.stores.disk import DiskStore
from mdcache.stores.folder import Folder
from mdcache.stores.gatefile import GateFile, Unknowable
from mdcache.stores.schema import Connect, connect
from mdcache.stores.sqlite import File
from mdcache.stores.thread import OneThread

_LAST_ROWS_S = 5.0  # for what settled last to be written, at the end
_LAST_GATES_S = 1.0


class Gates(Protocol):
    """Whose gates and budgets rest (`upstream.governor.Governor`)."""

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Have `changed` called in each step that changes what should rest: with True where a gate moved."""
        ...

    def at_rest(self, boot: str) -> dict[str, object]:
        """Gates and budgets, by family."""
        ...

    def revive(self, plain: Mapping[str, object] | None, boot: str) -> bool:
        """Take up what `at_rest` gave; `None`: it can't be read. Whether all could be."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What rests, and for whom. `origins`: each market's upstream; `rows_bytes`: 0 where no rows may rest.

    `boot` names what the clock counts from. `thread` and `connect` stand in for the real ones in tests.
    """

    egress: str
    origins: Mapping[Market, str]
    rows_bytes: int
    boot: str
    thread: Callable[[str], Executor] = OneThread
    connect: Connect = connect


@dataclass(frozen=True, slots=True)
class State:
    """The parts; each is `None` where there is no folder to write it to, or it may not rest.

    `found`: what was wrong at the start, to be emitted when everybody listens.
    """

    folder: Folder | None = None
    disk: DiskStore | None = None
    gates: GateFile | None = None
    bodies: Bodies | None = None
    found: tuple[Event, ...] = ()

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with the disk, for people."""
        found = (part.trouble for part in (self.folder, self.disk, self.gates) if part is not None)
        return tuple(f"disk: {trouble}; serving from memory" for trouble in found if trouble)

    def status(self) -> dict[str, object]:
        """Of `/v1/status`; empty where nothing rests."""
        if self.folder is None:
            return {}
        rows = self.disk.status() if self.disk is not None else {}
        return {"state": "down" if self.troubles else "ok", "detail": "; ".join(self.troubles), **rows}

    async def aclose(self) -> None:
        """Write what is not written yet."""
        if self.disk is not None:
            await self.disk.aclose(_LAST_ROWS_S)
        if self.gates is not None:
            await self.gates.aclose(_LAST_GATES_S)
        if self.bodies is not None:
            await self.bodies.aclose(_LAST_GATES_S)


def open_state(folder: Folder, plan: Plan, governor: Gates, clock: Clock, events: Events) -> State:
    """What rests in `folder`. From here on the governor goes by what it was told, also where nothing is writable."""
    path = folder.path / "gates.json"
    others: dict[str, dict[str, object]] = {}
    kept = not folder.trouble
    try:
        others = gatefile.read(path)
        sound = plan.egress not in others or governor.revive(others[plan.egress], plan.boot)
        detail = "" if sound else f"{path}: what it says of {plan.egress} can't be read; asking with care"
    except Unknowable as error:
        governor.revive(None, plan.boot)
        kept = kept and not error.newer
        detail = f"{error}; asking with care"
    found: list[Event] = [TierFailed(gatefile.TIER, gatefile.OP, detail, lost=True)] if detail else []
    if folder.trouble:
        return State(folder, found=(*found, TierMoved(gatefile.TIER, "down", folder.trouble)))
    gates = None
    if kept:
        thread = plan.thread("gates")
        gates = GateFile(path, plan.egress, others, lambda: governor.at_rest(plan.boot), thread, clock, events)
        governor.watch(gates.changed)
    disk = None
    if plan.rows_bytes:
        file = File(folder.path / "candles.db", plan.origins, plan.rows_bytes, clock, plan.connect)
        disk = DiskStore(file, plan.thread("rows"), clock, events)
    bodies = Bodies(folder.path, plan.origins, plan.thread("symbols"), clock, events)
    return State(folder, disk, gates, bodies, tuple(found))
