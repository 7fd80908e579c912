"""Bodies in a shared store inside the process, for replicas in virtual time."""

from collections.abc import Callable

from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import SnapshotBody
from mdcache.leases import Lease, LeaseState
from mdcache.upstream.replicas.shared_bodies import BodyLeaseRequest, BodyPullResult
from tests.support.memory_server import MemoryConnection, MemoryServer

StoredBodies = dict[str, tuple[float, SnapshotBody]]  # by topic, with the moment they expire
_NONE = SnapshotBody(b"", -1)


class MemorySharedBodies(MemoryConnection):
    """One replica's way to the bodies."""

    def __init__(self, server: MemoryServer, stored: StoredBodies) -> None:
        super().__init__(server)
        self.stored = stored

    def topic(self, market: Market, name: str) -> str:
        return f"{market}/{name}"

    def subscribe(self, on_message: Callable[[str], None]) -> None:
        self.server.on_lease_end.append(on_message)

    async def pull(self, market: Market, name: str, held_ms: int, need: BodyLeaseRequest | None) -> BodyPullResult:
        await self.reach()
        topic = self.topic(market, name)
        until_s, body = self.stored.get(topic, (0.0, _NONE))
        if until_s <= self.server.clock.now():
            body = _NONE
        state, error = LeaseState.NONE, ""
        if need is not None and body.as_of_ms < need.min_as_of_ms:
            state, error = self.take_lease(topic, need.lease, may_take=need.may_take_lease)
        await self.reply()
        return BodyPullResult(body if body.as_of_ms > held_ms else None, state, error)

    async def push(self, market: Market, name: str, body: SnapshotBody, lifetime_s: float, lease: Lease | None) -> None:
        await self.reach()
        topic, now_s = self.topic(market, name), self.server.clock.now()
        until_s, stored = self.stored.get(topic, (0.0, body))
        if until_s <= now_s or stored.as_of_ms <= body.as_of_ms:
            self.stored[topic] = (now_s + lifetime_s, body)
        self.end_lease(topic, lease)

    async def renew(self, market: Market, name: str, lease: Lease) -> bool:
        return await self.renew_lease(self.topic(market, name), lease)

    async def release(self, market: Market, name: str, lease: Lease, error: str) -> None:
        await self.release_lease(self.topic(market, name), lease, error)

    async def purge(self) -> None:
        await self.reach()
        self.stored.clear()
