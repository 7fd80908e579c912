"""Rows in a shared store inside the process, for replicas in virtual time."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.ranges import Span
from mdcache.candles.replication import SeriesState, SharedBlock
from mdcache.candles.shared_rows import KnownVersions, LeaseRequest, PullResult, Push
from mdcache.candles.tail import Tail
from mdcache.exchange.klines import SeriesKey
from mdcache.leases import Lease
from tests.support.memory_server import MemoryConnection, MemoryServer
from tests.support.virtual_time import VirtualClock


@dataclass
class _StoredSeries:
    """One series, each part with its version."""

    epoch: bytes
    purge: bytes = b""
    revisions: int = 0
    tail: tuple[bytes, Tail] | None = None
    empty_ranges: tuple[bytes, tuple[tuple[Span, ...], tuple[EmptyRange, ...]]] | None = None
    blocks: dict[int, tuple[bytes, int, SharedBlock]] = field(default_factory=dict)


class MemoryRowServer(MemoryServer):
    """The server, and the rows in it."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.series: dict[SeriesKey, _StoredSeries] = {}
        self.on_purge: list[Callable[[SeriesFilter, bytes], None]] = []
        self.rng = random.Random(3)

    def new_version(self) -> bytes:
        return self.rng.randbytes(8)

    def empty(self) -> None:
        """Restart without its data."""
        self.series.clear()
        self.leases.clear()

    def lose(self, rng: random.Random) -> None:
        """Run out of memory: any part of any series may be evicted."""
        for held in self.series.values():
            for index in list(held.blocks):
                if rng.random() < 0.5:
                    del held.blocks[index]
            if rng.random() < 0.3:
                held.tail = None
        for key in list(self.series):
            if rng.random() < 0.2:
                del self.series[key]


class MemorySharedRows(MemoryConnection):
    """One replica's way to the rows. Tests set `stalled_s`: a push waits so long."""

    server: MemoryRowServer

    def __init__(self, server: MemoryRowServer) -> None:
        super().__init__(server)
        self.stalled_s = 0.0

    def subscribe(
        self, on_lease_end: Callable[[SeriesKey], None], on_purge: Callable[[SeriesFilter, bytes], None]
    ) -> None:
        self.server.on_lease_end.append(on_lease_end)
        self.server.on_purge.append(on_purge)

    async def pull(self, key: SeriesKey, known: KnownVersions, lease_request: LeaseRequest | None) -> PullResult:
        await self.reach()
        found = self._found(key, known)
        if lease_request is not None:
            found = self._leased(key, lease_request, found)
        await self.reply()
        return found

    def _found(self, key: SeriesKey, have: KnownVersions) -> PullResult:
        held = self.server.series.get(key)
        if held is None:
            return PullResult()
        known = have.revisions if have.epoch == held.epoch else 0
        revised = tuple(i for i, (_, at, _) in held.blocks.items() if at > known) if held.revisions > known else ()
        there = {i: held.blocks[i] for i in have.blocks if i in held.blocks}
        tail = held.tail
        outside, empty = held.empty_ranges[1] if held.empty_ranges else ((), ())
        return PullResult(
            held.epoch,
            held.revisions,
            held.purge,
            SeriesState(
                tail[1] if tail and tail[0] != have.tail_version else None,
                outside,
                empty,
                {i: block for i, (version, _, block) in there.items() if version != have.blocks[i][0]},
            ),
            tail[0] if tail else b"",
            tail[1].as_of_ms if tail else -1,
            held.empty_ranges[0] if held.empty_ranges else b"",
            {i: (version, block.stored.coverage) for i, (version, _, block) in there.items()},
            frozenset(),
            revised,
        )

    def _leased(self, key: SeriesKey, need: LeaseRequest, found: PullResult) -> PullResult:
        held = self.server.series.get(key)
        tail = held.tail[1] if held and held.tail else None
        new = need.min_as_of_ms is not None and tail is not None and tail.as_of_ms >= need.min_as_of_ms
        if new and tail is not None and not tail.close_passed(need.now_ms):
            return found
        state, error = self.take_lease(key, need.lease, may_take=need.may_take_lease)
        return replace(found, lease_state=state, error=error)

    async def push(self, key: SeriesKey, push: Push) -> PullResult:
        if self.stalled_s:
            await asyncio.sleep(self.stalled_s)
        await self.reach()
        held = self.server.series.get(key)
        have = push.known
        if (held.epoch if held else b"") != have.epoch or (held is not None and self._moved(held, push)):
            await asyncio.sleep(self.server.slow_s)
            return PullResult()
        if held is None:
            held = self.server.series[key] = _StoredSeries(self.server.new_version())
        if push.state.tail is not None:
            held.tail = (self.server.new_version(), push.state.tail)
        held.empty_ranges = (self.server.new_version(), (push.state.outside_blocks, push.state.empty_ranges))
        for index, block in push.state.blocks.items():
            at = held.blocks[index][1] if index in held.blocks else 0
            if index in push.revised_blocks:
                held.revisions += 1
                at = held.revisions
            held.blocks[index] = (self.server.new_version(), at, block)
        self.end_lease(key, push.lease)
        found = PullResult(
            held.epoch,
            held.revisions,
            held.purge,
            SeriesState(),
            held.tail[0] if held.tail else b"",
            held.tail[1].as_of_ms if held.tail else -1,
            held.empty_ranges[0],
            {i: (held.blocks[i][0], held.blocks[i][2].stored.coverage) for i in push.state.blocks},
            pushed=True,
        )
        await asyncio.sleep(self.server.slow_s)
        return found

    def _moved(self, held: _StoredSeries, push: Push) -> bool:
        have = push.known
        tail_moved = push.state.tail is not None and (held.tail[0] if held.tail else b"") != have.tail_version
        return (
            tail_moved
            or (held.empty_ranges[0] if held.empty_ranges else b"") != have.empty_ranges_version
            or any((held.blocks[i][0] if i in held.blocks else b"") != have.blocks[i][0] for i in push.state.blocks)
        )

    async def renew(self, key: SeriesKey, lease: Lease) -> bool:
        return await self.renew_lease(key, lease)

    async def release(self, key: SeriesKey, lease: Lease, error: str) -> None:
        await self.release_lease(key, lease, error)

    async def purge(self, series_filter: SeriesFilter, name: bytes) -> None:
        await self.reach()
        for key in [key for key in self.server.series if series_filter.matches(key)]:
            self.server.series[key] = _StoredSeries(self.server.new_version(), name)
        self.server.send(self.server.on_purge, series_filter, name)

    async def purge_series(self, key: SeriesKey, name: bytes) -> None:
        await self.reach()
        held = self.server.series.get(key)
        if held is None or held.purge != name:
            self.server.series[key] = _StoredSeries(self.server.new_version(), name)
