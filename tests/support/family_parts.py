"""The parts of a desk without the desk, in virtual time."""

import random

from mdcache.events import Event, Events
from mdcache.exchange.markets import Family
from mdcache.upstream.backoff import BackoffPolicy
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.checkpoint import Checkpoint
from mdcache.upstream.exchange_clock import ClockSample, ExchangeClocks, TimeRead
from mdcache.upstream.family_clock import FamilyClock
from mdcache.upstream.gate import Gate
from mdcache.upstream.gate_events import GateEvent
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.replicas.protocol import Answer
from mdcache.upstream.replicas.shared_gate import Draft, SharedGate
from tests.support.virtual_time import VirtualClock

LEASE_MS = 10_000


class FamilyParts:
    """The parts of a family, its clock ahead of the machine's by `ahead_ms` once it is measured."""

    def __init__(self, ahead_ms: float = 0.0) -> None:
        self.clock = VirtualClock()
        self.ahead_ms = ahead_ms
        self.events: list[Event] = []
        events = Events(self.events.append)
        self.clocks = ExchangeClocks(clock=self.clock, events=events, fetch=self._sample)
        self.time = FamilyClock(Family.SPOT, self.clocks, self.clock)
        self.account = BudgetKeeper(self.time, self.clock, 0.5)
        policy = BackoffPolicy(initial_ms=1_000, max_ms=60_000, ramp_top=8)
        self.keeper = GateKeeper(
            Family.SPOT, backoff=policy, family_clock=self.time, clock=self.clock, rng=random.Random(1), events=events
        )
        self.checkpoint = Checkpoint(self.keeper, self.account, self.clock)
        self.gate = SharedGate(self.keeper, self.clock, LEASE_MS)
        self.keeper.tell_steps(self._stepped)

    def _stepped(self, event: GateEvent, before: Gate) -> None:
        self.gate.stepped(event, before, keep=True)

    async def _sample(self, _read: TimeRead) -> ClockSample:
        return ClockSample(self.clock.true_ms() + self.ahead_ms - self.clock.now() * 1000, 0.05, 0)

    def draft(self) -> Draft:
        return self.gate.draft(self.keeper.gate, self.account.moment())

    def answered(self, draft: Draft, answer: Answer) -> bool:
        return self.gate.answered(draft, answer, self.account.moment())
