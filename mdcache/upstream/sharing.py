"""A desk's dealings with the other replicas: it tells and asks the ledger, and says what the desk may do without it.

The rules are in `shared`; this holds their state for one family, keeps the beat, and carries the gate both ways.
"""

import asyncio
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from mdcache.clock import Clock
from mdcache.upstream import shared
from mdcache.upstream.atrest import gate_from_mapping, gate_to_mapping
from mdcache.upstream.budget import ADDRESS_CAP, MINUTE_MS, Budget, Minute, Moment
from mdcache.upstream.gate import Dropped, Gate, GateEvent, Sent, State, share_factor, step
from mdcache.upstream.pauses import Policy
from mdcache.upstream.shared import WHOLE, Answer, Ask, Ledger, LedgerDown, Tally, Verdict

_BEAT_S = 1.0
_PEERS_A_BEAT = 50  # with more, each beats less often
_SOON_MS = 500
_ALONE_AFTER = 2  # messages without an answer: one may be lost, or this process have stood still
_MOST_TRIES = 8  # to write a gate that others write too; the next beat goes on
_MOST_PENDING = 100
_KNOWN_S = 3.0  # after so long in touch, all others have counted this one
_MOST_MINUTES = 2  # with more, its clock is not measured yet, and the first of them may be over: no ration to go on by


@dataclass(frozen=True, slots=True)
class Terms:
    """`assumed`: replicas there are where the ledger was never seen; `lease_ms`: longest that a sent read may take.

    `instead`: names of those that ran in this one's place before; `met`: to be called when others know of this one.
    """

    assumed: int
    instead: tuple[str, ...]
    met: Callable[[], None]
    lease_ms: int
    policy: Policy


