"""A desk's dealings with the other replicas: it tells and asks the ledger, and says what may be done without it.

The rules are in `shared`; this holds where one family stands by them, sends the messages, and keeps the beat.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from mdcache.clock import Clock
from mdcache.exchange.markets import Family
from mdcache.upstream.budget import ADDRESS_CAP, MINUTE_MS, Moment
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import GateEvent
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.replicas import protocol
from mdcache.upstream.replicas.predecessors import Predecessors
from mdcache.upstream.replicas.protocol import WHOLE, Answer, Ask, Ledger, LedgerDown, Tally, Told, Verdict
from mdcache.upstream.replicas.shared_gate import Draft, SharedGate, heard

_BEAT_S = 1.0
_PEERS_A_BEAT = 50  # with more, each beats less often
_SOON_MS = 500
_ALONE_AFTER = 2  # messages without an answer: one may be lost, or this process have stood still
_PATIENCE_S = 1.3  # with a ledger that is new again and again; a little more than it is new for
_MOST_TRIES = 8  # to write a gate that others write too; the next beat goes on
_KNOWN_S = 3.0  # after so long in touch, all others have counted this one


@dataclass(frozen=True, slots=True)
class Shared:
    """Where other replicas are met: each family's ledger, and how many replicas there are while it was never seen.

    `instead`: names of those that ran in this one's place before; `met`: called when others know of this one, if not
    only once.
    """

    ledger: Callable[[Family], Ledger]
    replicas: int
    instead: tuple[str, ...] = ()
    met: Callable[[], None] = lambda: None


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
    """One family's share in what all replicas may do.

    `lease_ms`: longest that a sent read may take. `pump`: have the desk look again at who may go; `wake`: the same,
    but not in this step.
    """

    def __init__(
        self,
        family: Family,
        among: Shared,
        *,
        account: BudgetKeeper,
        gatekeeper: GateKeeper,
        clock: Clock,
        lease_ms: int,
        pump: Callable[[], None],
        wake: Callable[[], None],
    ) -> None:
        self._ledger = among.ledger(family)
        self._among = among
        self._account = account
        self._gatekeeper = gatekeeper
        self._clock = clock
        self._pump = pump
        self._wake = wake
        self._gate = SharedGate(gatekeeper, clock, lease_ms)
        self._predecessors = Predecessors(among.instead)
        self._standing = protocol.alone(0)
        self._last: Answer | None = None  # to the last message; `None`: there was none
        self._last_s = 0.0
        self._unanswered = _ALONE_AFTER  # messages in a row
        self._quiet_since_s: float | None = None
        self._met_s = math.inf
        self._extra: dict[int, int] = {}
        self._turn = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._beats: asyncio.Task[None] | None = None
        gatekeeper.tell_steps(self._stepped)

    # ------------------------------------------------------------------------------- what may be done

    @property
    def asks(self) -> bool:
        """Whether a read has to be asked for: the ledger is there."""
        return self._ledger.up and self._unanswered < _ALONE_AFTER

    @property
    def shares(self) -> bool:
        """Whether the ledger lets reads through; else this replica goes by its own part."""
        return self._ledger.up and self._last is not None and self._last.sharing

    @property
    def replicas(self) -> int:
        """How many there are, as far as it is known."""
        return self._standing.peers or self._among.replicas

    def factor(self, now: Moment) -> float:
        """What remains of the share for this replica alone, in every minute that a read sent now may fall into."""
        whole = self._account.budget.allowed
        caps = [self._standing.cap(minute, self._allowed()) for minute in now.minutes]
        return max(0.0, min(caps)) / whole if whole else 0.0

    def status(self) -> SharingStatus:
        """As it stands now."""
        number = self._account.moment().number
        told = self._told(number)
        return SharingStatus(
            mode="shared" if self.shares else "divided",
            replicas=self.replicas,
            part=self._standing.part_in(number) / WHOLE,
            total=None if told is None else told.total,
        )

    # --------------------------------------------------------------------------------------- from start to end

    async def start(self) -> None:
        """Before the first read: take up the shared gate, and tell that we are here."""
        self._predecessors.spent(self._account.budget)
        try:
            await self._say()
            await self._write()
        except LedgerDown:
            self._standing = protocol.alone(WHOLE // self._among.replicas)
        self._beats = asyncio.create_task(self._beat_for_ever(), name="beat of a replica")

    async def aclose(self) -> None:
        """Say goodbye."""
        for task in (self._beats, self._writer):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._ledger.up:
            await self._ledger.goodbye(self._account.moment().utc_ms)

    # ----------------------------------------------------------------------------------------- reads

    async def claim(self, claims: tuple[tuple[int, int], ...]) -> Claimed:
        """Ask for reads of (weight, lane's rank); `GRANTED` also where nobody shares and our own part will decide.

        Raises `LedgerDown`.
        """
        before = self._gatekeeper.gate
        soon = (Verdict.SOON,) * len(claims)
        async with self._turn:
            gate = self._gatekeeper.gate
            if heard(gate) != heard(before):
                return Claimed(soon, gate)
            if self._last is None:
                if not self.asks:
                    raise LedgerDown("it did not answer the last times")
                await self._exchange((), gate)  # the others may know of a ban by now
                return Claimed(soon, self._gatekeeper.gate)
            after = self._gate.sending()
            answer = await self._exchange(claims, after)
            now = self._gatekeeper.gate
            unwritten = gate.state is not GateState.OPEN and not answer.written
            if heard(now) != heard(gate) or unwritten or (answer.quiet and self._patient):
                return Claimed(soon, now)
            if answer.sharing:
                return Claimed(answer.verdicts, after, told=True)
            return Claimed((Verdict.GRANTED,) * len(claims), after)

    def wait_ms(self, verdict: Verdict, now: Moment) -> int:
        """When to ask again, in exchange time: at the latest when the first minute that counted is certainly over."""
        next_ms = (now.minutes[0] + 1) * MINUTE_MS + now.error_ms
        return next_ms if verdict is Verdict.NEXT_MINUTE else min(next_ms, now.utc_ms + _SOON_MS)

    def done_in(self, minute: int) -> int | None:
        """Weight that was answered in `minute` to anybody, when the ledger last spoke; `None`: unknown."""
        told = self._told(minute)
        return None if told is None else told.done

    def reported(self, minute: int, header: int, done: int) -> None:
        """Binance told `header` in reply to a read that was sent when `done` was answered: the rest may be others'."""
        self._extra = {each: extra for each, extra in self._extra.items() if each >= minute - 1}
        self._extra[minute] = max(self._extra.get(minute, 0), header - done)

    def unsent(self) -> None:
        """A probe or a read of a ramp was granted and then not sent."""
        self._gate.unsent()
        self._write_soon()

    # ----------------------------------------------------------------------------------------- the gate

    def _stepped(self, event: GateEvent, before: Gate) -> None:
        if self._gate.stepped(event, before, keep=self._ledger.up):
            self._write_soon()

    def _write_soon(self) -> None:
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="writer of the shared gate")

    async def _write(self) -> None:
        try:
            for _ in range(_MOST_TRIES):
                if not (self._gate.unwritten and self._ledger.up):
                    break
                await self._say()
        except LedgerDown:
            self._gate.cut_off()
        finally:
            self._writer = None

    # ----------------------------------------------------------------------------------------- messages

    async def _say(self) -> None:
        """Tell how it stands here, and hear how it stands there."""
        async with self._turn:
            if self._last is None:  # this one commits to nothing
                await self._exchange((), self._gatekeeper.gate)
            answer = await self._exchange((), self._gatekeeper.gate)
            if answer.crowded and not answer.sharing:
                await self._exchange((), self._gatekeeper.gate, modest=True)

    async def _exchange(self, claims: tuple[tuple[int, int], ...], after: Gate, *, modest: bool = False) -> Answer:
        """One message and its answer, and what follows from it; who calls holds the turn. Raises `LedgerDown`."""
        now = self._account.moment()
        draft = self._gate.draft(after, now)
        ask = self._ask(claims, draft, now, modest=modest)
        before, self._standing = self._standing, protocol.asked(self._standing, ask)
        sent_s = self._clock.now()
        try:
            answer = await self._ledger.ask(ask)
        except LedgerDown:
            self._last = None
            self._unanswered += 1
            raise
        self._standing = protocol.answered(before, ask, answer)
        self._last, self._last_s, self._unanswered = answer, self._clock.now(), 0
        if not answer.quiet:
            self._quiet_since_s = None
        elif self._quiet_since_s is None:
            self._quiet_since_s = self._last_s
        self._predecessors.answered(ask, answer)
        if self._last_s > self._met_s + _KNOWN_S:
            self._among.met()
        self._met_s = min(self._met_s, self._last_s)
        self._hear(ask, answer, draft, sent_s)
        return answer

    def _hear(self, ask: Ask, answer: Answer, draft: Draft, sent_s: float) -> None:
        """Go by what others know of the time, the limit and the gate."""
        if answer.time_ms:
            self._account.family_clock.hear(answer.time_ms, answer.error_ms, sent_s)
        if not ask.sure and any(told.total > told.own for told in answer.told):
            self._account.family_clock.measure()  # the others are in need of what is kept for this one
        other_limit = answer.limit > 0 and self._account.hear_limit(answer.limit)
        if self._gate.answered(draft, answer, self._account.moment()) or other_limit:
            self._wake()

    def _ask(self, claims: tuple[tuple[int, int], ...], draft: Draft, now: Moment, *, modest: bool) -> Ask:
        minutes, budget, trusts = now.minutes, self._account.budget, self._last is not None
        self._standing = standing = protocol.rolled(self._standing, minutes[0])
        counts = [self._predecessors.untold(budget.minute(number), trusts=trusts) for number in minutes]
        sure = len(minutes) <= protocol.MOST_MINUTES
        return Ask(
            now_ms=now.utc_ms,
            error_ms=now.error_ms,
            allowed=self._allowed(),
            address_cap=int(ADDRESS_CAP * budget.limit),
            part=standing.part,
            next_part=standing.next_part,
            changes=standing.changes,
            peers=standing.peers,
            assumed=self._among.replicas,
            limit=budget.limit if self._account.limit_read else 0,
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
            version=draft.version,
            gate=draft.text,
            commits=trusts and (sure or not all(map(standing.part_in, minutes))),
            modest=modest,
            patient=self._patient,
            instead=self._predecessors.names,
        )

    async def _beat_for_ever(self) -> None:
        while True:
            beat_s = max(_BEAT_S, self._standing.peers / _PEERS_A_BEAT)
            await self._clock.sleep(beat_s)
            if self._gate.give_up_the_dead():
                self._pump()
            if not self._ledger.up:
                self._last = None
                self._gate.cut_off()
                continue
            shut = self._gatekeeper.gate.state is not GateState.OPEN  # a ledger that forgot must hear of it soon
            if self._gate.unwritten or shut or self._clock.now() - self._last_s >= beat_s / 2:
                was = self.shares
                try:
                    await self._say()
                except LedgerDown:
                    continue
                if self._gate.unwritten:  # the ledger knew less
                    self._write_soon()
                if self.shares is not was:
                    self._pump()

    # ----------------------------------------------------------------------------------------- parts

    def _told(self, minute: int) -> Told | None:
        """What the ledger holds of a minute, where it is shared."""
        told = self._last.told if self._last is not None and self.shares else ()
        return next((each for each in told if each.minute == minute), None)

    @property
    def _patient(self) -> bool:
        return self._quiet_since_s is None or self._clock.now() - self._quiet_since_s < _PATIENCE_S

    def _allowed(self) -> int:
        return int(self._account.budget.allowed * self._gatekeeper.share_factor())
