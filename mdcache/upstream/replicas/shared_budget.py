"""The admission that replicas share: they draw weight from one budget, and share one gate.

`protocol` has the rules; this module holds one family's state, sends its messages, and its heartbeat.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from mdcache.exchange.markets import Family
from mdcache.upstream.admission import AdmissionContext, SharingStatus
from mdcache.upstream.budget import MINUTE_MS, Moment, Wait
from mdcache.upstream.family_clock import SURE_MS
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import GateEvent, Sent
from mdcache.upstream.priority import Lane
from mdcache.upstream.replicas.protocol import (
    WHOLE,
    Allotment,
    BudgetStore,
    BudgetStoreDown,
    Displaced,
    DrawKind,
    DrawReply,
    DrawRequest,
    DrawVerdict,
    GateReply,
    after_reply,
    at_minute,
    chunk,
    minute_requests,
    offline_allotment,
    stated_part,
    while_unanswered,
)
from mdcache.upstream.replicas.shared_gate import SharedGate, public_part

_BEAT_S = 1.0
_REPLICAS_A_BEAT = 50  # with more, each sends its heartbeat less often
_LATE_S = 0.5  # a heartbeat that is later than this counts as missed
_SOON_MS = 500
_AGAIN_MS = 100
_ALONE_AFTER = 2  # messages without an answer: one may be lost, or this process may have been suspended
_PATIENCE_S = 1.3  # with a gate that is repeatedly new; slightly longer than it counts as new
_MAX_TRIES = 8  # attempts to write a gate that others write, too; the next heartbeat continues
_IN_VAIN = 3  # draws in a row that found a changed gate; then a pause before each


@dataclass(frozen=True, slots=True)
class Replicas:
    """The other replicas: each family's store, and the number of replicas to assume until it was reached.

    `returning`: an earlier process had this one's id; `process`: a number of this process alone.
    `on_first_reply`: called when the store has first answered.
    """

    store: Callable[[Family], BudgetStore]
    assumed: int
    process: int
    returning: bool = False
    on_first_reply: Callable[[], None] = lambda: None

    def admission(self, context: AdmissionContext) -> "SharedAdmission":
        """Return a family's admission."""
        return SharedAdmission(self, context)


