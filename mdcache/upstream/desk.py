"""The desk of one family: its gate, its budget, its queue, and the one pump that lets reads through.

Gate, budget and lanes decide; the desk holds their states, moves them in one step each, and acts: it grants,
refuses, and wakes itself when a decision may change by time alone. It sends nothing itself.
"""

import asyncio
import math
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, assert_never

from mdcache.clock import Clock
from mdcache.errors import BudgetSpent, CannotAsk, DeadlinePassed, GateClosed
from mdcache.events import Events, GateMoved, QueueWaited
from mdcache.exchange.limits import UNKNOWN_LIMIT
from mdcache.exchange.markets import Family, Market
from mdcache.upstream import gate as gates
from mdcache.upstream.alarm import Alarm
from mdcache.upstream.atrest import (
    Resting,
    Stamp,
    budget_to_mapping,
    doubted_gate,
    elapsed_ms,
    gate_to_mapping,
    revive,
)
from mdcache.upstream.budget import (
    MINUTE_MS,
    Budget,
    Charge,
    Claim,
    Granted,
    Moment,
    Wait,
    earliest_ms,
    rebased,
    reserve,
    settle,
)
from mdcache.upstream.gate import Admission, Gate, GateEvent, State
from mdcache.upstream.lanes import Lane, Lanes, Place
from mdcache.upstream.pauses import Policy, Reason, Refused
from mdcache.upstream.reads import Instant, Read, Reply, Wire
from mdcache.upstream.shared import SURE_MS, LedgerDown, Verdict
from mdcache.upstream.sharing import Claimed, Sharing
from mdcache.upstream.verdicts import CAUSES

_DRIFT = 10_000  # a machine's clock may be off by one in so many, and that clock is not measured again
_TOLD_ERROR_MS = 50  # two servers' clocks drift apart by less in the second between two beats
_CLOCK_STEP_MS = 250  # a correction larger than this moves what was spent along; EDGE_MS covers the rest
_TRIPS = 128
_UNTOLD, _AGAIN_MS = 3, 100  # a gate that many write: after so many claims in vain, a pause before each
_NEVER_RETRY_S = 60.0  # a read dearer than the whole share: the next minute may have another limit


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say: the gate's ladder, our share of the limit, reads in flight for each market."""

    policy: Policy
    share: float
    concurrency: int


@dataclass(slots=True, eq=False)
class Ticket:
    """A read at the desk, from the queue to its outcome. What is `None` is set when it is granted.

    `done`: weight that all replicas had an answer to by then, in the minute it was sent in.
    """

    read: Read[Any]
    future: asyncio.Future[Reply]
    since_s: float
    place: Place["Ticket"] | None = None
    wire: Wire | None = None
    charge: Charge | None = None
    epoch: int = 0
    done: int | None = None


