"""A commons inside the process, for replicas in virtual time: as Redis behaves, and as it fails."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mdcache.candles.atrest import Span, Which
from mdcache.candles.commons import ERROR_TOLD_S, LEASE_S, CommonsDown, Found, Gift, Have, Hold, Lease, Need
from mdcache.candles.share import Shared, SharedBlock
from mdcache.candles.tail import Tail
from mdcache.candles.voids import Void
from mdcache.exchange.questions import SeriesKey
from tests.world.loop import FakeClock


@dataclass
class _Held:
    """One series, each part with the mark it was given under."""

    epoch: bytes
    purge: bytes = b""
    revisions: int = 0
    tail: tuple[bytes, Tail] | None = None
    emptiness: tuple[bytes, tuple[tuple[Span, ...], tuple[Void, ...]]] | None = None
    blocks: dict[int, tuple[bytes, int, SharedBlock]] = field(default_factory=dict)


@dataclass
class _Heard:
    told: Callable[[SeriesKey], None]
    purged: Callable[[Which, bytes], None]


class Server:
    """What all replicas reach. `up`, `slow_s` and `deaf` (no message arrives) are the tests' to set."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.up = True
        self.deaf = False
        self.slow_s = 0.001
        self.held: dict[SeriesKey, _Held] = {}
        self.leases: dict[tuple[SeriesKey, str], tuple[float, int, str]] = {}
        self.waiting: set[SeriesKey] = set()
        self.hearers: list[_Heard] = []
        self.trips = 0
        self.rng = random.Random(3)

    def mark(self) -> bytes:
        return self.rng.randbytes(8)

    def empty(self) -> None:
        """Restarted without its data."""
        self.held.clear()
        self.leases.clear()

    def lose(self, rng: random.Random) -> None:
        """Out of memory: any part of any series is given up."""
        for held in self.held.values():
            for index in list(held.blocks):
                if rng.random() < 0.5:
                    del held.blocks[index]
            if rng.random() < 0.3:
                held.tail = None
        for key in list(self.held):
            if rng.random() < 0.2:
                del self.held[key]

    async def trip(self) -> None:
        self.trips += 1
        if not self.up:
            raise CommonsDown
        await asyncio.sleep(self.slow_s)

    def tell(self, key: SeriesKey) -> None:
        if key in self.waiting:
            self.waiting.discard(key)
            if not self.deaf:
                for heard in self.hearers:
                    asyncio.get_running_loop().call_later(self.slow_s, heard.told, key)


