"""Fetches of snapshots: one read of one question, shared by all who wait for it (docs/design.md#flights).

A fetch owns its task; who waits shields it. It queues with the best lane and the latest deadline of its waiters.
"""

import asyncio
from typing import Protocol

import msgspec

from mdcache.cache.replicas.body_ports import BodySharing
from mdcache.cache.single_flight import SingleFlight
from mdcache.clock import Clock, Instant
from mdcache.errors import InvalidBody
from mdcache.events import Events, RequestCollapsed
from mdcache.exchange.markets import Market
from mdcache.exchange.rate_limits import request_bucket
from mdcache.exchange.snapshots import SnapshotQuestion
from mdcache.leases import Lease
from mdcache.upstream.governor import Governor, Lane, Priority, UpstreamReply, UpstreamRequest
from mdcache.upstream.replicas.shared_bodies import SharedBody

MAX_BODY_BYTES = 16 << 20  # the longest list, spot's ticker/24hr, takes 2 MB

_json = msgspec.json.Decoder(msgspec.Raw)


class BodySink(Protocol):
    """Where bodies are kept here."""

    def held_as_of_ms(self, snapshot: SnapshotQuestion) -> int:
        """As-of of the body that is held; -1 for none."""
        ...

    def max_age_s(self, snapshot: SnapshotQuestion) -> float:
        """How long a body may be shown at all."""
        ...

    async def keep(self, read: "SnapshotRead", body: bytes, as_of_ms: int) -> None:
        """Keep what it brought, also where nobody waits any more."""
        ...


class SnapshotRead:
    """The governor's `Read` of one snapshot, and what those who share it know of it.

    `for_parts`: it is a list, and somebody wants an element of it. `brought`: body and as-of, once it landed.
    `spared`: another replica had read it, and nothing was sent; the rest is as in `copying.Copied`.
    """

    def __init__(
        self,
        snapshot: SnapshotQuestion,
        priority: Priority,
        reason: str,
        governor: Governor,
        clock: Clock,
        sink: BodySink,
        min_as_of_ms: int,
    ) -> None:
        self.snapshot = snapshot
        self.priority = priority
        self.reason = reason
        self.market: Market = snapshot.market
        self.endpoint = snapshot.endpoint.short_path
        self.sent: Instant | None = None
        self.built_at_s = 0.0
        self.task: asyncio.Task[None] | None = None
        self.for_elements = False
        self.result: tuple[bytes, int] | None = None
        self.min_as_of_ms = min_as_of_ms
        self.held_as_of_ms = sink.held_as_of_ms(snapshot)
        self.max_age_s = sink.max_age_s(snapshot)
        self.satisfied_by_peers = False
        self.waited_for_peer = False
        self.lease: Lease | None = None
        self._governor = governor
        self._clock = clock
        self._sink = sink

    @property
    def name(self) -> str:
        """The question in its one form."""
        return str(self.snapshot)

    async def apply(self, copy: SharedBody) -> None:
        """Keep what another replica read, if it is what was asked for."""
        check(self.snapshot, copy.body)
        await self.keep(copy.body, copy.as_of_ms)

    async def keep(self, body: bytes, as_of_ms: int) -> None:
        """Have it kept, and shown to who waits."""
        self.result = body, as_of_ms
        await self._sink.keep(self, body, as_of_ms)

    def weight(self) -> int:
        """What it costs."""
        return self.snapshot.weight

    def build_request(self) -> UpstreamRequest:
        """The request; in the same step one request is taken of the path's own bucket, where it has one."""
        path = self.snapshot.endpoint.path
        bucket = request_bucket(path)
        if bucket is not None:
            self._governor.count_request(bucket)
        self.built_at_s, self.sent = self._clock.now(), self._governor.clocks.now(self.market)
        return UpstreamRequest(path, self.snapshot.query, self.snapshot.headers, self.weight(), MAX_BODY_BYTES)

    def accept(self, reply: UpstreamReply) -> tuple[bytes, int]:
        """The body, if it is what was asked for, and its as-of."""
        check(self.snapshot, reply.body)
        return reply.body, reply.sent.ms


