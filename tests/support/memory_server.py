"""A shared store inside the process, for replicas in virtual time: it leases and fails as Redis does.

Rows are stored in it by `memory_shared_rows.py`, bodies by `memory_shared_bodies.py`.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

from mdcache.leases import ERROR_SHARED_S, LEASE_S, Lease, LeaseState, SharedStoreDown
from tests.support.virtual_time import VirtualClock

_ERROR = "!"  # before the holder's name, which is the error then


class MemoryServer:
    """What all replicas reach. Tests set `up`, `slow_s` and `drops_messages`."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.up = True
        self.drops_messages = False
        self.slow_s = 0.001
        self.trips = 0
        self.leases: dict[tuple[Hashable, str], tuple[float, int, str]] = {}  # until, rank, holder
        self.waiting: set[Hashable] = set()
        self.on_lease_end: list[Callable[[Any], None]] = []

    async def round_trip(self) -> None:
        self.trips += 1
        if not self.up:
            raise SharedStoreDown
        await asyncio.sleep(self.slow_s)

    def send(self, subscribers: list[Callable[..., None]], *message: object) -> None:
        """Call each with the message, a little later."""
        if not self.drops_messages:
            for subscriber in subscribers:
                asyncio.get_running_loop().call_later(self.slow_s, subscriber, *message)


class MemoryConnection:
    """One replica's way to the server. Tests set `cut` (it alone is cut off) and `lost` (so many replies are lost)."""

    def __init__(self, server: MemoryServer) -> None:
        self.server = server
        self.cut = False
        self.lost = 0

    async def reach(self) -> None:
        if self.cut:
            raise SharedStoreDown
        await self.server.round_trip()

    async def reply(self) -> None:
        await asyncio.sleep(self.server.slow_s)
        if self.lost:
            self.lost -= 1
            raise SharedStoreDown

    def take_lease(self, topic: Hashable, lease: Lease, *, may_take: bool) -> tuple[LeaseState, str]:
        """Return which replica may read now, and the error that the last one met."""
        now_s = self.server.clock.now()
        until_s, rank, holder = self.server.leases.get((topic, lease.name), (0.0, 0, ""))
        if until_s > now_s and holder.startswith(_ERROR):
            return LeaseState.FAILED, holder.removeprefix(_ERROR)
        if until_s > now_s and holder != lease.holder and rank <= lease.rank:
            self.server.waiting.add(topic)
            return LeaseState.THEIRS, ""
        if not may_take:
            return LeaseState.NONE, ""
        self.server.leases[topic, lease.name] = (now_s + LEASE_S, lease.rank, lease.holder)
        return LeaseState.MINE, ""

    async def renew_lease(self, topic: Hashable, lease: Lease) -> bool:
        await self.reach()
        await self.reply()
        mine = self._holds(topic, lease)
        if mine:
            self.server.leases[topic, lease.name] = (self.server.clock.now() + LEASE_S, lease.rank, lease.holder)
        return mine

    async def release_lease(self, topic: Hashable, lease: Lease, error: str) -> None:
        await self.reach()
        if self._holds(topic, lease):
            self.end_lease(topic, lease)
            if error:
                until_s = self.server.clock.now() + ERROR_SHARED_S
                self.server.leases[topic, lease.name] = (until_s, 0, _ERROR + error)

    def end_lease(self, topic: Hashable, lease: Lease | None) -> None:
        """End it, if it is still ours, and notify the waiting replicas."""
        if lease is not None and self._holds(topic, lease):
            del self.server.leases[topic, lease.name]
        if topic in self.server.waiting:
            self.server.waiting.discard(topic)
            self.server.send(self.server.on_lease_end, topic)

    def _holds(self, topic: Hashable, lease: Lease) -> bool:
        until_s, _, holder = self.server.leases.get((topic, lease.name), (0.0, 0, ""))
        return until_s > self.server.clock.now() and holder == lease.holder
