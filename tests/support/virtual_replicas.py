"""Several replicas in one process and in virtual time: one exchange, one commons."""

import asyncio
from typing import Any

from mdcache.sim import SimConfig
from mdcache.upstream.governor import GovernorSettings
from tests.support.memory_shared_bodies import MemorySharedBodies, StoredBodies
from tests.support.memory_shared_rows import MemoryServer, MemorySharedRows
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

SPOT = "/api/v3/klines"
PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
MINUTE = 60_000
QUERY = "symbol=BTCUSDT&interval=1m&limit=500"
_READY = "symbol=ETHUSDT&interval=1d&limit=1&startTime=0&endTime=1"


class VirtualReplicas(list[VirtualDaemon]):
    """The first is the one whose clock and exchange all share."""

    server: MemoryServer
    stored_bodies: StoredBodies

    def commons(self, n: int) -> MemorySharedRows:
        """The `n`th one's way to the server."""
        found = self[n].commons
        assert isinstance(found, MemorySharedRows)
        return found

    def copies(self, n: int) -> MemorySharedBodies:
        """The same for copies."""
        found = self[n].copies
        assert isinstance(found, MemorySharedBodies)
        return found


async def virtual_replicas(count: int = 3, *, ready: bool = True, **options: Any) -> VirtualReplicas:
    """So many; `ready`: clocks measured and symbols known, so that what remains are kline calls."""
    made = VirtualReplicas()
    for n in range(count):
        first = made[0] if made else None
        world = VirtualDaemon(PLENTY, DaemonOptions(limits=GovernorSettings(weight_share=0.9), **options), beside=first)
        if n == 0:
            made.server, made.stored_bodies = MemoryServer(world.clock), StoredBodies()
        world.commons = MemorySharedRows(made.server)
        world.copies = MemorySharedBodies(made.server, made.stored_bodies)
        world.restart()
        made.append(world)
    if ready:
        await asyncio.gather(*(world.ask(SPOT, _READY) for world in made))
    return made


async def close_all(worlds: VirtualReplicas) -> None:
    for world in worlds:
        await world.aclose()