class FakeCommons:
    """One replica's way to the server.

    `cut` where it alone is cut off, `stalled_s`: so much later it gives, `lost`: so many replies don't arrive.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cut = False
        self.stalled_s = 0.0
        self.lost = 0

    def hear(self, told: Callable[[SeriesKey], None], purged: Callable[[Which, bytes], None]) -> None:
        self.server.hearers.append(_Heard(told, purged))

    async def _reach(self) -> None:
        if self.cut:
            raise CommonsDown
        await self.server.trip()

    async def take(self, key: SeriesKey, have: Have, need: Need | None) -> Found:
        await self._reach()
        found = self._found(key, have)
        if need is not None:
            found = self._leased(key, need, found)
        await self._reply()
        return found

    async def _reply(self) -> None:
        await asyncio.sleep(self.server.slow_s)
        if self.lost:
            self.lost -= 1
            raise CommonsDown

    def _found(self, key: SeriesKey, have: Have) -> Found:
        held = self.server.held.get(key)
        if held is None:
            return Found()
        known = have.revisions if have.epoch == held.epoch else 0
        revised = tuple(i for i, (_, at, _) in held.blocks.items() if at > known) if held.revisions > known else ()
        there = {i: held.blocks[i] for i in have.blocks if i in held.blocks}
        tail = held.tail
        bare, voids = held.emptiness[1] if held.emptiness else ((), ())
        return Found(
            held.epoch,
            held.revisions,
            held.purge,
            Shared(
                tail[1] if tail and tail[0] != have.tail else None,
                bare,
                voids,
                {i: block for i, (mark, _, block) in there.items() if mark != have.blocks[i][0]},
            ),
            tail[0] if tail else b"",
            tail[1].as_of_ms if tail else -1,
            held.emptiness[0] if held.emptiness else b"",
            {i: (mark, block.kept.known) for i, (mark, _, block) in there.items()},
            frozenset(),
            revised,
        )

    def _leased(self, key: SeriesKey, need: Need, found: Found) -> Found:
        held = self.server.held.get(key)
        tail = held.tail[1] if held and held.tail else None
        new = need.floor_ms is not None and tail is not None and tail.as_of_ms >= need.floor_ms
        if new and tail is not None and not tail.crossed(need.now_ms):
            return found
        name, now = (key, need.lease.name), self.server.clock.now()
        until, rank, token = self.server.leases.get(name, (0.0, 0, ""))
        if until > now and token.startswith("!"):
            return replace(found, hold=Hold.FAILED, error=token[1:])
        if until > now and token != need.lease.token and rank <= need.lease.rank:
            self.server.waiting.add(key)
            return replace(found, hold=Hold.THEIRS)
        if not need.takes:
            return found
        self.server.leases[name] = (now + LEASE_S, need.lease.rank, need.lease.token)
        return replace(found, hold=Hold.MINE)

    async def give(self, key: SeriesKey, gift: Gift) -> Found:
        if self.stalled_s:
            await asyncio.sleep(self.stalled_s)
        await self._reach()
        held = self.server.held.get(key)
        have = gift.have
        if (held.epoch if held else b"") != have.epoch or (held is not None and self._moved(held, gift)):
            await asyncio.sleep(self.server.slow_s)
            return Found()
        if held is None:
            held = self.server.held[key] = _Held(self.server.mark())
        if gift.shared.tail is not None:
            held.tail = (self.server.mark(), gift.shared.tail)
        held.emptiness = (self.server.mark(), (gift.shared.bare, gift.shared.voids))
        for index, block in gift.shared.blocks.items():
            at = held.blocks[index][1] if index in held.blocks else 0
            if index in gift.told:
                held.revisions += 1
                at = held.revisions
            held.blocks[index] = (self.server.mark(), at, block)
        self._end(key, gift.lease)
        found = Found(
            held.epoch,
            held.revisions,
            held.purge,
            Shared(),
            held.tail[0] if held.tail else b"",
            held.tail[1].as_of_ms if held.tail else -1,
            held.emptiness[0],
            {i: (held.blocks[i][0], held.blocks[i][2].kept.known) for i in gift.shared.blocks},
            given=True,
        )
        await asyncio.sleep(self.server.slow_s)
        return found

    def _moved(self, held: _Held, gift: Gift) -> bool:
        have = gift.have
        tail_moved = gift.shared.tail is not None and (held.tail[0] if held.tail else b"") != have.tail
        return (
            tail_moved
            or (held.emptiness[0] if held.emptiness else b"") != have.emptiness
            or any((held.blocks[i][0] if i in held.blocks else b"") != have.blocks[i][0] for i in gift.shared.blocks)
        )

    def _end(self, key: SeriesKey, lease: Lease | None) -> None:
        if lease is not None and self.server.leases.get((key, lease.name), (0, 0, ""))[2] == lease.token:
            del self.server.leases[key, lease.name]
        self.server.tell(key)

    async def renew(self, key: SeriesKey, lease: Lease) -> bool:
        await self._reach()
        until, rank, token = self.server.leases.get((key, lease.name), (0.0, 0, ""))
        if self.lost:  # the request itself, here
            self.lost -= 1
            raise CommonsDown
        mine = token == lease.token and until > self.server.clock.now()
        if mine:
            self.server.leases[key, lease.name] = (self.server.clock.now() + LEASE_S, rank, token)
        return mine

    async def release(self, key: SeriesKey, lease: Lease, error: str) -> None:
        await self._reach()
        if self.server.leases.get((key, lease.name), (0, 0, ""))[2] == lease.token:
            self._end(key, lease)
            if error:
                self.server.leases[key, lease.name] = (self.server.clock.now() + ERROR_TOLD_S, 0, "!" + error)

    async def purge(self, which: Which, name: bytes) -> None:
        await self._reach()
        for key in [key for key in self.server.held if which.takes(key)]:
            self.server.held[key] = _Held(self.server.mark(), name)
        if not self.server.deaf:
            for heard in self.server.hearers:
                asyncio.get_running_loop().call_later(self.server.slow_s, heard.purged, which, name)

    async def purge_series(self, key: SeriesKey, name: bytes) -> None:
        await self._reach()
        held = self.server.held.get(key)
        if held is None or held.purge != name:
            self.server.held[key] = _Held(self.server.mark(), name)
