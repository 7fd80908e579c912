"""Several replicas before one exchange, in one process and in virtual time; what they share may fail in any way.

They share the `families` that a test names, in most only spot, which is asked: the others' heartbeats take time.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from mdcache.clock import Instant
from mdcache.errors import MdcacheError
from mdcache.events import Event, Events
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.admission import LocalAdmission
from mdcache.upstream.governor import Governor, GovernorSettings
from mdcache.upstream.replicas.shared_admission import shared_admission
from mdcache.upstream.replicas.shared_budget import Replicas
from tests.support.fake_exchange import BASE_URLS, FakeExchange, fake_read
from tests.support.memory_shared_budget import BudgetServer, MemorySharedBudget
from tests.support.virtual_time import VirtualClock, close_at_end

TRIP_S = 0.05
SERVER_AHEAD_MS = 7_200_000  # of the server's own clock
SURE_MS = 3_000


@dataclass
class GovernorReplica:
    """One process: killed, nothing of it goes on."""

    name: str
    governor: Governor
    budgets: dict[Family, MemorySharedBudget]
    events: list[Event]
    error_ms: int
    skew_ms: int
    measured: bool
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)
    runs: bool = True

    def gate(self) -> str:
        return self.governor.status()[0].gate_state

    def mode(self) -> str:
        return self.governor.sharing()["spot"].mode

    def believes(self, _family: Family, clock: VirtualClock) -> Instant:
        """The exchange's time as it knows it, whatever was measured."""
        return Instant(clock.true_ms() + self.skew_ms, self.error_ms)

    def disconnect(self, *, lose_answers: bool = False) -> None:
        for budget in self.budgets.values():
            budget.up, budget.lose_answers = lose_answers, lose_answers

    def reconnect(self) -> None:
        for budget in self.budgets.values():
            budget.up, budget.lose_answers = True, False

    def load(self, every_s: float, cost: int = 5) -> None:
        """Ask for reads all the time."""
        self.tasks.add(asyncio.create_task(self._load(every_s, cost)))

    async def read(self, cost: int = 5, within_s: float = 2.0) -> str:
        try:
            await self.governor.fetch(fake_read(within_s=within_s, cost=cost))
        except MdcacheError as error:
            self.outcomes[type(error).__name__] += 1
            return type(error).__name__
        self.outcomes["ok"] += 1
        if not self.measured:
            self.error_ms, self.skew_ms, self.measured = SURE_MS, 0, True
        return "ok"

    def measure(self, market: Market) -> None:
        """Read the time, in the background."""
        if self.error_ms > SURE_MS:
            self.tasks.add(asyncio.create_task(self._one(1)))

    async def _load(self, every_s: float, cost: int) -> None:
        while True:
            self.tasks.add(task := asyncio.create_task(self._one(cost)))
            task.add_done_callback(self.tasks.discard)
            await asyncio.sleep(every_s)

    async def _one(self, cost: int) -> None:
        await self.read(cost)

    async def kill(self) -> None:
        """Without goodbye."""
        for budget in self.budgets.values():
            budget.up = False
        await self.aclose()

    async def aclose(self) -> None:
        if not self.runs:
            return
        self.runs = False
        for task in tuple(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        with suppress(asyncio.CancelledError):
            await self.governor.aclose()


class GovernorReplicas:
    """`share` of weight in a minute for all of them together; `exchange` counts what reached it."""

    def __init__(
        self, share: int = 100, limit: int = 1_200, assumed: int = 2, families: tuple[Family, ...] = (Family.SPOT,)
    ) -> None:
        self.clock = VirtualClock()
        self.server = BudgetServer(lambda: self.clock.true_ms() + SERVER_AHEAD_MS)
        self.exchange = FakeExchange(self.clock, trip_s=TRIP_S, limit=limit)
        self.share = share
        self.assumed = assumed
        self.families = families
        self.limits = GovernorSettings(weight_share=share / limit, backoff_initial_s=1.0, backoff_max_s=60.0)
        self.names = 0
        self.transport: httpx.AsyncBaseTransport = self.exchange

    async def replica(
        self, skew_ms: int = 0, *, redis: bool = True, unmeasured: bool = False, instead: GovernorReplica | None = None
    ) -> GovernorReplica:
        """A new one; its idea of the exchange's time is wrong by `skew_ms`, and it knows by how much it may be.

        `unmeasured`: it may be a minute, until it read anything. `instead`: whose place and folder it takes.
        """
        self.names += 1
        name, events = f"r{self.names}" if instead is None else instead.name, list[Event]()
        budgets = {family: MemorySharedBudget(self.server, family.value, name) for family in self.families}
        replicas = Replicas(budgets.__getitem__, self.assumed, self.names, returning=instead is not None)
        shared = shared_admission(replicas)
        governor = Governor(
            clock=self.clock,
            rng=random.Random(self.names),
            events=Events(events.append),
            base_urls=BASE_URLS,
            settings=self.limits,
            transport=self.transport,
            admission=lambda each: (shared if each.family in budgets else LocalAdmission)(each),
        )
        if instead is not None:
            governor.restore(instead.governor.saved_state("boot"), "boot")
        error_ms = 60_000 if unmeasured else abs(skew_ms) + 1
        replica = GovernorReplica(name, governor, budgets, events, error_ms, skew_ms, measured=not unmeasured)
        clocks = governor.clocks
        clocks.family_now = lambda family: replica.believes(family, self.clock)  # type: ignore[method-assign] # in its place
        clocks.measure_in_background = replica.measure  # type: ignore[method-assign] # in its place
        if not redis:
            replica.disconnect()
        await governor.start()
        close_at_end(replica.aclose)
        return replica

    def spent(self) -> dict[int, int]:
        """What reached the exchange in each of its minutes."""
        return {minute: weight for (family, minute), weight in sorted(self.exchange.spent.items()) if family == "spot"}

    async def minutes(self, count: float) -> None:
        await self.clock.sleep(60.0 * count)

    async def second(self, number: float) -> None:
        """Go on to a second of the exchange's minute."""
        await self.clock.sleep((number * 1000 - self.exchange.now_ms()) % 60_000 / 1000)


async def two(fleet: GovernorReplicas, skews: tuple[int, int] = (0, 0)) -> tuple[GovernorReplica, GovernorReplica]:
    one, other = await fleet.replica(skews[0]), await fleet.replica(skews[1])
    return one, other