class SharedAdmission:
    """One family's admission."""

    def __init__(self, among: Replicas, context: AdmissionContext) -> None:
        self._among = among
        self._store = among.store(context.family)
        self._context = context
        self._keeper = context.gate_keeper
        self._clock = context.clock
        self._gate = SharedGate(context.gate_keeper, context.clock, context.lease_ms)
        self._allotment = Allotment()
        self._met = False
        self._returning = among.returning
        self._last: DrawReply | None = None  # to the last message; `None`: it was not answered
        self._last_s = 0.0
        self._listened = False  # when the last message was sent: any gate written since was announced here
        self._announced = (0, "")  # version and text of a gate, while one is being written here
        self._unanswered = _ALONE_AFTER  # messages in a row without an answer
        self._seq = 0
        self._quiet_since_s: float | None = None
        self._permit: Gate | None = None  # the gate after one more read is sent, which is already written to the store
        self._pauses_ms: dict[Lane, int] = {}
        self._in_vain = 0
        self._prefetch_s = 0.0
        self._turn = asyncio.Lock()
        self._writes = False
        self._asking: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._beats: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------- what may be done

    @property
    def replicas(self) -> int:
        """The number of replicas, as far as it is known."""
        return self._allotment.replicas or self._among.assumed

    @property
    def shares(self) -> bool:
        """Whether weight may be drawn; otherwise this replica uses its own part."""
        return self._store.up and self._last is not None and self._last.shared

    def share(self, now: Moment) -> float:
        """Return the part of the share to plan with."""
        factor = self._keeper.share_factor()
        if self.shares:
            return factor
        allotment = self._rolled(now)
        parts = [WHOLE if minute in allotment.drawn else allotment.part_in(minute) for minute in now.minutes]
        hopes = self._reachable and self._clock.now() - self._last_s > _AGAIN_MS / 1000  # more may be available by now
        hoped = WHOLE // self._among.assumed if hopes or self._waits_for_others else 0
        return factor * max(min(parts), hoped) / WHOLE

    def paused_until_ms(self, lane: Lane, now: Moment) -> int:
        """Return the exchange time before which the lane may send nothing; 0 if it may now."""
        until_ms = self._pauses_ms.get(lane, 0)
        longest_ms = MINUTE_MS + now.error_ms  # a longer wait is from before a clock correction
        return until_ms if now.utc_ms < until_ms <= now.utc_ms + longest_ms else 0

    def admit(self, weight: int, lane: Lane, now: Moment) -> Wait | None:
        """Return `None` if what was drawn is enough, else start a draw and return what to wait for."""
        left = self._left(now) - weight
        if not self._reachable:
            return Wait(_next_minute_ms(now)) if left < 0 else None
        is_open = self._keeper.gate.state is GateState.OPEN
        if self._waits_for_others:
            if self._clock.now() - self._last_s >= _AGAIN_MS / 1000:
                self._start_call(partial(self._draw, 0, lane))
            return Wait(now.utc_ms + _AGAIN_MS)
        if left < 0 or (is_open and not self._is_current) or (not is_open and self._permit is None):
            if paused_ms := self.paused_until_ms(lane, now):
                return Wait(paused_ms)
            if left >= 0 and not is_open:
                self._start_call(partial(self._get_permit, lane))
            else:
                self._start_call(partial(self._draw, weight if left < 0 else 0, lane))
            return Wait(now.utc_ms, for_answer=True)
        if left < chunk(self._allowed(), self.replicas) / 2 and self._clock.now() >= self._prefetch_s:
            self._start_call(partial(self._draw, 0, lane))
        return None

    def record_send(self) -> None:
        """Step the gate, or set the one that was written for this read."""
        after, self._permit = self._permit, None
        if after is None:
            self._keeper.step(Sent())
        else:
            self._keeper.adopt(after)

    def status(self) -> SharingStatus:
        """Return the current state."""
        number = self._context.now().number
        minutes = self._last.minutes if self._last is not None and self.shares else ()
        return SharingStatus(
            mode="shared" if self.shares else "divided",
            replicas=self.replicas,
            part=self._allotment.part_in(number) / WHOLE,
            total=next((each.total for each in minutes if each.minute == number), None),
        )

    # --------------------------------------------------------------------------------------- from start to end

    async def start(self) -> None:
        """Report this replica to the others, and adopt the shared gate."""
        self._store.subscribe(self._on_gate)
        try:
            await self._report()
            await self._write()
        except BudgetStoreDown:
            if not self._met:
                self._allotment = offline_allotment(WHOLE // self._among.assumed)
        self._beats = asyncio.create_task(self._run_heartbeat(), name="beat of a replica")

    async def aclose(self) -> None:
        """Stop the tasks, and say goodbye to the other replicas."""
        tasks = [task for task in (self._beats, self._writer, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._store.up:
            with suppress(BudgetStoreDown):
                await self._exchange(DrawKind.BYE)

    # ----------------------------------------------------------------------------------------- asking

    def _start_call(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start a question to the store, if none is in progress; the scheduler pumps after the answer."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._run_call(work), name="question to the shared budget")

    async def _run_call(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        try:
            async with self._turn:
                await work()
        finally:
            self._asking = None
        self._context.pump()
        if self._permit is not None:  # its read is no longer to be sent
            self._permit, self._gate.unwritten = None, True
            self._write_soon()

    async def _draw(self, weight: int, lane: Lane) -> None:
        """Draw for a read of this weight; with weight 0, draw ahead."""
        version = self._gate.version
        try:
            if self._last is None:
                await self._exchange(DrawKind.SAY)
            reply = await self._exchange(DrawKind.SAY, weight, lane)
        except BudgetStoreDown:
            self._pause(lane, _AGAIN_MS)
            return
        now = self._context.now()
        left = self._left(now)
        if left < chunk(self._allowed(), self.replicas) / 2:
            self._prefetch_s = self._clock.now() + _SOON_MS / 1000
        if left >= weight:
            self._in_vain = 0
        elif self._gate.version != version and self._in_vain < _IN_VAIN:
            self._in_vain += 1  # try again with the changed gate
        elif DrawVerdict.NEXT_MINUTE in (each.verdict for each in reply.minutes):
            self._pauses_ms[lane] = (now.minutes[0] + 1) * MINUTE_MS + now.error_ms
        else:
            self._pause(lane, _SOON_MS)

    async def _get_permit(self, lane: Lane) -> None:
        """Write the gate as after one more read; if no other replica wrote it meanwhile, that read may be sent."""
        before = self._keeper.gate
        after = self._gate.gate_after_send()
        try:
            reply = await self._write_gate(after)
        except BudgetStoreDown:
            self._unanswered += 1
            self._pause(lane, _AGAIN_MS)
            return
        if reply.written and public_part(self._keeper.gate) == public_part(before):
            self._permit, self._in_vain = after, 0
        elif self._in_vain < _IN_VAIN:
            self._in_vain += 1
        else:
            self._pause(lane, _AGAIN_MS)

    def _pause(self, lane: Lane, wait_ms: int) -> None:
        now = self._context.now()
        self._pauses_ms[lane] = min(now.utc_ms + wait_ms, (now.minutes[0] + 1) * MINUTE_MS + now.error_ms)

    # ----------------------------------------------------------------------------------------- the gate

    def gate_stepped(self, event: GateEvent, before: Gate) -> None:
        """Publish a change of the gate."""
        if self._gate.stepped(event, before, keep=self._store.up):
            self._write_soon()

    def _on_gate(self, version: int, text: str) -> None:
        """Adopt the gate that another replica wrote."""
        if self._writes:  # until the answer, it is not known what to merge it with
            self._announced = max(self._announced, (version, text))
            return
        if version <= self._gate.version:
            return
        if self._gate.adopt(version, text, self._context.now()):
            self._context.wake()
        if self._gate.unwritten:
            self._write_soon()

    def _apply_gate_reply(self, gate: GateReply) -> None:
        """Adopt the store's gate."""
        if not gate.quiet:
            self._quiet_since_s = None
        elif self._quiet_since_s is None:
            self._quiet_since_s = self._clock.now()
        if gate.version == self._gate.version or gate.written:
            self._gate.unwritten |= not gate.version
        elif self._gate.adopt(gate.version, gate.text, self._context.now()):
            self._context.wake()
        if self._gate.unwritten:
            self._write_soon()

    def _write_soon(self) -> None:
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="writer of the shared gate")

    async def _write(self) -> None:
        try:
            for _ in range(_MAX_TRIES):
                if not (self._gate.unwritten and self._store.up):
                    break
                async with self._turn:
                    await self._write_gate(self._keeper.gate)
        except BudgetStoreDown:
            self._gate.forget_steps()
        finally:
            self._writer = None

    async def _write_gate(self, after: Gate) -> GateReply:
        """Write the gate, or adopt what others wrote; the caller holds the lock. Raises `BudgetStoreDown`."""
        draft = self._gate.draft(after, self._context.now())
        self._writes, self._announced = True, (0, "")
        try:
            reply = await self._store.write_gate(draft.version, draft.text)
        except BudgetStoreDown:
            self._writes = False
            self._on_gate(*self._announced)
            raise
        finally:
            self._writes = False
        if reply.written:
            self._gate.written(draft, reply.version)
        self._apply_gate_reply(reply)
        self._on_gate(*self._announced)
        return reply

    # ----------------------------------------------------------------------------------------- messages

    async def _report(self) -> None:
        """Exchange the current state with the store."""
        async with self._turn:
            if self._last is None:  # this first message enters no minute
                await self._exchange(DrawKind.SAY)
            await self._exchange(DrawKind.SAY)

    async def _exchange(self, kind: DrawKind, weight: int = 0, lane: Lane = Lane.NORMAL) -> DrawReply:
        """Send one message and apply its answer; the caller holds the lock. Raises `BudgetStoreDown`."""
        now = self._context.now()
        request = self._request(kind, now, weight, lane)
        before, self._allotment = self._allotment, while_unanswered(self._allotment, request)
        sent_s, listened = self._clock.now(), self._store.listens
        try:
            reply = await self._store.draw(request)
        except BudgetStoreDown as error:
            self._last = None
            self._unanswered += 1
            if isinstance(error, Displaced):
                self._change_id(before)
            raise
        self._allotment = after_reply(before, request, reply)
        self._last, self._last_s, self._unanswered = reply, self._clock.now(), 0
        self._listened = listened
        if not self._met:
            self._count_earlier_draws(request, reply)
        self._apply_reply(reply, sent_s)
        return reply

    def _request(self, kind: DrawKind, now: Moment, weight: int, lane: Lane) -> DrawRequest:
        budget, allotment, allowed = self._context.budget_keeper, self._rolled(now), self._allowed()
        self._seq += 1
        return DrawRequest(
            kind=kind if self._met or kind is DrawKind.BYE else DrawKind.HELLO,
            seq=self._seq,
            now_ms=now.utc_ms,
            allowed=allowed,
            limit=budget.budget.limit if budget.limit_read else 0,
            part=stated_part(allotment, now.minutes[0]),
            replicas=allotment.replicas,
            born=allotment.born,
            assumed=self._among.assumed,
            returning=self._returning,
            process=self._among.process,
            error_ms=now.error_ms,
            commits=self._last is not None and now.error_ms <= SURE_MS,
            gate_version=self._gate.version,
            rank=lane.rank,
            minutes=tuple(
                replace(each, header=budget.budget.minute(each.minute).header or 0)
                for each in minute_requests(allotment, now.minutes, self._own, allowed, weight)
            ),
        )

    def _count_earlier_draws(self, request: DrawRequest, reply: DrawReply) -> None:
        """Count everything drawn under this id before as spent."""
        for told, found in zip(request.minutes, reply.minutes, strict=True):
            self._context.budget_keeper.add_spent(found.minute, found.drawn - told.drawn)
        self._met = True
        self._among.on_first_reply()

    def _change_id(self, before: Allotment) -> None:
        """Continue as a new replica, with what was drawn so far, because another process has our id."""
        self._store.rename()
        self._met = self._returning = False
        self._allotment = replace(before, born=0, entered=frozenset())

    def _apply_reply(self, reply: DrawReply, sent_s: float) -> None:
        """Adopt the time, the usage of the address, the limit and the gate of other replicas."""
        for each in reply.minutes:
            self._context.budget_keeper.adopt_header(each.minute, each.header)
        if reply.utc_ms:
            self._context.family_clock.adopt(reply.utc_ms, reply.error_ms, sent_s)
        if reply.limit and self._context.budget_keeper.adopt_limit(reply.limit):
            self._context.wake()
        self._apply_gate_reply(reply.gate)

    async def _run_heartbeat(self) -> None:
        while True:
            await self._clock.sleep(self._beat_s)
            if self._gate.drop_lost_reads():
                self._context.pump()
            if not self._store.up:
                self._last = None
                self._gate.forget_steps()
                continue
            if self._gate.unwritten:
                self._write_soon()
            closed = self._keeper.gate.state is not GateState.OPEN  # a store that lost its data must get it soon
            if closed or self._last is None or self._clock.now() - self._last_s >= self._beat_s / 2:
                was = self.shares
                with suppress(BudgetStoreDown):
                    await self._report()
                if self.shares is not was:
                    self._context.pump()

    # ----------------------------------------------------------------------------------------- parts

    @property
    def _reachable(self) -> bool:
        """Whether the store takes part; otherwise this replica continues alone."""
        return self._store.up and self._unanswered < _ALONE_AFTER

    @property
    def _beat_s(self) -> float:
        return max(_BEAT_S, self._allotment.replicas / _REPLICAS_A_BEAT)

    @property
    def _is_current(self) -> bool:
        """Whether the store answered recently, so that the gate it has is known here."""
        announced = self._listened and self._store.listens
        window_s = self._beat_s + _LATE_S if announced else _AGAIN_MS / 1000
        return self._last is not None and self._clock.now() - self._last_s <= window_s

    @property
    def _waits_for_others(self) -> bool:
        """Whether the store is new: no replica sends until all have reported to it."""
        since_s = self._quiet_since_s
        return self._reachable and since_s is not None and self._clock.now() - since_s < _PATIENCE_S

    def _allowed(self) -> int:
        return int(self._context.budget_keeper.budget.allowed * self._keeper.share_factor())

    def _own(self, minute: int) -> int:
        return self._context.budget_keeper.budget.minute(minute).ours

    def _rolled(self, now: Moment) -> Allotment:
        self._allotment = at_minute(self._allotment, now.minutes[0])
        return self._allotment

    def _left(self, now: Moment) -> int:
        """Return the weight that may be spent without asking, in every minute that a read sent now may fall into."""
        allotment, allowed = self._rolled(now), self._allowed()
        return min(allotment.cap(minute, allowed) - self._own(minute) for minute in now.minutes)


def _next_minute_ms(now: Moment) -> int:
    return (now.number + 1) * MINUTE_MS + now.error_ms
