"""The parts of a scheduler without the scheduler, in virtual time."""

import random

from mdcache.events import Event, Events
from mdcache.exchange.markets import Family
from mdcache.upstream.backoff import BackoffPolicy
from mdcache.upstream.budget import Moment
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.checkpoint import Checkpoint
from mdcache.upstream.exchange_clock import ClockSample, ExchangeClocks, TimeRead
from mdcache.upstream.family_clock import FamilyClock
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import GateEvent
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.replicas.shared_gate import GateDraft, SharedGate
from tests.support.virtual_time import VirtualClock

LEASE_MS = 10_000


class FamilyParts:
    """The parts of a family, its clock ahead of the machine's by `ahead_ms` once it is measured.

    `wall_step_ms`: how far the machine's wall is ahead.
    """

    def __init__(self, ahead_ms: float = 0.0, wall_step_ms: int = 0) -> None:
        self.clock = VirtualClock()
        self.clock.step_ms = wall_step_ms
        self.ahead_ms = ahead_ms
        self.events: list[Event] = []
        self.steps: list[tuple[GateEvent, GateState]] = []
        events = Events(self.events.append)
        self.clocks = ExchangeClocks(clock=self.clock, events=events, fetch=self._sample)
        self.time = FamilyClock(Family.SPOT, self.clocks, self.clock)
        self.saves = 0
        self.budget = BudgetKeeper(0.5, self._saved)
        policy = BackoffPolicy(initial_ms=1_000, max_ms=60_000, ramp_top=8)
        self.keeper = GateKeeper(
            Family.SPOT,
            backoff=policy,
            family_clock=self.time,
            clock=self.clock,
            rng=random.Random(1),
            events=events,
            on_change=self._saved,
            on_step=self._stepped,
        )
        self.checkpoint = Checkpoint(self.keeper, self.budget, self.time, self.clock)
        self.gate = SharedGate(self.keeper, self.clock, LEASE_MS)

    def _stepped(self, event: GateEvent, before: Gate) -> None:
        self.steps.append((event, before.state))
        self.gate.stepped(event, before, keep=True)

    def _saved(self) -> None:
        self.saves += 1

    async def _sample(self, _read: TimeRead) -> ClockSample:
        return ClockSample(self.clock.true_ms() + self.ahead_ms - self.clock.now() * 1000, 0.05, 0)

    def now(self) -> Moment:
        now = self.time.now()
        self.budget.follow(now)
        return now

    def draft(self) -> GateDraft:
        return self.gate.draft(self.keeper.gate, self.now())
