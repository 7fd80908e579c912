"""The scheduler of one family: its queue, and the pump that decides which reads are sent.

Gate, budget and queue decide; gate keeper and budget keeper hold their state. The scheduler combines their decisions:
it grants, refuses, and sets a timer for decisions that may change by time alone. `sender` sends.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from mdcache.clock import Clock
from mdcache.errors import BudgetSpent, DeadlinePassed, UpstreamUnavailable
from mdcache.events import Events, QueueWaited
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.admission import AdmissionContext, AdmissionFactory
from mdcache.upstream.backoff import BackoffPolicy
from mdcache.upstream.budget import MINUTE_MS, Claim, Granted, Minute, Moment, Reservation, Wait, earliest_ms, reserve
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.checkpoint import Checkpoint
from mdcache.upstream.exchange_clock import ExchangeClocks, TimeRead
from mdcache.upstream.family_clock import FamilyClock
from mdcache.upstream.gate import Gate, GateDecision
from mdcache.upstream.gate_events import GateEvent
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.models import Fetchable, UpstreamRequest
from mdcache.upstream.own_probe import OwnProbe
from mdcache.upstream.priority import Lane
from mdcache.upstream.queue import QueuedRead, ReadClass, ReadQueue
from mdcache.upstream.shortage import Shortage
from mdcache.upstream.timer import Timer

_NEVER_RETRY_S = 60.0  # a read that weighs more than the whole share: the next minute may have another limit


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Settings: the gate's backoff, our share of the limit, reads in flight for each market.

    `lease_ms`: the longest time that a sent read may take. `admission`: makes the family's admission.
    """

    backoff: BackoffPolicy
    share: float
    concurrency: int
    lease_ms: int
    admission: AdmissionFactory


class OnChange(Protocol):
    """Called in each step that changes what should be saved."""

    def __call__(self, *, gate: bool) -> None:
        """Note a change; `gate`: of a gate."""


