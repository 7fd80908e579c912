"""Several replicas in one process and in virtual time: one exchange, one shared store."""

import asyncio
from typing import Any

from mdcache.sim import SimConfig
from mdcache.upstream.governor import GovernorSettings
from tests.support.memory_shared_bodies import MemorySharedBodies, StoredBodies
from tests.support.memory_shared_rows import MemoryRowServer, MemorySharedRows
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

SPOT = "/api/v3/klines"
PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
MINUTE = 60_000
QUERY = "symbol=BTCUSDT&interval=1m&limit=500"
_READY = "symbol=ETHUSDT&interval=1d&limit=1&startTime=0&endTime=1"


class VirtualReplicas(list[VirtualDaemon]):
    """All share the clock and the exchange of the first."""

    server: MemoryRowServer
    stored_bodies: StoredBodies

    def row_store(self, n: int) -> MemorySharedRows:
        """Return the `n`th one's way to the rows."""
        found = self[n].row_store
        assert isinstance(found, MemorySharedRows)
        return found

    def body_store(self, n: int) -> MemorySharedBodies:
        """Return the `n`th one's way to the bodies."""
        found = self[n].body_store
        assert isinstance(found, MemorySharedBodies)
        return found


async def virtual_replicas(count: int = 3, *, ready: bool = True, **options: Any) -> VirtualReplicas:
    """Return this many; `ready`: clocks measured and symbols known, so that only kline calls follow."""
    made = VirtualReplicas()
    for n in range(count):
        first = made[0] if made else None
        world = VirtualDaemon(PLENTY, DaemonOptions(limits=GovernorSettings(weight_share=0.9), **options), beside=first)
        if n == 0:
            made.server, made.stored_bodies = MemoryRowServer(world.clock), {}
        world.row_store = MemorySharedRows(made.server)
        world.body_store = MemorySharedBodies(made.server, made.stored_bodies)
        world.restart()
        made.append(world)
    if ready:
        await asyncio.gather(*(world.ask(SPOT, _READY) for world in made))
    return made
