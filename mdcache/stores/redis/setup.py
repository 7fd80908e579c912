"""Open Redis for one daemon: the client, and the stores of rows, bodies, budgets and gates on it."""

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
from mdcache.stores.redis.connects import RedisConnectQuota
from mdcache.stores.redis.replica_id import ReplicaId
from mdcache.stores.redis.rows import RedisRowStore
from mdcache.stores.redis.url import connect, parse_url
from mdcache.stores.worker_thread import WorkerThread

_PROCESS_BITS = 40


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """The settings: URL, prefix of every key, time-out of a call, and the egress.

    `state_dir`: the daemon's, if it has one.
    """

    url: str
    prefix: str
    timeout_s: float
    egress: str
    state_dir: StateDir | None = None


@dataclass(frozen=True, slots=True)
class RedisParts:
    """The client and the stores on it. `process`: a number that no other process has."""

    client: RedisClient
    rows: RedisRowStore
    bodies: RedisBodyStore
    egress: str
    gates: GateChannel
    replica: ReplicaId
    process: int

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with it, for people."""
        return () if self.client.up else (f"redis: {self.client.trouble}; running without it on a divided budget",)

    def connects(self) -> RedisConnectQuota:
        """Return the count of connects to streams, which all replicas on this egress share."""
        return RedisConnectQuota(self.client, self.egress)

    def budget(self, family: Family) -> RedisBudget:
        """Return the store of a family's budget and gate, which all replicas on this egress share."""
        return RedisBudget(self.client, self.gates, self.egress, family.value, self.replica)

    async def start(self) -> None:
        """Connect, waiting little more than a second at most, and start listening."""
        self.rows.start()
        await self.client.start()
        await self.rows.apply_missed_purges()

    async def aclose(self) -> None:
        """Close the stores, then the client."""
        await self.rows.aclose()
        await self.bodies.aclose()
        await self.client.aclose()


def open_redis(
    settings: RedisSettings, origins: Mapping[Market, str], clock: Clock, rng: random.Random, events: Events
) -> RedisParts:
    """Open Redis; nothing is connected before `start`. `origins`: each market's upstream, which is part of its keys."""
    address = parse_url(settings.url)
    client = RedisClient(
        lambda: connect(address, settings.timeout_s),
        prefix=settings.prefix,
        timeout_s=settings.timeout_s,
        clock=clock,
        events=events,
        topology=address.topology.value,
    )
    replica = ReplicaId(settings.state_dir, lambda: f"{rng.getrandbits(64):016x}")
    process = rng.getrandbits(_PROCESS_BITS)
    rows = RedisRowStore(client, origins, WorkerThread("redis"), clock, events, settings.state_dir)
    bodies = RedisBodyStore(client, rows.channel, origins, WorkerThread("bodies in redis"), events)
    gates = GateChannel(client, settings.egress)
    return RedisParts(client, rows, bodies, settings.egress, gates, replica, process)
