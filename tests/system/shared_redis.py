"""The Redis that replicas meet in, inside this process: all of its stores, lost and found together."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from mdcache.candles.persistence import SeriesFilter
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Family
from tests.support.memory_connects import MemoryConnectQuota
from tests.support.memory_shared_bodies import MemorySharedBodies, StoredBodies
from tests.support.memory_shared_budget import BudgetServer, MemorySharedBudget
from tests.support.memory_shared_rows import MemoryRowServer, MemorySharedRows
from tests.support.virtual_time import VirtualClock
from tests.system.lives import Life


class _Rows(MemorySharedRows):
    """What others send is work of this process, not of theirs."""

    def __init__(self, server: MemoryRowServer, life: Life) -> None:
        super().__init__(server)
        self._life = life

    def subscribe(
        self, on_lease_end: Callable[[SeriesKey], None], on_purge: Callable[[SeriesFilter, bytes], None]
    ) -> None:
        super().subscribe(self._life.bound(on_lease_end), self._life.bound(on_purge))


class _Bodies(MemorySharedBodies):
    def __init__(self, server: MemoryRowServer, stored: StoredBodies, life: Life) -> None:
        super().__init__(server, stored)
        self._life = life

    def subscribe(self, on_message: Callable[[str], None]) -> None:
        super().subscribe(self._life.bound(on_message))


class _Budget(MemorySharedBudget):
    def __init__(self, server: BudgetServer, family: str, replica: str, life: Life) -> None:
        super().__init__(server, family, replica)
        self._life = life

    def subscribe(self, on_gate: Callable[[int, str], None]) -> None:
        super().subscribe(self._life.bound(on_gate))


class ReplicaParts:
    """One replica's way to it, in the shape of `mdcache/stores/redis/setup.py`."""

    def __init__(self, shared: "SharedRedis", name: str, process: int, life: Life, *, returning: bool) -> None:
        self.rows = _Rows(shared.rows, life)
        self.bodies = _Bodies(shared.rows, shared.bodies, life)
        self.process = process
        self.replica = SimpleNamespace(returning=returning, keep=lambda: None)
        self.budgets = {family: _Budget(shared.budgets, family.value, name, life) for family in Family}
        self.connects: Callable[[], MemoryConnectQuota] = lambda: shared.quota
        self._shared = shared

    @property
    def troubles(self) -> tuple[str, ...]:
        return () if self._shared.up else ("redis: down; running without it on a divided budget",)

    @property
    def client(self) -> Any:
        up = self._shared.up
        return SimpleNamespace(up=up, trouble="" if up else "down", status=lambda: {"state": "ok" if up else "down"})

    def budget(self, family: Family) -> MemorySharedBudget:
        return self.budgets[family]

    def set_up(self, *, up: bool) -> None:
        for budget in self.budgets.values():
            budget.up = up


class SharedRedis:
    """The server."""

    def __init__(self, clock: VirtualClock) -> None:
        self.rows = MemoryRowServer(clock)
        self.bodies: StoredBodies = {}
        self.budgets = BudgetServer(clock.true_ms)
        self.quota = MemoryConnectQuota(clock)
        self._parts: dict[int, ReplicaParts] = {}
        self._names: dict[int, int] = {}
        self._processes = 0

    @property
    def up(self) -> bool:
        return self.rows.up

    def parts(self, number: int, life: Life, *, returning: bool) -> ReplicaParts:
        """Return a new process's way to it; `returning`: it has the folder of the last one, so the same id."""
        self._processes += 1
        known = number in self._names
        if not known or not returning:
            self._names[number] = self._processes
        found = ReplicaParts(self, f"r{self._names[number]}", self._processes, life, returning=known and returning)
        found.set_up(up=self.up)
        self._parts[number] = found
        return found

    def forget(self, number: int) -> None:
        """Cut a process off that is gone."""
        parts = self._parts.pop(number)
        parts.set_up(up=False)
        parts.rows.cut = parts.bodies.cut = True

    def stop(self) -> None:
        self._set_up(up=False)

    def start(self, *, empty: bool) -> None:
        """Start again, with what it had or without."""
        if not self.up:
            self.budgets.restart(empty=empty)
            if empty:
                self.rows.empty()
                self.bodies.clear()
        self.rows.slow_s, self.rows.drops_messages = 0.001, False
        self.budgets.drops_messages = False
        self._set_up(up=True)

    def slow(self) -> None:
        self.rows.slow_s = 0.05

    def deafen(self) -> None:
        """Lose all messages between replicas."""
        self.rows.drops_messages = self.budgets.drops_messages = True

    def _set_up(self, *, up: bool) -> None:
        self.rows.up = up
        self.quota.down = not up
        for parts in self._parts.values():
            parts.set_up(up=up)