class Host(Protocol):
    """The desk, as far as it is needed here."""

    gate: Gate
    budget: Budget
    limit_read: bool

    def moment(self) -> Moment:
        """Now, by the exchange's clock."""
        ...

    def adopt(self, gate: Gate) -> None:
        """Go by this gate from now on."""
        ...

    def measure(self) -> None:
        """Learn the exchange's time, behind."""
        ...

    def hear_time(self, time_ms: int, error_ms: int, sent_s: float) -> None:
        """Go by the exchange's time as others know it, until it is measured here; the question left at `sent_s`."""
        ...

    def hear_limit(self, limit: int) -> None:
        """Go by Binance's limit as others read it, until it is read here."""
        ...

    def step(self, event: GateEvent) -> None:
        """Move the gate."""
        ...

    def pump(self) -> None:
        """Look again at who may go."""
        ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the ledger said of each claim, and the gate once what it granted is sent.

    `told`: whether it looked at them; else the gate moved, and they are to be asked for again, or not.
    """

    verdicts: tuple[Verdict, ...]
    after: Gate
    told: bool = False


@dataclass(frozen=True, slots=True)
class SharingStatus:
    """`mode`: shared, or divided; `part`: of the share, ours while divided; `total`: spent by all in this minute."""

    mode: str
    replicas: int
    part: float
    total: int | None


class Sharing:
    """One family's share in what all replicas may do."""

    def __init__(self, ledger: Ledger, host: Host, terms: Terms, clock: Clock, rng: random.Random) -> None:
        self._ledger = ledger
        self._host = host
        self._terms = terms
        self._clock = clock
        self._rng = rng
        self._standing = shared.alone(0)
        self._last: Answer | None = None
        self._last_s = 0.0
        self._sharing = False
        self._answers = False
        self._unanswered = _ALONE_AFTER  # messages in a row
        self._version = 0
        self._pending: list[tuple[GateEvent, int]] = []
        self._dirty = False
        self._lease_until_ms = 0
        self._instead = terms.instead  # until it is told, and what they spent is of no minute that counts any more
        self._revived: dict[int, tuple[int, ...]] = {}  # what they spent, by our disk
        self._before: dict[int, tuple[int, ...]] = {}  # and by the ledger
        self._met_s = math.inf
        self._extra: dict[int, int] = {}
        self._turn = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._beats: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------- what may be done

    @property
    def asks(self) -> bool:
        """Whether a read has to be asked for: the ledger is there."""
        return self._ledger.up and self._unanswered < _ALONE_AFTER

    @property
    def shares(self) -> bool:
        """Whether the ledger lets reads through; else this replica goes by its own part."""
        return self.asks and self._answers and self._sharing

    def factor(self, now: Moment) -> float:
        """What remains of the share for this replica alone, in every minute that a read sent now may fall into."""
        whole = self._host.budget.allowed
        caps = [self._standing.cap(minute, self._allowed()) for minute in now.minutes]
        return max(0.0, min(caps)) / whole if whole else 0.0

    def status(self) -> SharingStatus:
        """As it stands now."""
        number = self._host.moment().number
        told = self._last.told if self._last is not None and self.shares else ()
        return SharingStatus(
            mode="shared" if self.shares else "divided",
            replicas=self.replicas,
            part=self._standing.part_in(number) / WHOLE,
            total=next((each.total for each in told if each.minute == number), None),
        )

    # --------------------------------------------------------------------------------------- from start to end

    async def start(self) -> None:
        """Before the first read: take up the shared gate, and tell that we are here."""
        if self._instead:
            self._revived = {count.number: count.lanes for count in self._host.budget.minutes if count.ours}
        try:
            await self._say()
            await self._write()
        except LedgerDown:
            self._standing = shared.alone(WHOLE // self._terms.assumed)
        self._beats = asyncio.create_task(self._beat_for_ever(), name="beat of a replica")

    async def aclose(self) -> None:
        """Say goodbye."""
        for task in (self._beats, self._writer):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._ledger.up:
            await self._ledger.goodbye(self._host.moment().utc_ms)

    # ----------------------------------------------------------------------------------------- reads

    async def claim(self, claims: tuple[tuple[int, int], ...]) -> Claimed:
        """Ask for reads of (weight, lane's rank); `GRANTED` also where nobody shares and our own part will decide.

        Raises `LedgerDown`.
        """
        before = self._host.gate
        async with self._turn:
            gate = self._host.gate
            unasked = Claimed((Verdict.SOON,) * len(claims), gate)
            if _told(gate) != _told(before):
                return unasked
            if not self._answers:
                if not self.asks:
                    raise LedgerDown("it did not answer the last times")
                await self._exchange((), gate)  # the others may know of a ban by now
                return replace(unasked, after=self._host.gate)
            sent = Sent() if gate.state is not State.OPEN else None
            after = step(gate, sent, self._now_ms(), self._terms.policy) if sent is not None else gate
            answer = await self._exchange(claims, after)
            unasked = Claimed(unasked.verdicts, self._host.gate)
            if _told(self._host.gate) != _told(gate) or (sent is not None and not answer.written):
                return unasked
            if answer.sharing:
                return Claimed(answer.verdicts, after, told=True)
            return Claimed((Verdict.GRANTED,) * len(claims), after)

    def wait_ms(self, verdict: Verdict, now: Moment) -> int:
        """When to ask again, in exchange time: at the latest when the first minute that counted is certainly over."""
        next_ms = (now.minutes[0] + 1) * MINUTE_MS + now.error_ms
        return next_ms if verdict is Verdict.NEXT_MINUTE else min(next_ms, now.utc_ms + _SOON_MS)

    @property
    def replicas(self) -> int:
        """How many there are, as far as it is known."""
        return self._standing.peers or self._terms.assumed

    def done_in(self, minute: int) -> int | None:
        """Weight that was answered in `minute` to anybody, when the ledger last spoke; `None`: unknown."""
        told = self._last.told if self._last is not None and self.shares else ()
        return next((each.done for each in told if each.minute == minute), None)

    def reported(self, minute: int, header: int, done: int) -> None:
        """Binance told `header` in reply to a read that was sent when `done` was answered: the rest may be others'."""
        self._extra = {each: extra for each, extra in self._extra.items() if each >= minute - 1}
        self._extra[minute] = max(self._extra.get(minute, 0), header - done)

    # ----------------------------------------------------------------------------------------- the gate

    def stepped(self, event: GateEvent, before: Gate) -> None:
        """The desk moved its gate: the others must hear of it, if it is more than a count of ours."""
        if _told(self._host.gate) == _told(before):
            return
        self._dirty = True
        self._lease_until_ms = self._now_ms() + self._terms.lease_ms
        if self._ledger.up and len(self._pending) < _MOST_PENDING:
            self._pending.append((event, self._now_ms()))
        self._write_soon()

    def unsent(self) -> None:
        """A probe or a read of a ramp was written and then not sent: the gate is as it is here."""
        self._dirty = True
        self._write_soon()

    def _write_soon(self) -> None:
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="writer of the shared gate")

    async def _write(self) -> None:
        try:
            for _ in range(_MOST_TRIES):
                if not (self._dirty and self._ledger.up):
                    break
                await self._say()
        except LedgerDown:
            self._pending.clear()
        finally:
            self._writer = None

    def _adopt(self, blob: str) -> None:
        """The shared gate moved: go by it, with what happened here on top; what differs then is written."""
        now_ms, before = self._now_ms(), self._host.gate
        found = self._decode(blob)
        if found is None:
            self._dirty = True
            return
        gate, self._lease_until_ms = found
        merged = shared.merge(before, gate, now_ms)
        if merged.epoch == gate.epoch and merged.state is gate.state:
            for event, at_ms in self._pending:
                merged = step(merged, event, at_ms, self._terms.policy)
        self._dirty = _told(merged) != _told(gate)
        if not self._dirty:
            self._pending.clear()
        if merged != before:
            self._host.adopt(merged)

    # ----------------------------------------------------------------------------------------- messages

    async def _say(self) -> None:
        """Tell how it stands here, and hear how it stands there."""
        async with self._turn:
            if not self._answers:  # this one commits to nothing
                await self._exchange((), self._host.gate)
            answer = await self._exchange((), self._host.gate)
            if answer.crowded and not answer.sharing:
                await self._exchange((), self._host.gate, modest=True)

    async def _exchange(self, claims: tuple[tuple[int, int], ...], after: Gate, *, modest: bool = False) -> Answer:
        """One message and its answer, and what follows from it; who calls holds the turn. Raises `LedgerDown`."""
        gate, events = self._host.gate, len(self._pending)
        writes = self._dirty or _told(after) != _told(gate)
        ask = replace(self._ask(claims, after if writes else None), modest=modest)
        before, self._standing = self._standing, shared.asked(self._standing, ask)
        sent_s = self._clock.now()
        try:
            answer = await self._ledger.ask(ask)
        except LedgerDown:
            self._answers = self._sharing = False
            self._unanswered += 1
            raise
        self._standing = shared.answered(before, ask, answer)
        self._last, self._last_s, self._sharing = answer, self._clock.now(), answer.sharing
        self._version, self._answers, self._unanswered = answer.version, True, 0
        self._before = {told.minute: told.before for told in answer.told}
        if len(ask.tallies) <= _MOST_MINUTES and all(minute < ask.tallies[0].minute for minute in self._revived):
            self._instead = ()
        if self._last_s > self._met_s + _KNOWN_S:
            self._terms.met()
        self._met_s = min(self._met_s, self._last_s)
        if answer.time_ms:
            self._host.hear_time(answer.time_ms, answer.error_ms, sent_s)
        if len(ask.tallies) > _MOST_MINUTES and any(told.total > told.own for told in answer.told):
            self._host.measure()  # the others are in need of what is kept for this one
        if answer.limit:
            self._host.hear_limit(answer.limit)
        if answer.gate is not None:
            self._adopt(answer.gate)
        elif answer.written:
            del self._pending[:events]
            self._dirty = _told(self._host.gate) != _told(gate)
            self._lease_until_ms = self._now_ms() + self._terms.lease_ms
        return answer

    def _ask(self, claims: tuple[tuple[int, int], ...], gate: Gate | None) -> Ask:
        now = self._host.moment()
        minutes = now.minutes
        sure = len(minutes) <= _MOST_MINUTES
        self._standing = standing = shared.rolled(self._standing, minutes[0])
        counts = [self._told_of(self._host.budget.minute(number)) for number in minutes]
        return Ask(
            now_ms=now.utc_ms,
            error_ms=now.error_ms,
            allowed=self._allowed(),
            address_cap=int(ADDRESS_CAP * self._host.budget.limit),
            part=standing.part,
            next_part=standing.next_part,
            changes=standing.changes,
            peers=standing.peers,
            assumed=self._terms.assumed,
            limit=self._host.budget.limit if self._host.limit_read else 0,
            tallies=tuple(
                Tally(
                    minute=count.number,
                    lanes=count.lanes,
                    done=max(0, count.ours - count.pending),
                    confirmed=standing.confirmed.get(count.number, 0),
                    extra=self._extra.get(count.number, 0),
                )
                for count in counts
            ),
            claims=claims,
            version=self._version,
            gate=None if gate is None else self._encode(gate, now),
            instead=self._instead,  # told again once it is sure of the time: what they had is free a minute earlier
            commits=self._answers and (sure or not all(map(standing.part_in, minutes))),
        )

    def _told_of(self, count: Minute) -> Minute:
        """What the ledger is told of a minute: all but what it has of those before us."""
        revived = self._revived.get(count.number)
        if revived is None:
            return count
        if any(has < was for has, was in zip(count.lanes, revived, strict=True)):  # the clock was put right
            del self._revived[count.number]
            return count
        unknown = (0, 0, 0) if self._answers else revived  # who commits to nothing may tell too little once
        before = self._before.get(count.number, unknown)
        known = [min(was, has) for was, has in zip(revived, before, strict=True)]
        return replace(count, lanes=tuple(has - less for has, less in zip(count.lanes, known, strict=True)))

    async def _beat_for_ever(self) -> None:
        while True:
            beat_s = max(_BEAT_S, self._standing.peers / _PEERS_A_BEAT)
            await self._clock.sleep(beat_s)
            self._give_up_the_dead()
            if not self._ledger.up:
                self._answers = self._sharing = False
                self._pending.clear()
                continue
            if self._dirty or self._clock.now() - self._last_s >= beat_s / 2:
                was = self.shares
                try:
                    await self._say()
                except LedgerDown:
                    continue
                if self.shares is not was:
                    self._host.pump()

    def _give_up_the_dead(self) -> None:
        """Reads of a probe or a ramp that nobody heard of for too long: who sent them is gone."""
        gate = self._host.gate
        sent = 1 if gate.state is State.PROBING else gate.flying if gate.state is State.RAMP else 0
        if sent and self._lease_until_ms and self._now_ms() > self._lease_until_ms:
            for _ in range(sent):
                self._host.step(Dropped(gate.epoch, self._rng.random()))
            self._host.pump()

    # ----------------------------------------------------------------------------------------- parts

    def _allowed(self) -> int:
        return int(self._host.budget.allowed * share_factor(self._host.gate, self._now_ms()))

    def _encode(self, gate: Gate, now: Moment) -> str:
        plain = gate_to_mapping(gate, self._now_ms(), now.utc_ms)
        lease_ms = now.utc_ms + self._terms.lease_ms
        return json.dumps(plain | {"flying": _told(gate).flying, "lease_ms": lease_ms}, separators=(",", ":"))

    def _decode(self, blob: str) -> tuple[Gate, int] | None:
        """The gate, and until when its reads may be under way, by our clock; `None` for what no `_encode` made."""
        now, now_ms = self._host.moment(), self._now_ms()
        utc_ms = now.utc_ms
        try:
            plain = json.loads(blob)
            state, flying, lease_ms = State(plain["state"]), int(plain["flying"]), int(plain["lease_ms"])
            gate = gate_from_mapping(plain | {"state": State.OPEN.value}, now_ms, utc_ms, 0)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        late_ms = min(now.error_ms, shared.SKEW_MS) if state is State.CLOSED else 0
        gate = replace(gate, state=state, flying=flying, until_ms=gate.until_ms + late_ms)
        return gate, lease_ms - utc_ms + now_ms

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


def _told(gate: Gate) -> Gate:
    """What of a gate others hear: counts of an open one are each replica's own."""
    return replace(gate, flying=0, failures=0) if gate.state is State.OPEN else gate