class FamilyScheduler:
    """One family's queue and pump. `send` sends a granted read."""

    def __init__(
        self,
        family: Family,
        *,
        clock: Clock,
        rng: random.Random,
        events: Events,
        clocks: ExchangeClocks,
        settings: SchedulerSettings,
        send: Callable[["FamilyScheduler", QueuedRead], None],
        on_change: OnChange,
    ) -> None:
        self.family = family
        self.queue = ReadQueue()
        self.in_flight: Counter[Market] = Counter()
        self.shortage = Shortage(family, events)
        self._clock = clock
        self._events = events
        self._concurrency = settings.concurrency
        self._send = send
        self._timer = Timer(clock, self.pump)
        self._family_clock = FamilyClock(family, clocks, clock)
        self.budget_keeper = BudgetKeeper(settings.share, on_change=lambda: on_change(gate=False))
        self.gate_keeper = GateKeeper(
            family,
            backoff=settings.backoff,
            family_clock=self._family_clock,
            clock=clock,
            rng=rng,
            events=events,
            on_change=lambda: on_change(gate=True),
            on_step=self._gate_stepped,
        )
        self.checkpoint = Checkpoint(self.gate_keeper, self.budget_keeper, self._family_clock, clock)
        self._own_probe = OwnProbe(family, gate_keeper=self.gate_keeper, clock=clock, rng=rng, send=self._send_once)
        self.admission = settings.admission(
            AdmissionContext(
                family=family,
                clock=clock,
                events=events,
                family_clock=self._family_clock,
                budget_keeper=self.budget_keeper,
                gate_keeper=self.gate_keeper,
                lease_ms=settings.lease_ms,
                now=self.now,
                pump=self.pump,
                wake=self._wake,
            )
        )

    async def start(self) -> None:
        """Connect to the other replicas, if there are any, and probe without being asked from now on."""
        await self.admission.start()
        self._own_probe.start()

    def now(self) -> Moment:
        """Return the exchange's time, after moving the budget with the clock's corrections."""
        now = self._family_clock.now()
        self.budget_keeper.follow(now)
        return now

    def this_minute(self) -> Minute:
        """Return what was spent in the most likely current minute."""
        number = self.now().number  # called first: it may move what was spent
        return self.budget_keeper.budget.minute(number)

    # --------------------------------------------------------------------------------- asking

    def submit(self, read: Fetchable[Any]) -> QueuedRead:
        """Queue a read, and send it at once if it may be.

        Raises:
            UpstreamUnavailable: it can't be sent in time.
        """
        queued = QueuedRead(
            read, asyncio.get_running_loop().create_future(), queued_at_s=self._clock.now(), weight=read.weight()
        )
        now = self.now()
        refusal: UpstreamUnavailable | None = self.gate_keeper.refusal()
        if refusal is None and (len(self.queue) or self.in_flight[queued.market] >= self._concurrency):
            refusal = self._refuse_if_late(queued, now)  # with nothing before it, the pump decides below
        if refusal is not None:
            raise refusal
        self.queue.add(queued)
        self._pump(now)
        return queued

    def abandon(self, queued: QueuedRead) -> None:
        """Remove a read that no caller waits for any more, if it was not sent yet."""
        if queued.reservation is None and not queued.removed:
            self.queue.remove(queued)
            self.pump()

    def refusal_now(self, lane: Lane, weight: int, *, paced: bool) -> UpstreamUnavailable | None:
        """Return why a read of this kind can't be sent now (docs/design.md#cannot-ask), if so; spend nothing."""
        if (refusal := self.gate_keeper.refusal()) is not None:
            return refusal
        now = self.now()
        match self._reserve(Claim(weight, lane, paced), now):
            case Wait(for_answer=False) as wait:
                return self._spent(wait, lane, now)
            case Wait() | Granted():
                return None

    async def _send_once(self, read: TimeRead) -> None:
        """Send a read without retries, and wait for its end."""
        queued = self.submit(read)
        try:
            await queued.future
        finally:
            self.abandon(queued)

    # -------------------------------------------------------------------------------- outcomes

    def settle(self, reservation: Reservation, header: int | None, round_trip_s: float | None) -> None:
        """Record the head of a read's reply, with its usage header, or the read's end without one."""
        self.budget_keeper.settle(reservation, header, self.now())
        if round_trip_s is not None:
            self._family_clock.record_round_trip(round_trip_s)

    def finished(self, queued: QueuedRead) -> None:
        """Release the concurrency slot of a read that has ended."""
        self.in_flight[queued.market] -= 1
        self.pump()

    async def aclose(self) -> None:
        """Stop the own probe, refuse all waiting reads, and stop the timer."""
        await self._own_probe.aclose()
        self._refuse_all(DeadlinePassed(1.0, "the daemon is stopping"))
        self._timer.set(math.inf)

    # -------------------------------------------------------------------------------- the pump

    def pump(self) -> None:
        """Send all reads that may be sent now, refuse those that can't be in time, and set the timer for the rest.

        Called whenever something changed: a read was added or removed, an answer arrived, a gate changed, time passed.
        """
        self._pump(self.now())

    def _pump(self, now: Moment) -> None:
        self._expire(now)
        self.queue.reorder()
        wake_s = math.inf
        blocked: set[tuple[Lane, ReadClass]] = set()
        while True:
            decision = self.gate_keeper.decision()
            match decision:
                case GateDecision.SHUT:
                    self._refuse_all(self.gate_keeper.closed_error())
                    break
                case GateDecision.HOLD:
                    break
                case GateDecision.GO | GateDecision.PROBE:
                    queued = self.queue.peek(blocked)
                case _:
                    assert_never(decision)
            if queued is None:
                break
            if self.in_flight[queued.market] >= self._concurrency:
                blocked |= {(lane, (queued.market, paced)) for lane in Lane for paced in (True, False)}
                continue
            wake_s = min(wake_s, self._try(queued, blocked, now))
        self._timer.set(min([wake_s, *(queued.priority.deadline_s for queued in self.queue)]))
        self._own_probe.follow()

    def _wake(self) -> None:
        """Pump soon, but not in this step: the code that handles an answer has not finished."""
        self._timer.set(self._clock.now())

    def _gate_stepped(self, event: GateEvent, before: Gate) -> None:
        self.admission.gate_stepped(event, before)

    def _try(self, queued: QueuedRead, blocked: set[tuple[Lane, ReadClass]], now: Moment) -> float:
        """Grant the next read, or block its class; return by our clock when it may fit."""
        claim = Claim(queued.read.weight(), queued.lane, queued.priority.paced)
        decision = self._reserve(claim, now)
        if isinstance(decision, Granted):
            decision = self.admission.admit(claim.weight, claim.lane, now) or decision
        match decision:
            case Granted():
                self.queue.take(queued)
                self._grant(queued, decision)
                return math.inf
            case Wait(earliest_ms=None):
                self._refuse(queued, self._spent(decision, queued.lane, now))
                return math.inf
            case Wait(earliest_ms=int(earliest), for_answer=for_answer):
                at_s = now.local_s + (earliest - now.utc_ms) / 1000
                if at_s > queued.priority.deadline_s:
                    self._refuse(queued, self._spent(decision, queued.lane, now))
                    return math.inf
                blocked.add((queued.lane, queued.read_class))
                return math.inf if for_answer else at_s
            case _:
                raise AssertionError(decision)

    def _grant(self, queued: QueuedRead, granted: Granted) -> None:
        """Spend the weight, build the request and send it, in one step."""
        try:
            request = _build_request(queued.read, granted.reservation.weight)
        except Exception as error:  # noqa: BLE001 - a fault of the read itself is raised to its waiters
            queued.future.set_exception(error)
            return
        self.budget_keeper.spend(granted)
        self.admission.record_send()
        queued.request, queued.reservation = request, granted.reservation
        queued.epoch = self.gate_keeper.gate.epoch
        self.in_flight[queued.market] += 1
        self._events.emit(QueueWaited(queued.lane.value, self._clock.now() - queued.queued_at_s))
        self._send(self, queued)

    # ------------------------------------------------------------------------------- what is left to spend

    def _reserve(self, claim: Claim, now: Moment) -> Granted | Wait:
        """Decide by our own count. With only a part of the share, the part may be larger in the next minute."""
        share = self.admission.share(now)
        decision = reserve(self.budget_keeper.budget, claim, now, share)
        if isinstance(decision, Wait) and decision.earliest_ms is None and share < self.gate_keeper.share_factor():
            return Wait(_next_minute_ms(now))
        return decision

    def _refuse_if_late(self, queued: QueuedRead, now: Moment) -> BudgetSpent | None:
        """Return an error if it can't be sent in time, considering what waits before it."""
        lane, share = queued.lane, self.admission.share(now)
        earliest = earliest_ms(
            self.budget_keeper.budget, Claim(queued.weight, lane), self.queue.weight(lane), now, share
        )
        if earliest is None and share < self.gate_keeper.share_factor():
            earliest = _next_minute_ms(now)
        if earliest is not None:
            earliest = max(earliest, self.admission.paused_until_ms(lane, now))
        in_time = earliest is not None and now.local_s + (earliest - now.utc_ms) / 1000 <= queued.priority.deadline_s
        return None if in_time else self._spent(Wait(earliest), lane, now)

    def _spent(self, wait: Wait, lane: Lane, now: Moment) -> BudgetSpent:
        if wait.earliest_ms is None:
            return BudgetSpent(_NEVER_RETRY_S, "it weighs more than this lane may ever spend")
        wait_s = max(0.0, (wait.earliest_ms - now.utc_ms) / 1000)
        return self.shortage.record(BudgetSpent(wait_s, "the weight budget is spent"), lane, now.number)

    # -------------------------------------------------------------------------------- reads that wait no more

    def _expire(self, now: Moment) -> None:
        for queued in self.queue:
            if queued.future.done():
                self.queue.remove(queued)
            elif queued.priority.deadline_s <= now.local_s:
                waited_s = now.local_s - queued.queued_at_s
                self._refuse(queued, DeadlinePassed(1.0, f"not sent within {waited_s:.1f} s"))

    def _refuse_all(self, error: UpstreamUnavailable) -> None:
        for queued in self.queue:
            self._refuse(queued, error)

    def _refuse(self, queued: QueuedRead, error: UpstreamUnavailable) -> None:
        self.queue.remove(queued)
        if not queued.future.done():
            queued.future.set_exception(error)


def _next_minute_ms(now: Moment) -> int:
    return (now.number + 1) * MINUTE_MS + now.error_ms


def _build_request(read: Fetchable[Any], weight: int) -> UpstreamRequest:
    request = read.build_request()
    if request.weight > weight:
        raise ValueError(f"{request.path}: sealed at {request.weight}, promised {weight}")
    return request
