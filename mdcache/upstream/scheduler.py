"""The desk of one family: its queue, and the one pump that lets reads through.

Gate, budget and lanes decide; gatekeeper and account hold where they stand. The desk puts their decisions together
and acts: it grants, refuses, and wakes itself when a decision may change by time alone. It sends nothing itself.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

from mdcache.clock import Clock
from mdcache.errors import BudgetSpent, DeadlinePassed, UpstreamUnavailable
from mdcache.events import Events, QueueWaited
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.backoff import BackoffPolicy
from mdcache.upstream.budget import MINUTE_MS, Budget, Claim, Granted, Moment, Reservation, Wait, earliest_ms, reserve
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.checkpoint import Checkpoint
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.family_clock import FamilyClock
from mdcache.upstream.gate import Gate, GateDecision, GateState
from mdcache.upstream.gate_events import Sent
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.models import Fetchable, UpstreamReply, UpstreamRequest
from mdcache.upstream.queue import Lane, QueueEntry, ReadClass, ReadQueue
from mdcache.upstream.queued_read import QueuedRead
from mdcache.upstream.replicas.claims import Claims, Pick
from mdcache.upstream.replicas.shared_budget import Shared, Sharing
from mdcache.upstream.timer import Timer

_NEVER_RETRY_S = 60.0  # a read dearer than the whole share: the next minute may have another limit


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """What the settings say: the gate's ladder, our share of the limit, reads in flight for each market.

    `lease_ms`: longest that a sent read may take.
    """

    backoff: BackoffPolicy
    share: float
    concurrency: int
    lease_ms: int


class FamilyScheduler:
    """One family's admission. `dispatch` sends a granted read; `among` is where other replicas are met."""

    def __init__(
        self,
        family: Family,
        *,
        clock: Clock,
        rng: random.Random,
        events: Events,
        clocks: ExchangeClocks,
        settings: SchedulerSettings,
        send: Callable[[QueuedRead], None],
        among: Shared | None = None,
    ) -> None:
        self.family = family
        self.queue: ReadQueue[QueuedRead] = ReadQueue()
        self.in_flight: Counter[Market] = Counter()
        time = FamilyClock(family, clocks, clock)
        self.budget_keeper = BudgetKeeper(time, clock, settings.share)
        self.gate_keeper = GateKeeper(
            family, backoff=settings.backoff, family_clock=time, clock=clock, rng=rng, events=events
        )
        self.checkpoint = Checkpoint(self.gate_keeper, self.budget_keeper, clock)
        self.sharing: Sharing | None = None
        if among is not None:
            self.sharing = Sharing(
                family,
                among,
                account=self.budget_keeper,
                gatekeeper=self.gate_keeper,
                clock=clock,
                lease_ms=settings.lease_ms,
                pump=self.pump,
                wake=self._wake,
            )
        self._claims = Claims(
            self.sharing,
            self.gate_keeper,
            self.budget_keeper,
            grant=self._grant_claimed,
            put_back=self.queue.put_back,
            done=self.pump,
        )
        self._timer = Timer(clock, self.pump)
        self._clock = clock
        self._events = events
        self._concurrency = settings.concurrency
        self._send = send

    # --------------------------------------------------------------------------------- asking

    def submit(self, read: Fetchable[Any]) -> QueuedRead:
        """Queue a read and let it through if it may go. Raises `UpstreamUnavailable` at once where it can't in time."""
        weight = read.weight()
        lane = read.priority.lane
        refusal = self.gate_keeper.refusal() or self._refuse_if_late(lane, weight, read.priority.deadline_s)
        if refusal is not None:
            raise refusal
        future: asyncio.Future[UpstreamReply] = asyncio.get_running_loop().create_future()
        ticket = QueuedRead(read, future, self._clock.now())
        ticket.entry = self.queue.add(ticket, read.market, read.priority, weight)
        self.pump()
        return ticket

    def abandon(self, queued: QueuedRead) -> None:
        """Nobody waits for this ticket any more: it gives up its place, if it still has only that."""
        if queued.reservation is None and queued.entry is not None and not queued.entry.removed:
            self._remove(queued)
            self.pump()

    def refusal_now(self, lane: Lane, weight: int, *, paced: bool) -> UpstreamUnavailable | None:
        """Whether a read of this kind can't be asked now (docs/design.md#cannot-ask); spends nothing."""
        if (refusal := self.gate_keeper.refusal()) is not None:
            return refusal
        now = self.budget_keeper.moment()
        match self._reserve(self.budget_keeper.budget, Claim(weight, lane, paced), now):
            case Wait(for_answer=False) as wait:
                return _budget_spent(wait, now)
            case Wait() | Granted():
                return None

    # -------------------------------------------------------------------------------- outcomes

    def settle(
        self, queued: QueuedRead, reservation: Reservation, header: int | None, round_trip_s: float | None
    ) -> None:
        """A read's head came after `trip_s`, with this usage header; or it ended without one."""
        usage = self.budget_keeper.settle(reservation, header)
        if usage is not None:
            self._claims.reported(queued, usage)
        if round_trip_s is not None:
            self.budget_keeper.family_clock.record_round_trip(round_trip_s)

    def finished(self, queued: QueuedRead) -> None:
        """A granted read is over: its place among those in flight is free."""
        self.in_flight[queued.read.market] -= 1
        self.pump()

    def aclose(self) -> None:
        """Refuse all that wait, and wake no more."""
        error = DeadlinePassed(1.0, "the daemon stops")
        self._refuse_all(error)
        self._claims.close(error)
        self._timer.set(math.inf)

    # -------------------------------------------------------------------------------- the pump

    def pump(self) -> None:
        """Let through all that may go now, refuse what can't go in time, and set the alarm for the rest.

        Called whenever something changed: a read joined or left, an answer came, a gate moved, time passed.
        """
        self._expire()
        self.queue.reorder()
        self.budget_keeper.moment()  # it may move what was spent, and does not again in this step
        wake_s = math.inf
        blocked: set[tuple[Lane, ReadClass]] = set()
        tentative = _Tentative(self.budget_keeper.budget, Counter(self.in_flight))
        while True:
            admission = self.gate_keeper.decision()
            match admission:
                case GateDecision.SHUT:
                    self._refuse_all(self.gate_keeper.closed_error())
                    break
                case GateDecision.HOLD:
                    break
                case GateDecision.GO | GateDecision.PROBE:
                    place = None if self._claims.full else self.queue.peek(blocked)
                case _:
                    assert_never(admission)
            if place is None:
                break
            if tentative.in_flight[place.market] >= self._concurrency:
                blocked |= {(lane, (place.market, paced)) for lane in Lane for paced in (True, False)}
                continue
            wake_s = min(wake_s, self._try(place, blocked, tentative))
        self._claims.ask()
        self._timer.set(min([wake_s, *(place.priority.deadline_s for place in self.queue)]))

    def _wake(self) -> None:
        """Pump soon, not in this step: whoever reads an answer is not done yet."""
        self._timer.set(self._clock.now())

    def _try(
        self, place: QueueEntry[QueuedRead], blocked: set[tuple[Lane, ReadClass]], tentative: "_Tentative"
    ) -> float:
        """Grant the next read, or ask for it, or block its class; returns when it may fit, by our clock."""
        ticket, now = place.item, self.budget_keeper.moment()
        claim = Claim(ticket.read.weight(), place.lane, place.priority.paced)
        decision = self._reserve(tentative.budget, claim, now)
        if (paused_ms := self._claims.paused_until_ms(place.lane)) > now.utc_ms and isinstance(decision, Granted):
            decision = Wait(paused_ms)
        match decision:
            case Granted() if self._claims.needed:
                self.queue.take(place)
                self._claims.pick(place, claim.weight)
                tentative.budget = decision.budget
                tentative.in_flight[place.market] += 1
                return math.inf
            case Granted():
                self.queue.take(place)
                self._grant(place, decision)
                tentative.budget = self.budget_keeper.budget
                tentative.in_flight[place.market] = self.in_flight[place.market]
                return math.inf
            case Wait(earliest_ms=None):
                self._refuse(ticket, _budget_spent(decision, now))
                return math.inf
            case Wait(earliest_ms=int(earliest), for_answer=for_answer):
                at_s = self._clock.now() + (earliest - now.utc_ms) / 1000
                if at_s > place.priority.deadline_s:
                    self._refuse(ticket, _budget_spent(decision, now))
                    return math.inf
                blocked.add((place.lane, place.read_class))
                return math.inf if for_answer else at_s
            case _:
                raise AssertionError(decision)

    def _grant_claimed(self, pick: Pick, now: Moment, after: Gate) -> bool:
        """Grant what the ledger let through, if there still is room by our own count."""
        claim = Claim(pick.weight, pick.place.lane, pick.place.priority.paced)
        decision = self._reserve(self.budget_keeper.budget, claim, now)
        return isinstance(decision, Granted) and self._grant(pick.place, decision, after)

    def _grant(self, place: QueueEntry[QueuedRead], granted: Granted, after: Gate | None = None) -> bool:
        """Spend, seal and dispatch, in one step; returns whether it could be sealed.

        `after`: the gate once it is sent, where others know it already.
        """
        ticket = place.item
        try:
            wire = _build_request(ticket.read, granted.reservation.weight)
        except Exception as error:  # noqa: BLE001 - a read's own fault goes to who waits for it, unsent
            ticket.future.set_exception(error)
            return False
        self.budget_keeper.spend(granted)
        if after is None or after.state is GateState.OPEN:
            self.gate_keeper.step(Sent())
        else:
            self.gate_keeper.adopt(after)
        ticket.request, ticket.reservation, ticket.epoch = wire, granted.reservation, self.gate_keeper.gate.epoch
        self.in_flight[ticket.read.market] += 1
        self._events.emit(QueueWaited(place.lane.value, self._clock.now() - ticket.queued_at_s))
        self._send(ticket)
        return True

    # ------------------------------------------------------------------------------- what is left to spend

    def _reserve(self, budget: Budget, claim: Claim, now: Moment) -> Granted | Wait:
        """The first check, by our own count. Alone we have a part of the share, another one in the next minute."""
        if self.sharing is None or self.sharing.shares:
            return reserve(budget, claim, now, self.gate_keeper.share_factor())
        decision = reserve(budget, claim, now, self.sharing.factor(now))
        if isinstance(decision, Wait) and decision.earliest_ms is None:
            return Wait(_next_minute_ms(now))
        return decision

    def _refuse_if_late(self, lane: Lane, weight: int, drop_at_s: float) -> BudgetSpent | None:
        """Refuse what can't be sent in time, seeing what waits before it."""
        now, budget = self.budget_keeper.moment(), self.budget_keeper.budget
        ahead = self.queue.weight(lane)
        claim = Claim(weight, lane)
        if self.sharing is None or self.sharing.shares:
            earliest = earliest_ms(budget, claim, ahead, now, self.gate_keeper.share_factor())
        else:
            earliest = earliest_ms(budget, claim, ahead, now, self.sharing.factor(now)) or _next_minute_ms(now)
        if earliest is not None:
            earliest = max(earliest, self._claims.paused_until_ms(lane))
        if earliest is not None and self._clock.now() + (earliest - now.utc_ms) / 1000 <= drop_at_s:
            return None
        return _budget_spent(Wait(earliest), now)

    # -------------------------------------------------------------------------------- who waits no more

    def _expire(self) -> None:
        now_s = self._clock.now()
        for place in self.queue:
            if place.item.future.done():
                self._remove(place.item)
            elif place.priority.deadline_s <= now_s:
                waited_s = now_s - place.item.queued_at_s
                self._refuse(place.item, DeadlinePassed(1.0, f"not sent within {waited_s:.1f} s"))

    def _refuse_all(self, error: UpstreamUnavailable) -> None:
        for place in self.queue:
            self._refuse(place.item, error)

    def _refuse(self, queued: QueuedRead, error: UpstreamUnavailable) -> None:
        self._remove(queued)
        if not queued.future.done():
            queued.future.set_exception(error)

    def _remove(self, queued: QueuedRead) -> None:
        if queued.entry is not None:
            self.queue.remove(queued.entry)


@dataclass(slots=True)
class _Tentative:
    """Budget and reads in flight as they will be once what is picked is sent."""

    budget: Budget
    in_flight: Counter[Market]


def _next_minute_ms(now: Moment) -> int:
    return (now.number + 1) * MINUTE_MS + now.error_ms


def _budget_spent(wait: Wait, now: Moment) -> BudgetSpent:
    if wait.earliest_ms is None:
        return BudgetSpent(_NEVER_RETRY_S, "it weighs more than this lane may ever spend")
    return BudgetSpent(max(0.0, (wait.earliest_ms - now.utc_ms) / 1000), "the weight budget is spent")


def _build_request(read: Fetchable[Any], weight: int) -> UpstreamRequest:
    wire = read.build_request()
    if wire.weight > weight:
        raise ValueError(f"{wire.path}: sealed at {wire.weight}, promised {weight}")
    return wire
