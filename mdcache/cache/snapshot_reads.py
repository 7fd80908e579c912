"""Read snapshots: at most one read of each question at a time, shared by all callers (docs/design.md#flights).

A read waits in the queue with the best lane and the latest deadline of its callers. Its result goes to its consumer.
"""

import asyncio
from typing import Generic, Protocol, TypeVar

from mdcache.background_work import compute
from mdcache.cache.sharing import BodySharing, NoSharing
from mdcache.cache.single_flight import SingleFlight
from mdcache.clock import Clock, Instant
from mdcache.events import BackgroundTask, Events, ReadReason
from mdcache.exchange.markets import Market
from mdcache.exchange.rate_limits import request_bucket
from mdcache.exchange.snapshots import SnapshotBody, SnapshotQuestion
from mdcache.leases import Lease
from mdcache.upstream.governor import Governor
from mdcache.upstream.models import Accepted, UpstreamReply, UpstreamRequest
from mdcache.upstream.priority import Lane, Priority

_P = TypeVar("_P")  # what a consumer parses from a body


class BodyConsumer(Protocol[_P]):
    """Keeps the bodies of one kind of snapshot."""

    @property
    def max_body_bytes(self) -> int:
        """The greatest length of a body that is accepted, in bytes."""

    def held_as_of_ms(self, question: SnapshotQuestion) -> int:
        """Return the as-of of the body that is held; -1 for none."""

    def max_age_s(self, question: SnapshotQuestion) -> float:
        """Return how long a body is useful to any replica, in seconds."""

    def parse(self, question: SnapshotQuestion, body: SnapshotBody) -> _P:
        """Parse the body; raise `InvalidBody` if it does not answer `question`. Pure: a thread may call it."""

    async def keep(self, read: "SnapshotRead[_P]", result: _P) -> None:
        """Keep the result of `read`, even if no caller waits for it any more."""


async def parse(consumer: BodyConsumer[_P], question: SnapshotQuestion, body: SnapshotBody) -> _P:
    """Return what `consumer` parses from a body, a long one in a thread; raise `InvalidBody` as it does."""
    return await compute(len(body.body), consumer.parse, question, body)


class SnapshotRead(Generic[_P]):
    """One read of one question: sent by the governor, and shared by callers and replicas.

    `for_elements`: it is a list of which a caller wants an element. `result`: set once it succeeded.
    `satisfied_by_peers`: another replica had the answer, and nothing was sent. The rest is as in `BodyRead`.
    """

    def __init__(
        self,
        question: SnapshotQuestion,
        priority: Priority,
        reason: ReadReason,
        governor: Governor,
        clock: Clock,
        consumer: BodyConsumer[_P],
        min_as_of_ms: int,
    ) -> None:
        self.question = question
        self.priority = priority
        self.reason = reason
        self.market: Market = question.market
        self.endpoint = question.endpoint.short_path
        self.sent: Instant | None = None
        self.built_at_s = 0.0
        self.task: asyncio.Task[None] | None = None
        self.for_elements = False
        self.result: _P | None = None
        self.fetched: SnapshotBody | None = None
        self.min_as_of_ms = min_as_of_ms
        self.held_as_of_ms = consumer.held_as_of_ms(question)
        self.max_age_s = consumer.max_age_s(question)
        self.satisfied_by_peers = False
        self.waited_for_peer = False
        self.lease: Lease | None = None
        self._governor = governor
        self._clock = clock
        self._consumer = consumer

    @property
    def name(self) -> str:
        """The question in its canonical form, the same on every replica."""
        return str(self.question)

    async def apply(self, body: SnapshotBody) -> None:
        """Keep what another replica read; raise `InvalidBody` if it does not answer this question."""
        await self.keep(await parse(self._consumer, self.question, body))

    async def keep(self, result: _P) -> None:
        """Keep the result, and set it for the callers."""
        self.result = result
        await self._consumer.keep(self, result)

    def weight(self) -> int:
        """Return its weight."""
        return self.question.weight

    def build_request(self) -> UpstreamRequest:
        """Build the request; in the same step, count it in the path's request limit, if there is one."""
        path = self.question.endpoint.path
        bucket = request_bucket(path)
        if bucket is not None:
            self._governor.count_request(bucket)
        self.built_at_s, self.sent = self._clock.now(), self._governor.clocks.now(self.market)
        return UpstreamRequest(
            path, self.question.query, self.question.headers, self.weight(), self._consumer.max_body_bytes
        )

    async def accept(self, reply: UpstreamReply) -> Accepted[tuple[SnapshotBody, _P]]:
        """Parse the reply; raise `InvalidBody` if it does not answer this question."""
        body = SnapshotBody(reply.body, reply.sent.ms)
        return Accepted((body, await parse(self._consumer, self.question, body)))


class SnapshotReads(Generic[_P]):
    """The reads of one consumer. A read that was sent more than `stalled_after_s` ago is no longer joined."""

    def __init__(
        self,
        task: BackgroundTask,
        governor: Governor,
        clock: Clock,
        events: Events,
        stalled_after_s: float,
        consumer: BodyConsumer[_P],
        body_sharing: BodySharing | None,
        error_memo_s: float = 1.0,
    ) -> None:
        self._governor = governor
        self._clock = clock
        self._stalled_after_s = stalled_after_s
        self._consumer = consumer
        self._body_sharing: BodySharing = body_sharing or NoSharing()
        self._flight: SingleFlight[SnapshotQuestion, SnapshotRead[_P]] = SingleFlight(
            task, clock, events, self._run, self._body_sharing.finished, lambda read: read.question, error_memo_s
        )

    def __len__(self) -> int:
        return len(self._flight)

    def join(
        self, question: SnapshotQuestion, min_as_of_ms: int, priority: Priority, reason: ReadReason
    ) -> tuple[SnapshotRead[_P], bool]:
        """Join a read whose answer will be as of `min_as_of_ms` or later, or start one; see `SingleFlight`."""
        read, shared = self._flight.join(
            question,
            priority,
            lambda read: self._satisfies(read, min_as_of_ms),
            lambda: self._new(question, priority, reason, min_as_of_ms),
        )
        read.min_as_of_ms = max(read.min_as_of_ms, min_as_of_ms)
        return read, shared

    async def wait(self, read: SnapshotRead[_P], deadline_s: float) -> None:
        """Wait for the end of `read`; see `SingleFlight`."""
        await self._flight.wait(read, deadline_s)

    async def pull(self, question: SnapshotQuestion) -> bool:
        """Keep what another replica has read; return whether it was newer."""
        return await self._body_sharing.pull(self._new(question, Priority(Lane.NORMAL, 0.0), ReadReason.SNAPSHOT, 0))

    async def aclose(self) -> None:
        """Cancel the reads in progress."""
        await self._flight.aclose()

    def _new(
        self, question: SnapshotQuestion, priority: Priority, reason: ReadReason, min_as_of_ms: int
    ) -> SnapshotRead[_P]:
        return SnapshotRead(question, priority, reason, self._governor, self._clock, self._consumer, min_as_of_ms)

    def _satisfies(self, read: SnapshotRead[_P], min_as_of_ms: int) -> bool:
        if read.sent is None:
            return True
        return read.sent.ms >= min_as_of_ms and self._clock.now() - read.built_at_s <= self._stalled_after_s

    async def _run(self, read: SnapshotRead[_P]) -> None:
        read.satisfied_by_peers = await self._body_sharing.satisfied_by_peers(read)
        if not read.satisfied_by_peers:
            read.fetched, result = await self._governor.fetch(read)
            await read.keep(result)
