"""The admission that replicas share: they draw weight from one budget, and share one gate."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial

from mdcache.background_work import cancel_all, supervise
from mdcache.events import BackgroundTask
from mdcache.upstream.admission import Admission, AdmissionContext, AdmissionFactory, SharingStatus
from mdcache.upstream.budget import MINUTE_MS, Moment, Wait
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import GateEvent, Sent
from mdcache.upstream.priority import Lane
from mdcache.upstream.replicas.gate_messages import GateMessages
from mdcache.upstream.replicas.protocol import BudgetStoreDown
from mdcache.upstream.replicas.shared_budget import Replicas, SharedBudget
from mdcache.upstream.replicas.shared_gate import public_part

_LATE_S = 0.5  # a heartbeat that is later than this counts as missed
_SOON_MS = 500
_AGAIN_MS = 100
_MOST_REFUSED = 3  # permits in a row, because others changed the gate; then a pause before each
_READY_AFTER_S = 75.0  # a replica that may spend nothing in a whole minute still answers from what others read


def shared_admission(peers: Replicas) -> AdmissionFactory:
    """Return what makes the admission of each family that is shared with these replicas."""

    def make(context: AdmissionContext) -> Admission:
        return SharedAdmission(peers, context)

    return make


class SharedAdmission:
    """One family's admission."""

    def __init__(self, peers: Replicas, context: AdmissionContext) -> None:
        self._peers = peers
        self._store = peers.store(context.family)
        self._context = context
        self._keeper = context.gate_keeper
        self._clock = context.clock
        self._turn = asyncio.Lock()
        self._gate = GateMessages(self._store, context, self._turn)
        self._budget = SharedBudget(peers, self._store, context, self._gate)
        self._started_s = context.clock.now()
        self._was_ready = False
        self._permit: Gate | None = None  # the gate after one more read is sent, which is already written to the store
        self._pauses_ms: dict[Lane, int] = {}
        self._refused_permits = 0  # in a row
        self._no_prefetch_before_s = 0.0
        self._call: asyncio.Task[None] | None = None
        self._heartbeat: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------- what may be done

    @property
    def replicas(self) -> int:
        """The number of replicas, as far as it is known."""
        return self._budget.replicas

    def share(self, now: Moment) -> float:
        """Return the part of the share to plan with."""
        factor = self._keeper.share_factor()
        if self._budget.is_shared:
            return factor
        stale = self._budget.is_reachable and self._since_reply_s() > _AGAIN_MS / 1000  # more may be available by now
        hoped = 1 / self._peers.assumed if stale or self._waits_for_reports() else 0.0
        return factor * max(self._budget.usable_part(now), hoped)

    def paused_until_ms(self, lane: Lane, now: Moment) -> int:
        """Return the exchange time before which the lane may send nothing; 0 if it may now."""
        until_ms = self._pauses_ms.get(lane, 0)
        longest_ms = MINUTE_MS + now.error_ms  # a longer wait is from before a clock correction
        return until_ms if now.utc_ms < until_ms <= now.utc_ms + longest_ms else 0

    def admit(self, weight: int, lane: Lane, now: Moment) -> Wait | None:
        """Return `None` if what was drawn is enough, else start a draw and return what to wait for."""
        left = self._budget.left(now) - weight
        if not self._budget.is_reachable:
            return Wait(_next_minute_ms(now.number, now)) if left < 0 else None
        is_open = self._keeper.gate.state is GateState.OPEN
        if self._waits_for_reports():
            if self._since_reply_s() >= _AGAIN_MS / 1000:
                self._start_call(partial(self._draw, 0, lane))
            return Wait(now.utc_ms + _AGAIN_MS)
        if left < 0 or (is_open and not self._knows_gate()) or (not is_open and self._permit is None):
            if paused_ms := self.paused_until_ms(lane, now):
                return Wait(paused_ms)
            if left >= 0 and not is_open:
                self._start_call(partial(self._get_permit, lane))
            else:
                self._start_call(partial(self._draw, weight if left < 0 else 0, lane))
            return Wait(now.utc_ms, for_answer=True)
        if left < self._budget.chunk() / 2 and self._clock.now() >= self._no_prefetch_before_s:
            self._start_call(partial(self._draw, 0, lane))
        return None

    def record_send(self) -> None:
        """Step the gate, or set the one that was written for this read."""
        after, self._permit = self._permit, None
        if after is None:
            self._keeper.step(Sent())
        else:
            self._keeper.adopt(after)

    def gate_stepped(self, event: GateEvent, before: Gate) -> None:
        """Publish a change of the gate."""
        self._gate.stepped(event, before)

    def status(self) -> SharingStatus:
        """Return the current state."""
        number, shared, last = self._context.now().number, self._budget.is_shared, self._budget.last
        minutes = last.minutes if last is not None and shared else ()
        return SharingStatus(
            mode="shared" if shared else "divided",
            replicas=self.replicas,
            part=self._budget.part_in(number),
            total=next((each.total for each in minutes if each.minute == number), None),
            ready=self._is_ready(),
        )

    def _is_ready(self) -> bool:
        """Return whether others should not answer instead; from then on always, though others join meanwhile."""
        self._was_ready = (
            self._was_ready
            or self._budget.was_able
            or not self._budget.is_reachable
            or self.replicas == 1  # no other can answer instead
            or self._clock.now() - self._started_s > _READY_AFTER_S
        )
        return self._was_ready

    # --------------------------------------------------------------------------------------- from start to end

    async def start(self) -> None:
        """Report this replica to the others, and adopt the shared gate."""
        self._store.subscribe(self._gate.receive)
        with suppress(BudgetStoreDown):
            async with self._turn:
                await self._budget.start()
            await self._gate.write()
        self._heartbeat = self._supervise(self._run_heartbeat)

    async def aclose(self) -> None:
        """Stop the tasks, and leave the other replicas."""
        await cancel_all(self._heartbeat, self._call)
        await self._gate.aclose()
        await self._budget.leave()

    async def _run_heartbeat(self) -> None:
        while True:
            beat_s = self._budget.beat_s
            await self._clock.sleep(beat_s)
            if self._gate.shared.drop_lost_reads():
                self._context.pump()
            if not self._store.up:
                self._budget.last = None
                self._gate.shared.forget_steps()
                continue
            self._gate.write_soon()
            closed = self._keeper.gate.state is not GateState.OPEN  # a store that lost its data must get it soon
            if closed or self._budget.last is None or self._since_reply_s() >= beat_s / 2:
                was_shared = self._budget.is_shared
                with suppress(BudgetStoreDown):
                    async with self._turn:
                        await self._budget.report()
                if self._budget.is_shared is not was_shared:
                    self._context.pump()

    # ----------------------------------------------------------------------------------------- calls to the store

    def _start_call(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start a call to the store, if none is in progress; the scheduler pumps after the answer."""
        if self._call is None:
            self._call = self._supervise(partial(self._run_call, work))

    async def _run_call(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        async with self._turn:
            await work()
        self._call = None
        self._context.pump()
        if self._permit is not None:  # its read is no longer to be sent
            self._permit, self._gate.shared.unwritten = None, True
            self._gate.write_soon()

    async def _draw(self, weight: int, lane: Lane) -> None:
        """Draw for a read of this weight; with weight 0, draw ahead."""
        version = self._gate.shared.version
        try:
            await self._budget.report(weight, lane)
        except BudgetStoreDown:
            self._pause(lane, _AGAIN_MS)
            return
        now = self._context.now()
        left = self._budget.left(now)
        if left < self._budget.chunk() / 2:
            self._no_prefetch_before_s = self._clock.now() + _SOON_MS / 1000
        if left >= weight:
            return
        if self._gate.shared.version != version:  # the store grants nothing to a replica that did not know its gate
            self._pause(lane, _AGAIN_MS)
        elif self._budget.is_spent(weight):
            self._pauses_ms[lane] = _next_minute_ms(now.minutes[0], now)
        else:
            self._pause(lane, _SOON_MS)

    async def _get_permit(self, lane: Lane) -> None:
        """Write the gate as after one more read; if no other replica wrote it meanwhile, that read may be sent."""
        before = self._keeper.gate
        after = self._gate.shared.gate_after_send()
        try:
            reply = await self._gate.write_now(after)
        except BudgetStoreDown:
            self._budget.unanswered += 1
            self._pause(lane, _AGAIN_MS)
            return
        if reply.written and public_part(self._keeper.gate) == public_part(before):
            self._permit, self._refused_permits = after, 0
        elif self._refused_permits < _MOST_REFUSED:
            self._refused_permits += 1  # try again with the changed gate
        else:
            self._pause(lane, _AGAIN_MS)

    def _pause(self, lane: Lane, wait_ms: int) -> None:
        now = self._context.now()
        self._pauses_ms[lane] = min(now.utc_ms + wait_ms, _next_minute_ms(now.minutes[0], now))

    # ----------------------------------------------------------------------------------------- parts

    def _supervise(self, work: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
        return supervise(BackgroundTask.SHARED_BUDGET, work, self._clock, self._context.events)

    def _since_reply_s(self) -> float:
        return self._clock.now() - self._budget.last_s

    def _knows_gate(self) -> bool:
        """Return whether the store answered recently, so that the gate it has is known here."""
        window_s = self._budget.beat_s + _LATE_S if self._budget.hears_of_gates else _AGAIN_MS / 1000
        return self._budget.last is not None and self._since_reply_s() <= window_s

    def _waits_for_reports(self) -> bool:
        return self._budget.is_reachable and self._gate.is_new


def _next_minute_ms(minute: int, now: Moment) -> int:
    return (minute + 1) * MINUTE_MS + now.error_ms
