"""A store of copies inside the process, for replicas in virtual time: as Redis behaves, and as it fails."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import SnapshotBody
from mdcache.leases import ERROR_SHARED_S, LEASE_S, Lease, LeaseState, SharedStoreDown
from mdcache.upstream.replicas.shared_bodies import BodyLeaseRequest, BodyPullResult
from tests.support.memory_shared_rows import MemoryServer


@dataclass
class StoredBodies:
    """What all replicas share: copies with the moment they run out, leases, who waits, who hears."""

    copies: dict[str, tuple[float, SnapshotBody]] = field(default_factory=dict)
    leases: dict[str, tuple[float, int, str]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    subscribers: list[Callable[[str], None]] = field(default_factory=list)


class MemorySharedBodies:
    """One replica's way to `server`; `cut` where it alone is cut off, `lost`: so many replies don't arrive."""

    def __init__(self, server: MemoryServer, held: StoredBodies) -> None:
        self.server = server
        self.held = held
        self.cut = False
        self.lost = 0

    def topic(self, market: Market, name: str) -> str:
        return f"{market}/{name}"

    def subscribe(self, on_message: Callable[[str], None]) -> None:
        self.held.subscribers.append(on_message)

    async def pull(self, market: Market, name: str, held_ms: int, need: BodyLeaseRequest | None) -> BodyPullResult:
        await self._reach()
        topic = self.topic(market, name)
        until, copy = self.held.copies.get(topic, (0.0, SnapshotBody(b"", -1)))
        if until <= self.server.clock.now():
            copy = SnapshotBody(b"", -1)
        hold, error = LeaseState.NONE, ""
        if need is not None and copy.as_of_ms < need.min_as_of_ms:
            hold, error = self._leased(topic, need)
        await asyncio.sleep(self.server.slow_s)
        if self.lost:
            self.lost -= 1
            raise SharedStoreDown
        return BodyPullResult(copy if copy.as_of_ms > held_ms else None, hold, error)

    def _leased(self, topic: str, need: BodyLeaseRequest) -> tuple[LeaseState, str]:
        now, lease = self.server.clock.now(), need.lease
        until, rank, token = self.held.leases.get(topic, (0.0, 0, ""))
        if until > now and token.startswith("!"):
            return LeaseState.FAILED, token[1:]
        if until > now and token != lease.holder and rank <= lease.rank:
            self.held.waiting.add(topic)
            return LeaseState.THEIRS, ""
        if not need.may_take_lease:
            return LeaseState.NONE, ""
        self.held.leases[topic] = (now + LEASE_S, lease.rank, lease.holder)
        return LeaseState.MINE, ""

    async def push(self, market: Market, name: str, body: SnapshotBody, lifetime_s: float, lease: Lease | None) -> None:
        await self._reach()
        topic, now = self.topic(market, name), self.server.clock.now()
        until, there = self.held.copies.get(topic, (0.0, body))
        if until <= now or there.as_of_ms <= body.as_of_ms:
            self.held.copies[topic] = (now + lifetime_s, body)
        if lease is not None and self._mine(topic, lease):
            del self.held.leases[topic]
        self._tell(topic)

    async def renew(self, market: Market, name: str, lease: Lease) -> bool:
        await self._reach()
        topic = self.topic(market, name)
        mine = self._mine(topic, lease)
        if mine:
            self.held.leases[topic] = (self.server.clock.now() + LEASE_S, lease.rank, lease.holder)
        return mine

    async def release(self, market: Market, name: str, lease: Lease, error: str) -> None:
        await self._reach()
        topic = self.topic(market, name)
        if self._mine(topic, lease):
            del self.held.leases[topic]
            if error:
                self.held.leases[topic] = (self.server.clock.now() + ERROR_SHARED_S, 0, "!" + error)
            self._tell(topic)

    async def purge(self) -> None:
        await self._reach()
        self.held.copies.clear()

    async def _reach(self) -> None:
        if self.cut:
            raise SharedStoreDown
        await self.server.round_trip()

    def _mine(self, topic: str, lease: Lease) -> bool:
        until, _, token = self.held.leases.get(topic, (0.0, 0, ""))
        return until > self.server.clock.now() and token == lease.holder

    def _tell(self, topic: str) -> None:
        if topic in self.held.waiting:
            self.held.waiting.discard(topic)
            if not self.server.drops_messages:
                for told in self.held.subscribers:
                    asyncio.get_running_loop().call_later(self.server.slow_s, told, topic)
