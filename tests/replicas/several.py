"""Several replicas in one process and in virtual time: one exchange, one commons."""

import asyncio
from typing import Any

from mdcache.sim import SimConfig
from mdcache.upstream.governor import Limits
from tests.world.commons import FakeCommons, Server
from tests.world.copies import FakeCopies, Held
from tests.world.world import Options, World

SPOT = "/api/v3/klines"
PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
MINUTE = 60_000
QUERY = "symbol=BTCUSDT&interval=1m&limit=500"
_READY = "symbol=ETHUSDT&interval=1d&limit=1&startTime=0&endTime=1"


class Replicas(list[World]):
    """The first is the one whose clock and exchange all share."""

    server: Server
    held: Held

    def commons(self, n: int) -> FakeCommons:
        """The `n`th one's way to the server."""
        found = self[n].commons
        assert isinstance(found, FakeCommons)
        return found

    def copies(self, n: int) -> FakeCopies:
        """The same for copies."""
        found = self[n].copies
        assert isinstance(found, FakeCopies)
        return found


async def replicas(count: int = 3, *, ready: bool = True, **options: Any) -> Replicas:
    """So many; `ready`: clocks measured and symbols known, so that what remains are kline calls."""
    made = Replicas()
    for n in range(count):
        first = made[0] if made else None
        world = World(PLENTY, Options(limits=Limits(weight_share=0.9), **options), beside=first)
        if n == 0:
            made.server, made.held = Server(world.clock), Held()
        world.commons = FakeCommons(made.server)
        world.copies = FakeCopies(made.server, made.held)
        world.restart()
        made.append(world)
    if ready:
        await asyncio.gather(*(world.ask(SPOT, _READY) for world in made))
    return made


async def end(worlds: Replicas) -> None:
    for world in worlds:
        await world.aclose()
