"""The parts of a desk without the desk, in virtual time."""

import random

from mdcache.events import Event, Events
from mdcache.exchange.markets import Family
from mdcache.upstream.account import Account
from mdcache.upstream.checkpoint import Checkpoint
from mdcache.upstream.clocksync import ExchangeClocks, Sample, TimeRead
from mdcache.upstream.familyclock import FamilyClock
from mdcache.upstream.gate import Gate
from mdcache.upstream.gateevents import GateEvent
from mdcache.upstream.gatekeeper import Gatekeeper
from mdcache.upstream.pauses import Policy
from mdcache.upstream.shared import Answer
from mdcache.upstream.sharedgate import Draft, SharedGate
from tests.world.loop import FakeClock

LEASE_MS = 10_000


class Parts:
    """The parts of a family, its clock ahead of the machine's by `ahead_ms` once it is measured."""

    def __init__(self, ahead_ms: float = 0.0) -> None:
        self.clock = FakeClock()
        self.ahead_ms = ahead_ms
        self.events: list[Event] = []
        events = Events(self.events.append)
        self.clocks = ExchangeClocks(clock=self.clock, events=events, ask=self._sample)
        self.time = FamilyClock(Family.SPOT, self.clocks, self.clock)
        self.account = Account(self.time, self.clock, 0.5)
        policy = Policy(initial_ms=1_000, max_ms=60_000, ramp_top=8)
        self.keeper = Gatekeeper(
            Family.SPOT, policy=policy, time=self.time, clock=self.clock, rng=random.Random(1), events=events
        )
        self.checkpoint = Checkpoint(self.keeper, self.account, self.clock)
        self.gate = SharedGate(self.keeper, self.clock, LEASE_MS)
        self.keeper.tell_steps(self._stepped)

    def _stepped(self, event: GateEvent, before: Gate) -> None:
        self.gate.stepped(event, before, keep=True)

    async def _sample(self, _read: TimeRead) -> Sample:
        return Sample(self.clock.true_ms() + self.ahead_ms - self.clock.now() * 1000, 0.05, 0)

    def draft(self) -> Draft:
        return self.gate.draft(self.keeper.gate, self.account.moment())

    def answered(self, draft: Draft, answer: Answer) -> bool:
        return self.gate.answered(draft, answer, self.account.moment())
