"""A store of copies inside the process, for replicas in virtual time: as Redis behaves, and as it fails."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from mdcache.candles.commons import ERROR_TOLD_S, LEASE_S, CommonsDown, Hold, Lease
from mdcache.exchange.markets import Market
from mdcache.upstream.copies import Copy, CopyFound, CopyNeed
from tests.world.commons import Server


@dataclass
class Held:
    """What all replicas share: copies with the moment they run out, leases, who waits, who hears."""

    copies: dict[str, tuple[float, Copy]] = field(default_factory=dict)
    leases: dict[str, tuple[float, int, str]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    hearers: list[Callable[[str], None]] = field(default_factory=list)


class FakeCopies:
    """One replica's way to `server`; `cut` where it alone is cut off, `lost`: so many replies don't arrive."""

    def __init__(self, server: Server, held: Held) -> None:
        self.server = server
        self.held = held
        self.cut = False
        self.lost = 0

    def topic(self, market: Market, name: str) -> str:
        return f"{market}/{name}"

    def hear(self, told: Callable[[str], None]) -> None:
        self.held.hearers.append(told)

    async def take(self, market: Market, name: str, held_ms: int, need: CopyNeed | None) -> CopyFound:
        await self._reach()
        topic = self.topic(market, name)
        until, copy = self.held.copies.get(topic, (0.0, Copy(b"", -1)))
        if until <= self.server.clock.now():
            copy = Copy(b"", -1)
        hold, error = Hold.NOBODY, ""
        if need is not None and copy.as_of_ms < need.floor_ms:
            hold, error = self._leased(topic, need)
        await asyncio.sleep(self.server.slow_s)
        if self.lost:
            self.lost -= 1
            raise CommonsDown
        return CopyFound(copy if copy.as_of_ms > held_ms else None, hold, error)

    def _leased(self, topic: str, need: CopyNeed) -> tuple[Hold, str]:
        now, lease = self.server.clock.now(), need.lease
        until, rank, token = self.held.leases.get(topic, (0.0, 0, ""))
        if until > now and token.startswith("!"):
            return Hold.FAILED, token[1:]
        if until > now and token != lease.token and rank <= lease.rank:
            self.held.waiting.add(topic)
            return Hold.THEIRS, ""
        if not need.takes:
            return Hold.NOBODY, ""
        self.held.leases[topic] = (now + LEASE_S, lease.rank, lease.token)
        return Hold.MINE, ""

    async def give(self, market: Market, name: str, copy: Copy, life_s: float, lease: Lease | None) -> None:
        await self._reach()
        topic, now = self.topic(market, name), self.server.clock.now()
        until, there = self.held.copies.get(topic, (0.0, copy))
        if until <= now or there.as_of_ms <= copy.as_of_ms:
            self.held.copies[topic] = (now + life_s, copy)
        if lease is not None and self._mine(topic, lease):
            del self.held.leases[topic]
        self._tell(topic)

    async def renew(self, market: Market, name: str, lease: Lease) -> bool:
        await self._reach()
        topic = self.topic(market, name)
        mine = self._mine(topic, lease)
        if mine:
            self.held.leases[topic] = (self.server.clock.now() + LEASE_S, lease.rank, lease.token)
        return mine

    async def release(self, market: Market, name: str, lease: Lease, error: str) -> None:
        await self._reach()
        topic = self.topic(market, name)
        if self._mine(topic, lease):
            del self.held.leases[topic]
            if error:
                self.held.leases[topic] = (self.server.clock.now() + ERROR_TOLD_S, 0, "!" + error)
            self._tell(topic)

    async def purge(self) -> None:
        await self._reach()
        self.held.copies.clear()

    async def _reach(self) -> None:
        if self.cut:
            raise CommonsDown
        await self.server.trip()

    def _mine(self, topic: str, lease: Lease) -> bool:
        until, _, token = self.held.leases.get(topic, (0.0, 0, ""))
        return until > self.server.clock.now() and token == lease.token

    def _tell(self, topic: str) -> None:
        if topic in self.held.waiting:
            self.held.waiting.discard(topic)
            if not self.server.deaf:
                for told in self.held.hearers:
                    asyncio.get_running_loop().call_later(self.server.slow_s, told, topic)
