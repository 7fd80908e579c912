"""A family's shared budget: what this replica may spend, and the messages by which it reports and draws.

`protocol` has the rules.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from mdcache.exchange.markets import Family
from mdcache.upstream.admission import AdmissionContext
from mdcache.upstream.budget import Moment
from mdcache.upstream.family_clock import SURE_MS
from mdcache.upstream.gate import GateState
from mdcache.upstream.priority import Lane
from mdcache.upstream.replicas.gate_messages import GateMessages
from mdcache.upstream.replicas.protocol import (
    NEWCOMERS,
    WHOLE,
    Allotment,
    BudgetStore,
    BudgetStoreDown,
    Displaced,
    DrawKind,
    DrawReply,
    DrawRequest,
    after_reply,
    at_minute,
    chunk,
    minute_requests,
    stated_part,
    while_unanswered,
)

_BEAT_S = 1.0
_REPLICAS_A_BEAT = 50  # with more, each sends its heartbeat less often
_ALONE_AFTER = 2  # messages without an answer: one may be lost, or this process may have been suspended


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


class SharedBudget:
    """One family's budget. `last`: the reply to the last message, `None` if there was none; `last_s`: when.

    `was_able`: whether there ever was weight to spend since the start.
    """

    def __init__(self, peers: Replicas, store: BudgetStore, context: AdmissionContext, gate: GateMessages) -> None:
        self.last: DrawReply | None = None
        self.last_s = 0.0
        self.unanswered = _ALONE_AFTER  # messages in a row without an answer
        self.was_able = False
        self._peers = peers
        self._store = store
        self._context = context
        self._clock = context.clock
        self._gate = gate
        self._allotment = Allotment()
        self._registered = False
        self._returning = peers.returning
        self._seq = 0
        self._listened = False  # when the last message was sent: any gate written since was announced here

    # ------------------------------------------------------------------------------- what is known

    @property
    def replicas(self) -> int:
        """The number of replicas, as far as it is known."""
        return self._allotment.replicas or self._peers.assumed

    @property
    def is_reachable(self) -> bool:
        """Whether the store takes part; otherwise this replica continues alone."""
        return self._store.up and self.unanswered < _ALONE_AFTER

    @property
    def is_shared(self) -> bool:
        """Whether weight may be drawn; otherwise this replica uses its own part."""
        return self._store.up and self.last is not None and self.last.shared

    @property
    def beat_s(self) -> float:
        """The time between two heartbeats."""
        return max(_BEAT_S, self._allotment.replicas / _REPLICAS_A_BEAT)

    @property
    def hears_of_gates(self) -> bool:
        """Whether each gate written since the last message was sent has been announced here."""
        return self._listened and self._store.listens

    def part_in(self, minute: int) -> float:
        """Return our part of the share while it is divided."""
        return self._allotment.part_in(minute) / WHOLE

    def usable_part(self, now: Moment) -> float:
        """Return the part of the share that may be spent without the store; what was drawn is limited by `left`."""
        allotment = self._rolled(now)

        def part(minute: int) -> float:
            drawn = allotment.drawn.get(minute)
            return allotment.part_in(minute) / WHOLE if drawn is None else float(drawn > self._own(minute))

        return min(map(part, now.minutes))

    def chunk(self) -> int:
        """Return how much to draw at once."""
        return chunk(self._allowed(), self.replicas)

    def left(self, now: Moment) -> int:
        """Return the weight that may be spent without asking, in every minute that a read sent now may fall into."""
        allotment, allowed = self._rolled(now), self._allowed()
        left = min(allotment.cap(minute, allowed) - self._own(minute) for minute in now.minutes)
        self.was_able |= left >= self.chunk() / 2
        return left

    def is_spent(self, weight: int) -> bool:
        """Return whether so much can't be drawn in this minute any more, by the last reply."""
        usable = self._allowed() * (1.0 - NEWCOMERS if self._context.budget_keeper.limit_read else 1.0)
        minutes = self.last.minutes if self.last is not None else ()
        return any(each.total + weight - (each.drawn - self._own(each.minute)) > usable for each in minutes)

    # --------------------------------------------------------------------------------- messages

    async def start(self) -> None:
        """Register at the store; without it, continue with one part in as many as are assumed."""
        try:
            await self.report()
        except BudgetStoreDown:
            if not self._registered:
                part = WHOLE // self._peers.assumed
                self._allotment = replace(self._allotment, part=part, next_part=part)
            raise

    async def report(self, weight: int = 0, lane: Lane = Lane.NORMAL) -> DrawReply:
        """Report, and draw for a read of this weight; with weight 0, draw ahead. The caller holds the lock.

        Raises `BudgetStoreDown`.
        """
        if self.last is None:  # this first message enters no minute
            await self._exchange(DrawKind.REPORT)
        return await self._exchange(DrawKind.REPORT, weight, lane)

    async def leave(self) -> None:
        """Release our part."""
        if self._store.up:
            with suppress(BudgetStoreDown):
                await self._exchange(DrawKind.LEAVE)

    async def _exchange(self, kind: DrawKind, weight: int = 0, lane: Lane = Lane.NORMAL) -> DrawReply:
        now = self._context.now()
        request = self._request(kind, now, weight, lane)
        before = self._allotment
        self._allot(while_unanswered(before, request), request)
        sent_s, listened = self._clock.now(), self._store.listens
        try:
            reply = await self._store.draw(request)
        except BudgetStoreDown as error:
            self.last = None
            self.unanswered += 1
            if isinstance(error, Displaced):
                self._change_id(before, request)
            raise
        self._allot(after_reply(before, request, reply), request)
        self.last, self.last_s, self.unanswered = reply, self._clock.now(), 0
        self._listened = listened
        if not self._registered:
            self._count_earlier_draws(request, reply)
        self._apply(reply, sent_s)
        return reply

    def _request(self, kind: DrawKind, now: Moment, weight: int, lane: Lane) -> DrawRequest:
        budget, allotment, allowed = self._context.budget_keeper, self._rolled(now), self._allowed()
        self._seq += 1
        return DrawRequest(
            kind=kind if self._registered or kind is DrawKind.LEAVE else DrawKind.REGISTER,
            seq=self._seq,
            now_ms=now.utc_ms,
            allowed=allowed,
            limit=budget.budget.limit if budget.limit_read else 0,
            part=stated_part(allotment, now.minutes[0]),
            replicas=allotment.replicas,
            born=allotment.born,
            assumed=self._peers.assumed,
            returning=self._returning,
            process=self._peers.process,
            error_ms=now.error_ms,
            enters=self.last is not None and now.error_ms <= SURE_MS,
            gate_version=self._gate.shared.version,
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
        self._registered = True
        self._peers.on_first_reply()

    def _change_id(self, before: Allotment, request: DrawRequest) -> None:
        """Continue as a new replica, with what was drawn so far, because another process has our id."""
        self._store.rename()
        self._registered = self._returning = False
        self._allot(replace(before, born=0, entered=frozenset()), request)

    def _apply(self, reply: DrawReply, sent_s: float) -> None:
        """Adopt the time, the usage of the address, the limit and the gate of other replicas."""
        for each in reply.minutes:
            self._context.budget_keeper.adopt_header(each.minute, each.header)
        if reply.utc_ms:
            self._context.family_clock.adopt(reply.utc_ms, reply.error_ms, sent_s)
        if reply.limit and self._context.budget_keeper.adopt_limit(reply.limit):
            self._context.wake()
        self._gate.apply(reply.gate)
        now, is_open = self._context.now(), self._context.gate_keeper.gate.state is GateState.OPEN
        if self.left(now) > 0 and is_open and now.error_ms > SURE_MS:  # nothing is shared until one has measured it
            self._context.family_clock.measure_in_background()

    def _allowed(self) -> int:
        return int(self._context.budget_keeper.budget.allowed * self._context.gate_keeper.share_factor())

    def _own(self, minute: int) -> int:
        return self._context.budget_keeper.budget.minute(minute).ours

    def _allot(self, allotment: Allotment, request: DrawRequest) -> None:
        self._allotment = allotment
        for each in request.minutes:
            self._context.budget_keeper.record_drawn(each.minute, allotment.drawn.get(each.minute))

    def _rolled(self, now: Moment) -> Allotment:
        """Return the allotment now. What an earlier process drew, or this one by a wrong clock, is taken for spent."""
        allotment = at_minute(self._allotment, now.minutes[0])
        for minute in self._context.budget_keeper.budget.minutes:
            if minute.drawn is not None and minute.number in now.minutes and minute.number not in allotment.drawn:
                allotment = replace(allotment, drawn={**allotment.drawn, minute.number: minute.ours})
        self._allotment = allotment
        return allotment