class Desk:
    """One family's admission. `utc` tells the exchange's time, unclamped; `dispatch` sends a granted read.

    `measure` has the exchange's time learnt, behind.
    """

    def __init__(
        self,
        family: Family,
        *,
        clock: Clock,
        rng: random.Random,
        events: Events,
        utc: Callable[[], Instant],
        measure: Callable[[], None],
        rules: Rules,
        dispatch: Callable[[Ticket], None],
    ) -> None:
        self.family = family
        self.gate = Gate()
        self.budget = Budget(limit=UNKNOWN_LIMIT, share=rules.share)
        self.limit_read = False
        self.lanes: Lanes[Ticket] = Lanes()
        self.in_flight: Counter[Market] = Counter()
        self._clock = clock
        self._rng = rng
        self._events = events
        self._utc = utc
        self.measure = measure
        self._rules = rules
        self._dispatch = dispatch
        self._trips_ms: deque[int] = deque(maxlen=_TRIPS)
        self._trip_ms = 0
        self._believed: tuple[float, int] | None = None
        self._told: tuple[float, Instant] | None = None
        self._alarm = Alarm(clock, self.pump)
        self._changed: Callable[[bool], None] = lambda _moved: None
        self._revived: tuple[Gate, Resting] | None = None
        self.sharing: Sharing | None = None  # set where there are other replicas
        self._asked: list[tuple[Place[Ticket], int]] = []
        self._asking: asyncio.Task[None] | None = None
        self._untold = 0  # claims in a row that nobody looked at
        self._shared_wait_ms: dict[Lane, int] = {}

    # -------------------------------------------------------------------------------- at rest

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Have `changed` called in each step that changes what should rest: with True where the gate moved."""
        self._changed = changed

    def at_rest(self, boot: str) -> Resting:
        """Gate and budget as they should rest."""
        utc, now = self._utc(), self._stamp(boot)
        gate = gate_to_mapping(self.gate, now.now_ms, utc.ms)
        resting = Resting(now, utc.ms, min(utc.error_ms, MINUTE_MS), gate, budget_to_mapping(self.budget))
        if self._revived is not None and self.gate is self._revived[0]:  # else each start would add to its wait
            was = self._revived[1]
            past_ms = was.utc_ms + elapsed_ms(was.stamp, now)
            resting = replace(resting, utc_ms=past_ms, error_ms=was.error_ms, gate=was.gate)
        return resting

    def revive(self, resting: Resting | None, boot: str) -> None:
        """Take up what rested, before the first read; `None`: it did, and nobody can read it.

        Raises `KeyError`, `ValueError` or `TypeError` for what `at_rest` can't have given.
        """
        now = self._stamp(boot)
        if resting is None:
            self.gate = doubted_gate(now.now_ms)
            return
        self.gate, self.budget = revive(resting, now, self._utc().ms, self.budget)
        self._revived = self.gate, resting

    # --------------------------------------------------------------------------------- asking

    def submit(self, read: Read[Any]) -> Ticket:
        """Queue a read and let it through if it may go. Raises `CannotAsk` at once where it can't in time."""
        weight = read.weight()
        lane = read.turn.lane
        refusal = self._gate_refusal() or self._estimate(lane, weight, read.turn.drop_at_s)
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
        if (refusal := self._gate_refusal()) is not None:
            return refusal
        now = self.moment()
        match self._reserve(self.budget, Claim(weight, lane, paced), now):
            case Wait(for_answer=False) as wait:
                return self._spent(wait, now)
            case Wait() | Granted():
                return None

    # -------------------------------------------------------------------------------- outcomes

    def step(self, event: GateEvent) -> None:
        """Move the gate, and tell if it moved."""
        before, now_ms = self.gate, self._now_ms()
        self.gate = gates.step(before, event, now_ms, self._rules.policy)
        self._tell(before)
        if self.sharing is not None:
            self.sharing.stepped(event, before)

    def learn_limit(self, limit: int) -> None:
        """Go by what Binance states as its limit, in weight a minute."""
        self.budget, self.limit_read = replace(self.budget, limit=limit), True
        self.pump()

    def hear_time(self, time_ms: int, error_ms: int, sent_s: float) -> None:
        """Go by the time that another replica measured, for gate and budget, until it is measured here."""
        now_s = self._clock.now()
        trip_ms = math.ceil((now_s - sent_s) * 1000)
        self._told = now_s, Instant(time_ms + trip_ms // 2, error_ms + trip_ms + _TOLD_ERROR_MS)

    def hear_limit(self, limit: int) -> None:
        """Go by the limit that another replica read, until it is read here."""
        if not self.limit_read and limit != self.budget.limit:
            self.budget = replace(self.budget, limit=limit)
            self._alarm.set(self._clock.now())

    def adopt(self, gate: Gate) -> None:
        """Go by a gate that other replicas moved, from now on."""
        before, self.gate = self.gate, gate
        self._tell(before)
        self._alarm.set(self._clock.now())  # not in this step: whoever reads the answer is not done yet

    def refused(self, epoch: int, reason: Reason, stated_ms: int | None, *, body_pending: bool = False) -> None:
        """A reply closes the gate, or extends its closure, in this step."""
        utc = self._utc()
        error_ms = min(utc.error_ms, MINUTE_MS)
        self.step(
            Refused(
                epoch=epoch,
                reason=reason,
                stated_ms=stated_ms,
                next_minute_ms=MINUTE_MS - utc.ms % MINUTE_MS + error_ms,
                error_ms=error_ms,
                jitter=self._rng.random(),
                body_pending=body_pending,
            )
        )

    def dropped(self, epoch: int) -> None:
        """An attempt ended without a verdict."""
        self.step(gates.Dropped(epoch, self._rng.random()))

    def question_failed(self) -> None:
        """A question was given up after all its tries."""
        self.step(gates.QuestionFailed(self._rng.random()))
        self.pump()

    def settle(self, ticket: Ticket, charge: Charge, header: int | None, trip_s: float | None) -> None:
        """A read's head came after `trip_s`, with this usage header; or it ended without one."""
        self.budget = settle(self.budget, charge, header, self.moment())
        counted = self.budget.minute(charge.sent.number).header
        if self.sharing is not None and ticket.done is not None and header is not None and counted is not None:
            self.sharing.reported(charge.sent.number, min(header, counted), ticket.done)
        self._changed(False)  # noqa: FBT003
        if trip_s is not None:
            self._trips_ms.append(math.ceil(trip_s * 1000))
            self._trip_ms = sorted(self._trips_ms)[len(self._trips_ms) * 99 // 100]

    def landed(self, ticket: Ticket) -> None:
        """A granted read is over: its place among those in flight is free."""
        self.in_flight[ticket.read.market] -= 1
        self.pump()

    def closed_error(self) -> GateClosed:
        """The error of a question that meets the closed gate, or closed it."""
        wait_s = gates.reopens_in_ms(self.gate, self._now_ms()) / 1000
        return GateClosed(wait_s, CAUSES[self.gate.reason])

    def moment(self) -> Moment:
        """Now, for the budget; carries what was spent along if the exchange's clock was corrected."""
        now_s, utc = self._clock.now(), self._utc()
        if self._told is not None and utc.error_ms > SURE_MS:
            since_s, told = self._told
            since_ms = int((now_s - since_s) * 1000)
            utc = Instant(told.ms + since_ms, told.error_ms + since_ms // _DRIFT)
        if self._believed is not None:
            believed_ms = self._believed[1] + int((now_s - self._believed[0]) * 1000)
            if abs(utc.ms - believed_ms) > _CLOCK_STEP_MS:
                self.budget = rebased(self.budget, believed_ms, utc.ms)
        self._believed = (now_s, utc.ms)
        return Moment(utc.ms, utc.error_ms, self._trip_ms)

    def aclose(self) -> None:
        """Refuse all that wait, and wake no more."""
        self._refuse_all(DeadlinePassed(1.0, "the daemon stops"))
        for place, _ in self._asked:
            if not place.item.future.done():
                place.item.future.set_exception(DeadlinePassed(1.0, "the daemon stops"))
        if self._asking is not None:
            self._asking.cancel()
        self._alarm.set(math.inf)

    # -------------------------------------------------------------------------------- the pump

    def pump(self) -> None:
        """Let through all that may go now, refuse what can't go in time, and set the alarm for the rest.

        Called whenever something changed: a read joined or left, an answer came, a gate moved, time passed.
        """
        self._expire()
        self.lanes.refile()
        wake_s = math.inf
        blocked: set[tuple[Lane, tuple[Market, bool]]] = set()
        tentative = _Tentative(self.budget, Counter(self.in_flight))
        while True:
            admission = gates.admission(self.gate, self._now_ms())
            match admission:
                case Admission.SHUT:
                    self._refuse_all(self.closed_error())
                    break
                case Admission.HOLD:
                    break
                case Admission.GO | Admission.PROBE:
                    place = self.lanes.next(blocked) if self._asking is None else None
                case _:
                    assert_never(admission)
            if place is None or (self._asked and self.gate.state is not State.OPEN):
                break
            if tentative.in_flight[place.market] >= self._rules.concurrency:
                blocked |= {(lane, (place.market, paced)) for lane in Lane for paced in (True, False)}
                continue
            wake_s = min(wake_s, self._try(place, blocked, tentative))
        if self._asked and self._asking is None and self.sharing is not None:
            self._asking = asyncio.create_task(self._ask(self.sharing), name=f"claim of {self.family.value}")
        self._alarm.set(min([wake_s, *(place.turn.drop_at_s for place in self.lanes)]))

    def _try(
        self, place: Place[Ticket], blocked: set[tuple[Lane, tuple[Market, bool]]], tentative: "_Tentative"
    ) -> float:
        """Grant the next read, or ask for it, or block its class; returns when it may fit, by our clock."""
        ticket, now = place.item, self.moment()
        claim = Claim(ticket.read.weight(), place.lane, place.turn.paced)
        decision = self._reserve(tentative.budget, claim, now)
        if (wait_ms := self._shared_wait_ms.get(place.lane, 0)) > now.utc_ms and isinstance(decision, Granted):
            decision = Wait(wait_ms)
        match decision:
            case Granted() if self.sharing is not None and self.sharing.asks:
                self.lanes.serve(place)
                self._asked.append((place, claim.weight))
                tentative.budget = decision.budget
                tentative.in_flight[place.market] += 1
                return math.inf
            case Granted():
                self.lanes.serve(place)
                self._grant(place, decision)
                tentative.budget = self.budget
                tentative.in_flight[place.market] = self.in_flight[place.market]
                return math.inf
            case Wait(earliest_ms=None):
                self._refuse(ticket, self._spent(decision, now))
                return math.inf
            case Wait(earliest_ms=int(earliest), for_answer=for_answer):
                at_s = self._clock.now() + (earliest - now.utc_ms) / 1000
                if at_s > place.turn.drop_at_s:
                    self._refuse(ticket, self._spent(decision, now))
                    return math.inf
                blocked.add((place.lane, place.group))
                return math.inf if for_answer else at_s
            case _:
                raise AssertionError(decision)

    def _grant(self, place: Place[Ticket], granted: Granted, after: Gate | None = None) -> None:
        """Spend, seal and dispatch, in one step; `after`: the gate once it is sent, where others know it already."""
        ticket = place.item
        try:
            wire = _sealed(ticket.read, granted.charge.weight)
        except Exception as error:  # noqa: BLE001 - a read's own fault goes to who waits for it, unsent
            ticket.future.set_exception(error)
            return
        self.budget = granted.budget
        self._changed(False)  # noqa: FBT003
        if after is None or after.state is State.OPEN:
            self.step(gates.Sent())
        else:
            before, self.gate = self.gate, after
            self._tell(before)
        ticket.wire, ticket.charge, ticket.epoch = wire, granted.charge, self.gate.epoch
        self.in_flight[ticket.read.market] += 1
        self._events.emit(QueueWaited(place.lane.value, self._clock.now() - ticket.since_s))
        self._dispatch(ticket)

    # -------------------------------------------------------------------------- with other replicas

    async def _ask(self, sharing: Sharing) -> None:
        """Ask for what was picked, then grant it or put it back; without the ledger our own part decides."""
        asked, gate, minutes = self._asked, self.gate, self.moment().minutes
        claims = tuple((weight, place.lane.rank) for place, weight in asked)
        try:
            claimed = await sharing.claim(claims)
        except LedgerDown:
            claimed = Claimed((Verdict.SOON,) * len(asked), gate)
        finally:
            self._asked, self._asking = [], None
        now, written = self.moment(), claimed.after.state is not State.OPEN
        self._untold = 0 if claimed.told else self._untold + 1
        for (place, weight), verdict in zip(asked, claimed.verdicts, strict=True):
            gone = place.item.future.done()
            if verdict is Verdict.GRANTED and not gone and self._finish(place, weight, minutes, now, claimed.after):
                continue
            if verdict is Verdict.GRANTED and written:
                sharing.unsent()
            if verdict is not Verdict.GRANTED and claimed.told:
                self._shared_wait_ms[place.lane] = sharing.wait_ms(verdict, now)
            elif self._untold > _UNTOLD:
                self._shared_wait_ms[place.lane] = now.utc_ms + _AGAIN_MS
            if not gone:
                self.lanes.restore(place)
        self.pump()

    def _finish(self, place: Place[Ticket], weight: int, minutes: range, now: Moment, after: Gate) -> bool:
        """Grant what was asked for, if all is still as it was then."""
        if place.item.read.weight() > weight or not set(now.minutes) <= set(minutes):
            return False
        claim = Claim(weight, place.lane, place.turn.paced)
        decision = self._reserve(self.budget, claim, now)
        if not isinstance(decision, Granted):
            return False
        if self.sharing is not None:
            place.item.done = self.sharing.done_in(now.number)
        self._grant(place, decision, after)
        return True

    # ----------------------------------------------------------------------------------- parts

    def _reserve(self, budget: Budget, claim: Claim, now: Moment) -> Granted | Wait:
        """The first check, by our own count; alone we have our part of the share."""
        if self.sharing is None or self.sharing.shares:
            return reserve(budget, claim, now, self._factor())
        decision = reserve(budget, claim, now, self.sharing.factor(now))
        if isinstance(decision, Wait) and decision.earliest_ms is None:
            return Wait(_next_minute_ms(now))
        return decision

    def _tell(self, before: Gate) -> None:
        """Say where the gate moved to, and have it rest."""
        if _shown(self.gate) != _shown(before):
            reopens_s = gates.reopens_in_ms(self.gate, self._now_ms()) / 1000
            self._events.emit(GateMoved(self.family.value, self.gate.state.value, self.gate.reason.value, reopens_s))
            self._changed(True)  # noqa: FBT003 - it has no other parameter

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

    def _gate_refusal(self) -> GateClosed | None:
        shut = gates.admission(self.gate, self._now_ms()) is Admission.SHUT
        return self.closed_error() if shut else None

    def _estimate(self, lane: Lane, weight: int, drop_at_s: float) -> BudgetSpent | None:
        """Refuse what can't be sent in time, seeing what waits before it."""
        now = self.moment()
        ahead = self.lanes.weight(lane)
        claim = Claim(weight, lane)
        if self.sharing is None or self.sharing.shares:
            earliest = earliest_ms(self.budget, claim, ahead, now, self._factor())
        else:
            earliest = earliest_ms(self.budget, claim, ahead, now, self.sharing.factor(now)) or _next_minute_ms(now)
        if earliest is not None:
            earliest = max(earliest, self._shared_wait_ms.get(lane, 0))
        if earliest is not None and self._clock.now() + (earliest - now.utc_ms) / 1000 <= drop_at_s:
            return None
        return self._spent(Wait(earliest), now)

    def _spent(self, wait: Wait, now: Moment) -> BudgetSpent:
        if wait.earliest_ms is None:
            return BudgetSpent(_NEVER_RETRY_S, "it weighs more than this lane may ever spend")
        return BudgetSpent(max(0.0, (wait.earliest_ms - now.utc_ms) / 1000), "the weight budget is spent")

    def _factor(self) -> float:
        return gates.share_factor(self.gate, self._now_ms())

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)

    def _stamp(self, boot: str) -> Stamp:
        return Stamp(boot, self._now_ms(), self._clock.wall_ms())


@dataclass(slots=True)
class _Tentative:
    """Budget and reads in flight as they will be once what is picked is sent."""

    budget: Budget
    in_flight: Counter[Market]


def _next_minute_ms(now: Moment) -> int:
    return (now.number + 1) * MINUTE_MS + now.error_ms


def _sealed(read: Read[Any], weight: int) -> Wire:
    wire = read.seal()
    if wire.weight > weight:
        raise ValueError(f"{wire.path}: sealed at {wire.weight}, promised {weight}")
    return wire


def _shown(gate: Gate) -> tuple[object, ...]:
    return gate.state, gate.reason, gate.until_ms
