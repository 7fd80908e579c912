"""A family's messages about the shared gate: write it to the store, and adopt what other replicas wrote there."""

import asyncio

from mdcache.background_work import cancel_all, supervise
from mdcache.events import BackgroundTask
from mdcache.upstream.admission import AdmissionContext
from mdcache.upstream.gate import Gate
from mdcache.upstream.gate_events import GateEvent
from mdcache.upstream.replicas.protocol import BudgetStore, BudgetStoreDown, GateReply
from mdcache.upstream.replicas.shared_gate import SharedGate

_WAIT_S = 1.3  # at most, while the store's gate is repeatedly new; slightly longer than it counts as new
_MAX_TRIES = 8  # attempts to write a gate that others write, too; the next heartbeat continues


class GateMessages:
    """One family's gate, between this replica and the store. `turn`: held during each message to the store."""

    def __init__(self, store: BudgetStore, context: AdmissionContext, turn: asyncio.Lock) -> None:
        self.shared = SharedGate(context.gate_keeper, context.clock, context.lease_ms)
        self._store = store
        self._context = context
        self._turn = turn
        self._new_since_s: float | None = None
        self._writes = False
        self._announced = (0, "")  # version and text of a gate, while one is being written here
        self._writer: asyncio.Task[None] | None = None

    @property
    def is_new(self) -> bool:
        """Whether the store's gate is new: no replica sends until all have reported what they know of a ban."""
        return self._new_since_s is not None and self._context.clock.now() - self._new_since_s < _WAIT_S

    def stepped(self, event: GateEvent, before: Gate) -> None:
        """Publish a change of our gate."""
        if self.shared.stepped(event, before, keep=self._store.up):
            self.write_soon()

    def receive(self, version: int, text: str) -> None:
        """Adopt the gate that another replica wrote, as announced."""
        if self._writes:  # until the answer, it is not known what to merge it with
            self._announced = max(self._announced, (version, text))
        elif version > self.shared.version:
            self._adopt(version, text)

    def apply(self, reply: GateReply) -> None:
        """Adopt the store's gate."""
        if not reply.new:
            self._new_since_s = None
        elif self._new_since_s is None:
            self._new_since_s = self._context.clock.now()
        if reply.version == self.shared.version or reply.written:
            self.shared.unwritten |= not reply.version
            self.write_soon()
        else:
            self._adopt(reply.version, reply.text, reply.age_ms)

    def write_soon(self) -> None:
        """Write the gate in the background, if it must be."""
        if self.shared.unwritten and self._writer is None:
            self._writer = supervise(
                BackgroundTask.SHARED_GATE, self._write_until_done, self._context.clock, self._context.events
            )

    async def write(self) -> None:
        """Write the gate until it need not be, or the store can't be asked."""
        try:
            for _ in range(_MAX_TRIES):
                if not (self.shared.unwritten and self._store.up):
                    break
                async with self._turn:
                    await self.write_now(self._context.gate_keeper.gate)
        except BudgetStoreDown:
            self.shared.forget_steps()

    async def write_now(self, after: Gate) -> GateReply:
        """Write the gate, or adopt what others wrote; the caller holds the lock. Raises `BudgetStoreDown`."""
        draft = self.shared.draft(after, self._context.now())
        self._writes, self._announced = True, (0, "")
        try:
            reply = await self._store.write_gate(draft.version, draft.text)
        except BudgetStoreDown:
            self._writes = False
            self.receive(*self._announced)
            raise
        finally:
            self._writes = False
        if reply.written:
            self.shared.written(draft, reply.version)
        self.apply(reply)
        self.receive(*self._announced)
        return reply

    async def aclose(self) -> None:
        """Stop writing."""
        await cancel_all(self._writer)

    async def _write_until_done(self) -> None:
        await self.write()
        self._writer = None

    def _adopt(self, version: int, text: str, age_ms: int = 0) -> None:
        if self.shared.adopt(version, text, self._context.now(), age_ms):
            self._context.wake()
        self.write_soon()
