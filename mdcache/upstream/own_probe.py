"""The daemon's own probe: one cheap read once a closed gate may be tested and no client asks.

A daemon that says it is not ready gets no questions from a balancer, so it must not wait for one to probe with.
Rule: docs/design.md#own-probe.
"""

import asyncio
import itertools
import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mdcache.background_work import cancel_all
from mdcache.clock import Clock
from mdcache.errors import MdcacheError
from mdcache.events import ReadReason
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.exchange_clock import TimeRead
from mdcache.upstream.gate import GateDecision, GateState
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.priority import Lane, Priority
from mdcache.upstream.timer import Timer

UNASKED_S = 1.0  # docs/design.md#own-probe: for so long a question may come and be the probe
JITTER_S = 1.0  # replicas must not all probe at once where they can't reach each other
_DEADLINE_S = 8.0  # for it to be sent


class OwnProbe:
    """One family's own probe, once it is started. `send`: sends a read once, when the gate and the budget allow it.

    The markets of a family take turns: one of them may have no upstream.
    """

    def __init__(
        self,
        family: Family,
        *,
        gate_keeper: GateKeeper,
        clock: Clock,
        rng: random.Random,
        send: Callable[[TimeRead], Awaitable[object]],
    ) -> None:
        self._gate_keeper = gate_keeper
        self._clock = clock
        self._rng = rng
        self._send = send
        self._markets = itertools.cycle(market for market in Market if market.family is family)
        self._timer = Timer(clock, self._probe_if_due)
        self._started = False
        self._epoch = -1
        self._jitter_s = 0.0
        self._not_before_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Probe by itself from now on."""
        self._started = True
        self.follow()

    def follow(self) -> None:
        """Set its time by the gate; called whenever that may have changed."""
        gate = self._gate_keeper.gate
        if not self._started or gate.state is not GateState.CLOSED:
            self._timer.set(math.inf)
            return
        if gate.epoch != self._epoch:
            self._epoch, self._jitter_s = gate.epoch, JITTER_S * self._rng.random()
        self._timer.set(max(gate.until_ms / 1000, self._not_before_s) + UNASKED_S + self._jitter_s)

    async def aclose(self) -> None:
        """Probe no more."""
        self._started = False
        self._timer.set(math.inf)
        await cancel_all(self._task)

    def _probe_if_due(self) -> None:
        if self._task is None and self._gate_keeper.decision() is GateDecision.PROBE:
            self._task = asyncio.create_task(self._probe(), name="own probe")
        else:
            self.follow()

    async def _probe(self) -> None:
        deadline_s = self._clock.now() + _DEADLINE_S
        read = TimeRead(next(self._markets), Priority(Lane.HIGH, deadline_s), reason=ReadReason.PROBE)
        try:
            with suppress(MdcacheError):  # the gate and the events tell what came of it
                await self._send(read)
        finally:
            self._task, self._not_before_s = None, self._clock.now()
            self.follow()