class SnapshotReads:
    """The reads under way. What they bring is kept in `sink`, also where nobody waits for it any more."""

    def __init__(
        self,
        governor: Governor,
        clock: Clock,
        events: Events,
        stalled_after_s: float,
        sink: BodySink,
        body_sharing: BodySharing,
    ) -> None:
        self._governor = governor
        self._clock = clock
        self._events = events
        self._stalled_after_s = stalled_after_s
        self._sink = sink
        self._body_sharing = body_sharing
        self._flight: SingleFlight[SnapshotQuestion, SnapshotRead] = SingleFlight(
            "fetch", clock, events, self._run, self._finished, lambda read: read.snapshot
        )

    def __len__(self) -> int:
        return len(self._flight)

    def join(
        self, snapshot: SnapshotQuestion, min_as_of_ms: int, priority: Priority, reason: str
    ) -> tuple[SnapshotRead, bool]:
        """Join a read that will bring `snapshot` as of `min_as_of_ms` or later, or start one; see `SingleFlight`."""
        read, shared = self._flight.join(
            snapshot,
            priority,
            lambda read: self._satisfies(read, min_as_of_ms),
            lambda: self._new(snapshot, priority, reason, min_as_of_ms),
        )
        if shared:
            read.min_as_of_ms = max(read.min_as_of_ms, min_as_of_ms)
            self._events.emit(RequestCollapsed(snapshot.market))
        return read, shared

    async def wait(self, read: SnapshotRead, deadline_s: float) -> None:
        """Wait for the end of `read`; see `SingleFlight`."""
        await self._flight.wait(read, deadline_s)

    async def pull(self, snapshot: SnapshotQuestion) -> bool:
        """Keep what another replica has read; return whether that was news."""
        return await self._body_sharing.pull(self._new(snapshot, Priority(Lane.NORMAL, 0.0), "look", 0))

    async def aclose(self) -> None:
        """Cancel the reads under way."""
        await self._flight.aclose()

    def _new(self, snapshot: SnapshotQuestion, priority: Priority, reason: str, min_as_of_ms: int) -> SnapshotRead:
        return SnapshotRead(snapshot, priority, reason, self._governor, self._clock, self._sink, min_as_of_ms)

    def _satisfies(self, read: SnapshotRead, min_as_of_ms: int) -> bool:
        if read.sent is None:
            return True
        return read.sent.ms >= min_as_of_ms and self._clock.now() - read.built_at_s <= self._stalled_after_s

    async def _run(self, read: SnapshotRead) -> None:
        read.satisfied_by_peers = await self._body_sharing.satisfied_by_peers(read)
        if not read.satisfied_by_peers:
            await read.keep(*await self._governor.fetch(read))

    def _finished(self, read: SnapshotRead, error: BaseException | None) -> None:
        fetched = error is None and not read.satisfied_by_peers and read.result is not None
        result = SharedBody(*read.result) if fetched and read.result is not None else None
        self._body_sharing.finished(read, result, error)


class _Element(msgspec.Struct):
    symbol: str = ""
    code: int = 0


_element_decoder = msgspec.json.Decoder(_Element)
_elements_decoder = msgspec.json.Decoder(list[_Element])


def check(snapshot: SnapshotQuestion, body: bytes) -> None:
    """Raise `InvalidBody` where a 200's body is no JSON, an error after all, or about something else."""
    try:
        body.decode()
        _json.decode(body)
        if body[:1] == b"{":
            _check_one(snapshot, _element_decoder.decode(body))
        elif body[:1] == b"[":
            _check_list(snapshot, body)
        else:
            raise InvalidBody("not-json", "neither object nor list")
    except UnicodeDecodeError as error:
        raise InvalidBody("encoding", snapshot.endpoint.path) from error
    except msgspec.ValidationError as error:
        raise InvalidBody("types", snapshot.endpoint.path) from error
    except msgspec.DecodeError as error:
        raise InvalidBody("not-json", snapshot.endpoint.path) from error


def _check_one(snapshot: SnapshotQuestion, part: _Element) -> None:
    if part.code < 0:
        raise InvalidBody("not-asked", f"an error with status 200: {part.code}")
    if not snapshot.endpoint.lists_elements:
        return
    if snapshot.list_question() is None or snapshot.value("symbols") or snapshot.endpoint.single_as_list:
        raise InvalidBody("not-a-list", snapshot.endpoint.path)
    if part.symbol != snapshot.value("symbol"):
        raise InvalidBody("not-asked", f"{snapshot.endpoint.path} of another symbol")


def _check_list(snapshot: SnapshotQuestion, body: bytes) -> None:
    if not snapshot.endpoint.lists_elements:
        return
    if snapshot.value("symbol") and not snapshot.endpoint.single_as_list:
        raise InvalidBody("types", f"{snapshot.endpoint.path}: a list for one symbol")
    symbols = {part.symbol for part in _elements_decoder.decode(body)}
    asked = set(snapshot.symbols)
    if snapshot.value("symbolStatus"):  # leaves out those of another status
        asked &= symbols
    if snapshot.symbols and symbols != asked:
        raise InvalidBody("not-asked", f"{snapshot.endpoint.path} of other symbols")
    if not snapshot.symbols and not snapshot.value("pair") and not symbols and not snapshot.value("symbolStatus"):
        raise InvalidBody("empty", snapshot.endpoint.path)
