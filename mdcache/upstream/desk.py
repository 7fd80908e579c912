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
from mdcache.errors import BudgetSpent, CannotAsk, DeadlinePassed
from mdcache.events import Events, QueueWaited
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.account import Account
from mdcache.upstream.alarm import Alarm
from mdcache.upstream.budget import MINUTE_MS, Budget, Charge, Claim, Granted, Moment, Wait, earliest_ms, reserve
from mdcache.upstream.checkpoint import Checkpoint
from mdcache.upstream.claims import Claims, Pick
from mdcache.upstream.clocksync import ExchangeClocks
from mdcache.upstream.familyclock import FamilyClock
from mdcache.upstream.gate import Admission, Gate, State
from mdcache.upstream.gateevents import Sent
from mdcache.upstream.gatekeeper import Gatekeeper
from mdcache.upstream.lanes import Class, Lane, Lanes, Place
from mdcache.upstream.pauses import Policy
from mdcache.upstream.reads import Read, Reply, Wire
from mdcache.upstream.sharing import Shared, Sharing
from mdcache.upstream.tickets import Ticket

_NEVER_RETRY_S = 60.0  # a read dearer than the whole share: the next minute may have another limit


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say: the gate's ladder, our share of the limit, reads in flight for each market.

    `lease_ms`: longest that a sent read may take.
    """

    policy: Policy
    share: float
    concurrency: int
    lease_ms: int


class Desk:
    """One family's admission. `dispatch` sends a granted read; `among` is where other replicas are met."""

    def __init__(
        self,
        family: Family,
        *,
        clock: Clock,
        rng: random.Random,
        events: Events,
        clocks: ExchangeClocks,
        rules: Rules,
        dispatch: Callable[[Ticket], None],
        among: Shared | None = None,
    ) -> None:
        self.family = family
        self.lanes: Lanes[Ticket] = Lanes()
        self.in_flight: Counter[Market] = Counter()
        time = FamilyClock(family, clocks, clock)
        self.account = Account(time, clock, rules.share)
        self.gatekeeper = Gatekeeper(family, policy=rules.policy, time=time, clock=clock, rng=rng, events=events)
        self.checkpoint = Checkpoint(self.gatekeeper, self.account, clock)
        self.sharing: Sharing | None = None
        if among is not None:
            self.sharing = Sharing(
                family,
                among,
                account=self.account,
                gatekeeper=self.gatekeeper,
                clock=clock,
                lease_ms=rules.lease_ms,
                pump=self.pump,
                wake=self._wake,
            )
        self._claims = Claims(
            self.sharing,
            self.gatekeeper,
            self.account,
            grant=self._grant_claimed,
            put_back=self.lanes.restore,
            done=self.pump,
        )
        self._alarm = Alarm(clock, self.pump)
        self._clock = clock
        self._events = events
        self._concurrency = rules.concurrency
        self._dispatch = dispatch

    # --------------------------------------------------------------------------------- asking

    def submit(self, read: Read[Any]) -> Ticket:
        """Queue a read and let it through if it may go. Raises `CannotAsk` at once where it can't in time."""
        weight = read.weight()
        lane = read.turn.lane
        refusal = self.gatekeeper.refusal() or self._estimate(lane, weight, read.turn.drop_at_s)
        if refusal is not None:
            raise refusal
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        ticket = Ticket(read, future, self._clock.now())
        ticket.place = self.lanes.add(ticket, read.market, read.turn, weight)
        self.pump()
        return ticket

    def release(self, ticket: Ticket) -> None:
        """Nobody waits for this ticket any more: it gives up its place, if it still has only that."""
        if ticket.charge is None and ticket.place is not None and not ticket.place.gone:
            self._leave(ticket)
            self.pump()

    def refusal_now(self, lane: Lane, weight: int, *, paced: bool) -> CannotAsk | None:
        """Whether a read of this kind can't be asked now (DESIGN 6.5.6); spends nothing."""
        if (refusal := self.gatekeeper.refusal()) is not None:
            return refusal
        now = self.account.moment()
        match self._reserve(self.account.budget, Claim(weight, lane, paced), now):
            case Wait(for_answer=False) as wait:
                return _spent(wait, now)
            case Wait() | Granted():
                return None

    # -------------------------------------------------------------------------------- outcomes

    def settle(self, ticket: Ticket, charge: Charge, header: int | None, trip_s: float | None) -> None:
        """A read's head came after `trip_s`, with this usage header; or it ended without one."""
        usage = self.account.settle(charge, header)
        if usage is not None:
            self._claims.reported(ticket, usage)
        if trip_s is not None:
            self.account.time.took(trip_s)

    def landed(self, ticket: Ticket) -> None:
        """A granted read is over: its place among those in flight is free."""
        self.in_flight[ticket.read.market] -= 1
        self.pump()

    def aclose(self) -> None:
        """Refuse all that wait, and wake no more."""
        error = DeadlinePassed(1.0, "the daemon stops")
        self._refuse_all(error)
        self._claims.close(error)
        self._alarm.set(math.inf)

    # -------------------------------------------------------------------------------- the pump

    def pump(self) -> None:
        """Let through all that may go now, refuse what can't go in time, and set the alarm for the rest.

        Called whenever something changed: a read joined or left, an answer came, a gate moved, time passed.
        """
        self._expire()
        self.lanes.refile()
        self.account.moment()  # it may move what was spent, and does not again in this step
        wake_s = math.inf
        blocked: set[tuple[Lane, Class]] = set()
        tentative = _Tentative(self.account.budget, Counter(self.in_flight))
        while True:
            admission = self.gatekeeper.admission()
            match admission:
                case Admission.SHUT:
                    self._refuse_all(self.gatekeeper.closed_error())
                    break
                case Admission.HOLD:
                    break
                case Admission.GO | Admission.PROBE:
                    place = None if self._claims.full else self.lanes.next(blocked)
                case _:
                    assert_never(admission)
            if place is None:
                break
            if tentative.in_flight[place.market] >= self._concurrency:
                blocked |= {(lane, (place.market, paced)) for lane in Lane for paced in (True, False)}
                continue
            wake_s = min(wake_s, self._try(place, blocked, tentative))
        self._claims.ask()
        self._alarm.set(min([wake_s, *(place.turn.drop_at_s for place in self.lanes)]))

    def _wake(self) -> None:
        """Pump soon, not in this step: whoever reads an answer is not done yet."""
        self._alarm.set(self._clock.now())

    def _try(self, place: Place[Ticket], blocked: set[tuple[Lane, Class]], tentative: "_Tentative") -> float:
        """Grant the next read, or ask for it, or block its class; returns when it may fit, by our clock."""
        ticket, now = place.item, self.account.moment()
        claim = Claim(ticket.read.weight(), place.lane, place.turn.paced)
        decision = self._reserve(tentative.budget, claim, now)
        if (paused_ms := self._claims.paused_until_ms(place.lane)) > now.utc_ms and isinstance(decision, Granted):
            decision = Wait(paused_ms)
        match decision:
            case Granted() if self._claims.needed:
                self.lanes.serve(place)
                self._claims.pick(place, claim.weight)
                tentative.budget = decision.budget
                tentative.in_flight[place.market] += 1
                return math.inf
            case Granted():
                self.lanes.serve(place)
                self._grant(place, decision)
                tentative.budget = self.account.budget
                tentative.in_flight[place.market] = self.in_flight[place.market]
                return math.inf
            case Wait(earliest_ms=None):
                self._refuse(ticket, _spent(decision, now))
                return math.inf
            case Wait(earliest_ms=int(earliest), for_answer=for_answer):
                at_s = self._clock.now() + (earliest - now.utc_ms) / 1000
                if at_s > place.turn.drop_at_s:
                    self._refuse(ticket, _spent(decision, now))
                    return math.inf
                blocked.add((place.lane, place.group))
                return math.inf if for_answer else at_s
            case _:
                raise AssertionError(decision)

    def _grant_claimed(self, pick: Pick, now: Moment, after: Gate) -> bool:
        """Grant what the ledger let through, if there still is room by our own count."""
        claim = Claim(pick.weight, pick.place.lane, pick.place.turn.paced)
        decision = self._reserve(self.account.budget, claim, now)
        return isinstance(decision, Granted) and self._grant(pick.place, decision, after)

    def _grant(self, place: Place[Ticket], granted: Granted, after: Gate | None = None) -> bool:
        """Spend, seal and dispatch, in one step; returns whether it could be sealed.

        `after`: the gate once it is sent, where others know it already.
        """
        ticket = place.item
        try:
            wire = _sealed(ticket.read, granted.charge.weight)
        except Exception as error:  # noqa: BLE001 - a read's own fault goes to who waits for it, unsent
            ticket.future.set_exception(error)
            return False
        self.account.spend(granted)
        if after is None or after.state is State.OPEN:
            self.gatekeeper.step(Sent())
        else:
            self.gatekeeper.adopt(after)
        ticket.wire, ticket.charge, ticket.epoch = wire, granted.charge, self.gatekeeper.gate.epoch
        self.in_flight[ticket.read.market] += 1
        self._events.emit(QueueWaited(place.lane.value, self._clock.now() - ticket.since_s))
        self._dispatch(ticket)
        return True

    # ------------------------------------------------------------------------------- what is left to spend

    def _reserve(self, budget: Budget, claim: Claim, now: Moment) -> Granted | Wait:
        """The first check, by our own count. Alone we have a part of the share, another one in the next minute."""
        if self.sharing is None or self.sharing.shares:
            return reserve(budget, claim, now, self.gatekeeper.share_factor())
        decision = reserve(budget, claim, now, self.sharing.factor(now))
        if isinstance(decision, Wait) and decision.earliest_ms is None:
            return Wait(_next_minute_ms(now))
        return decision

    def _estimate(self, lane: Lane, weight: int, drop_at_s: float) -> BudgetSpent | None:
        """Refuse what can't be sent in time, seeing what waits before it."""
        now, budget = self.account.moment(), self.account.budget
        ahead = self.lanes.weight(lane)
        claim = Claim(weight, lane)
        if self.sharing is None or self.sharing.shares:
            earliest = earliest_ms(budget, claim, ahead, now, self.gatekeeper.share_factor())
        else:
            earliest = earliest_ms(budget, claim, ahead, now, self.sharing.factor(now)) or _next_minute_ms(now)
        if earliest is not None:
            earliest = max(earliest, self._claims.paused_until_ms(lane))
        if earliest is not None and self._clock.now() + (earliest - now.utc_ms) / 1000 <= drop_at_s:
            return None
        return _spent(Wait(earliest), now)

    # -------------------------------------------------------------------------------- who waits no more

    def _expire(self) -> None:
        now_s = self._clock.now()
        for place in self.lanes:
            if place.item.future.done():
                self._leave(place.item)
            elif place.turn.drop_at_s <= now_s:
                waited_s = now_s - place.item.since_s
                self._refuse(place.item, DeadlinePassed(1.0, f"not sent within {waited_s:.1f} s"))

    def _refuse_all(self, error: CannotAsk) -> None:
        for place in self.lanes:
            self._refuse(place.item, error)

    def _refuse(self, ticket: Ticket, error: CannotAsk) -> None:
        self._leave(ticket)
        if not ticket.future.done():
            ticket.future.set_exception(error)

    def _leave(self, ticket: Ticket) -> None:
        if ticket.place is not None:
            self.lanes.remove(ticket.place)


@dataclass(slots=True)
class _Tentative:
    """Budget and reads in flight as they will be once what is picked is sent."""

    budget: Budget
    in_flight: Counter[Market]


def _next_minute_ms(now: Moment) -> int:
    return (now.number + 1) * MINUTE_MS + now.error_ms


def _spent(wait: Wait, now: Moment) -> BudgetSpent:
    if wait.earliest_ms is None:
        return BudgetSpent(_NEVER_RETRY_S, "it weighs more than this lane may ever spend")
    return BudgetSpent(max(0.0, (wait.earliest_ms - now.utc_ms) / 1000), "the weight budget is spent")


def _sealed(read: Read[Any], weight: int) -> Wire:
    wire = read.seal()
    if wire.weight > weight:
        raise ValueError(f"{wire.path}: sealed at {wire.weight}, promised {weight}")
    return wire
