"""A commons inside the process, for replicas in virtual time: as Redis behaves, and as it fails."""

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
from mdcache.leases import ERROR_SHARED_S, LEASE_S, Lease, LeaseState, SharedStoreDown
from tests.support.virtual_time import VirtualClock


@dataclass
class _StoredSeries:
    """One series, each part with the mark it was given under."""

    epoch: bytes
    purge: bytes = b""
    revisions: int = 0
    tail: tuple[bytes, Tail] | None = None
    emptiness: tuple[bytes, tuple[tuple[Span, ...], tuple[EmptyRange, ...]]] | None = None
    blocks: dict[int, tuple[bytes, int, SharedBlock]] = field(default_factory=dict)


@dataclass
class _Subscriber:
    told: Callable[[SeriesKey], None]
    purged: Callable[[SeriesFilter, bytes], None]


class MemoryServer:
    """What all replicas reach. `up`, `slow_s` and `deaf` (no message arrives) are the tests' to set."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.up = True
        self.drops_messages = False
        self.slow_s = 0.001
        self.series: dict[SeriesKey, _StoredSeries] = {}
        self.leases: dict[tuple[SeriesKey, str], tuple[float, int, str]] = {}
        self.waiting: set[SeriesKey] = set()
        self.subscribers: list[_Subscriber] = []
        self.trips = 0
        self.rng = random.Random(3)

    def mark(self) -> bytes:
        return self.rng.randbytes(8)

    def empty(self) -> None:
        """Restarted without its data."""
        self.series.clear()
        self.leases.clear()

    def lose(self, rng: random.Random) -> None:
        """Out of memory: any part of any series is given up."""
        for held in self.series.values():
            for index in list(held.blocks):
                if rng.random() < 0.5:
                    del held.blocks[index]
            if rng.random() < 0.3:
                held.tail = None
        for key in list(self.series):
            if rng.random() < 0.2:
                del self.series[key]

    async def round_trip(self) -> None:
        self.trips += 1
        if not self.up:
            raise SharedStoreDown
        await asyncio.sleep(self.slow_s)

    def publish(self, key: SeriesKey) -> None:
        if key in self.waiting:
            self.waiting.discard(key)
            if not self.drops_messages:
                for heard in self.subscribers:
                    asyncio.get_running_loop().call_later(self.slow_s, heard.told, key)


class MemorySharedRows:
    """One replica's way to the server.

    `cut` where it alone is cut off, `stalled_s`: so much later it gives, `lost`: so many replies don't arrive.
    """

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.cut = False
        self.stalled_s = 0.0
        self.lost = 0

    def subscribe(
        self, on_lease_end: Callable[[SeriesKey], None], on_purge: Callable[[SeriesFilter, bytes], None]
    ) -> None:
        self.server.subscribers.append(_Subscriber(on_lease_end, on_purge))

    async def _reach(self) -> None:
        if self.cut:
            raise SharedStoreDown
        await self.server.round_trip()

    async def pull(self, key: SeriesKey, known: KnownVersions, lease_request: LeaseRequest | None) -> PullResult:
        await self._reach()
        found = self._found(key, known)
        if lease_request is not None:
            found = self._leased(key, lease_request, found)
        await self._reply()
        return found

    async def _reply(self) -> None:
        await asyncio.sleep(self.server.slow_s)
        if self.lost:
            self.lost -= 1
            raise SharedStoreDown

    def _found(self, key: SeriesKey, have: KnownVersions) -> PullResult:
        held = self.server.series.get(key)
        if held is None:
            return PullResult()
        known = have.revisions if have.epoch == held.epoch else 0
        revised = tuple(i for i, (_, at, _) in held.blocks.items() if at > known) if held.revisions > known else ()
        there = {i: held.blocks[i] for i in have.blocks if i in held.blocks}
        tail = held.tail
        bare, voids = held.emptiness[1] if held.emptiness else ((), ())
        return PullResult(
            held.epoch,
            held.revisions,
            held.purge,
            SeriesState(
                tail[1] if tail and tail[0] != have.tail_version else None,
                bare,
                voids,
                {i: block for i, (mark, _, block) in there.items() if mark != have.blocks[i][0]},
            ),
            tail[0] if tail else b"",
            tail[1].as_of_ms if tail else -1,
            held.emptiness[0] if held.emptiness else b"",
            {i: (mark, block.stored.coverage) for i, (mark, _, block) in there.items()},
            frozenset(),
            revised,
        )

    def _leased(self, key: SeriesKey, need: LeaseRequest, found: PullResult) -> PullResult:
        held = self.server.series.get(key)
        tail = held.tail[1] if held and held.tail else None
        new = need.min_as_of_ms is not None and tail is not None and tail.as_of_ms >= need.min_as_of_ms
        if new and tail is not None and not tail.close_passed(need.now_ms):
            return found
        name, now = (key, need.lease.name), self.server.clock.now()
        until, rank, token = self.server.leases.get(name, (0.0, 0, ""))
        if until > now and token.startswith("!"):
            return replace(found, lease_state=LeaseState.FAILED, error=token[1:])
        if until > now and token != need.lease.holder and rank <= need.lease.rank:
            self.server.waiting.add(key)
            return replace(found, lease_state=LeaseState.THEIRS)
        if not need.may_take_lease:
            return found
        self.server.leases[name] = (now + LEASE_S, need.lease.rank, need.lease.holder)
        return replace(found, lease_state=LeaseState.MINE)

    async def push(self, key: SeriesKey, push: Push) -> PullResult:
        if self.stalled_s:
            await asyncio.sleep(self.stalled_s)
        await self._reach()
        held = self.server.series.get(key)
        have = push.known
        if (held.epoch if held else b"") != have.epoch or (held is not None and self._moved(held, push)):
            await asyncio.sleep(self.server.slow_s)
            return PullResult()
        if held is None:
            held = self.server.series[key] = _StoredSeries(self.server.mark())
        if push.state.tail is not None:
            held.tail = (self.server.mark(), push.state.tail)
        held.emptiness = (self.server.mark(), (push.state.outside_blocks, push.state.empty_ranges))
        for index, block in push.state.blocks.items():
            at = held.blocks[index][1] if index in held.blocks else 0
            if index in push.revised_blocks:
                held.revisions += 1
                at = held.revisions
            held.blocks[index] = (self.server.mark(), at, block)
        self._end(key, push.lease)
        found = PullResult(
            held.epoch,
            held.revisions,
            held.purge,
            SeriesState(),
            held.tail[0] if held.tail else b"",
            held.tail[1].as_of_ms if held.tail else -1,
            held.emptiness[0],
            {i: (held.blocks[i][0], held.blocks[i][2].stored.coverage) for i in push.state.blocks},
            pushed=True,
        )
        await asyncio.sleep(self.server.slow_s)
        return found

    def _moved(self, held: _StoredSeries, gift: Push) -> bool:
        have = gift.known
        tail_moved = gift.state.tail is not None and (held.tail[0] if held.tail else b"") != have.tail_version
        return (
            tail_moved
            or (held.emptiness[0] if held.emptiness else b"") != have.empty_ranges_version
            or any((held.blocks[i][0] if i in held.blocks else b"") != have.blocks[i][0] for i in gift.state.blocks)
        )

    def _end(self, key: SeriesKey, lease: Lease | None) -> None:
        if lease is not None and self.server.leases.get((key, lease.name), (0, 0, ""))[2] == lease.holder:
            del self.server.leases[key, lease.name]
        self.server.publish(key)

    async def renew(self, key: SeriesKey, lease: Lease) -> bool:
        await self._reach()
        until, rank, token = self.server.leases.get((key, lease.name), (0.0, 0, ""))
        if self.lost:  # the request itself, here
            self.lost -= 1
            raise SharedStoreDown
        mine = token == lease.holder and until > self.server.clock.now()
        if mine:
            self.server.leases[key, lease.name] = (self.server.clock.now() + LEASE_S, rank, token)
        return mine

    async def release(self, key: SeriesKey, lease: Lease, error: str) -> None:
        await self._reach()
        if self.server.leases.get((key, lease.name), (0, 0, ""))[2] == lease.holder:
            self._end(key, lease)
            if error:
                self.server.leases[key, lease.name] = (self.server.clock.now() + ERROR_SHARED_S, 0, "!" + error)

    async def purge(self, series_filter: SeriesFilter, name: bytes) -> None:
        await self._reach()
        for key in [key for key in self.server.series if series_filter.matches(key)]:
            self.server.series[key] = _StoredSeries(self.server.mark(), name)
        if not self.server.drops_messages:
            for heard in self.server.subscribers:
                asyncio.get_running_loop().call_later(self.server.slow_s, heard.purged, series_filter, name)

    async def purge_series(self, key: SeriesKey, name: bytes) -> None:
        await self._reach()
        held = self.server.series.get(key)
        if held is None or held.purge != name:
            self.server.series[key] = _StoredSeries(self.server.mark(), name)
