"""Redis as one daemon uses it: the link, and what lives on it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from mdcache.clock import Clock
from mdcache.events import Events
from mdcache.exchange.markets import Family, Market
from mdcache.stores.disk.state_dir import StateDir
from mdcache.stores.redis.bodies import RedisBodyStore
from mdcache.stores.redis.budget import GateChannel, RedisBudget
from mdcache.stores.redis.client import RedisClient
from mdcache.stores.redis.replica_id import ReplicaId
from mdcache.stores.redis.rows import RedisRowStore
from mdcache.stores.redis.url import connect, parse_url
from mdcache.stores.worker_thread import WorkerThread


@dataclass(frozen=True, slots=True)
class Where:
    """The settings: a URL, what begins every key, seconds after which a call has failed, and the address's name.

    `folder`: the daemon's own, where it has one.
    """

    url: str
    prefix: str
    timeout_s: float
    egress: str
    folder: StateDir | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """The parts."""

    link: RedisClient
    commons: RedisRowStore
    copies: RedisBodyStore
    egress: str
    gates: GateChannel
    replica: ReplicaId

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with it, for people."""
        return () if self.link.up else (f"redis: {self.link.trouble}; running without it on a divided budget",)

    def budget(self, family: Family) -> RedisBudget:
        """Return where all replicas on this egress keep a family's budget and gate."""
        return RedisBudget(self.link, self.gates, self.egress, family.value, self.replica.own)

    async def start(self) -> None:
        """Connect, for little more than a second at most, and listen."""
        self.commons.start()
        await self.link.start()
        await self.commons.apply_missed_purges()

    async def aclose(self) -> None:
        """Let go of it."""
        await self.commons.aclose()
        await self.copies.aclose()
        await self.link.aclose()


def open_redis(where: Where, origins: Mapping[Market, str], clock: Clock, rng: random.Random, events: Events) -> Opened:
    """Nothing is connected before `start`. `origins`: each market's upstream, by which what is kept is told apart."""
    address = parse_url(where.url)
    link = RedisClient(
        lambda: connect(address, where.timeout_s),
        prefix=where.prefix,
        timeout_s=where.timeout_s,
        clock=clock,
        events=events,
        topology=address.topology.value,
    )
    replica = ReplicaId(where.folder, f"{rng.getrandbits(64):016x}")
    commons = RedisRowStore(link, origins, WorkerThread("redis"), clock, events, where.folder)
    copies = RedisBodyStore(link, commons.channel, origins, WorkerThread("copies in redis"), events)
    return Opened(link, commons, copies, where.egress, GateChannel(link, where.egress), replica)
