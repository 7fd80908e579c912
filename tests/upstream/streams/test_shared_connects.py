"""Replicas behind one address make under 100 connects in five minutes together, and ordinary trouble is over soon.

Rule: docs/design.md#stream-connections.
"""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from mdcache.clock import SystemClock
from mdcache.errors import Fault, TransportFailed
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.stores.redis.client import RedisClient
from mdcache.stores.redis.connects import RedisConnectQuota
from mdcache.stores.redis.url import connect, parse_url
from mdcache.stream_events import ConnectReason
from mdcache.upstream.streams.dialer import ConnectFailed, Dialer
from mdcache.upstream.streams.limits import ADDRESS_BURST
from mdcache.upstream.streams.ports import ConnectionEnded, Dialing, StreamConnection
from tests.support.memory_connects import MemoryConnectQuota
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.virtual_time import VirtualClock
from tests.upstream.streams.world import StreamWorld

FIVE_MINUTES = 300.0
FIRST, LOST, PLANNED = ConnectReason.FIRST, ConnectReason.LOST, ConnectReason.PLANNED


class ShortLived:
    """A connection that ends by itself, or never."""

    async def send(self, text: str) -> None:
        raise ConnectionEnded(None, text)

    async def receive(self) -> str:
        raise ConnectionEnded(None, "dropped")

    async def close(self) -> None:
        """It has ended."""


class Replica:
    """A dialer whose connections end after `life_s`, or can't be opened while it is `unplugged`."""

    def __init__(self, quota: MemoryConnectQuota, seed: int = 1) -> None:
        self.clock = VirtualClock()
        self.times: list[float] = []
        self.life_s = self.unplugged = 0.0
        self.dialer = Dialer(
            clock=self.clock,
            rng=random.Random(seed),
            events=Events(),
            dialing=Dialing(self.connect, StreamWorld(seed).governor.handshakes, quota),
            alive=lambda: False,
        )
        self.opened: dict[tuple[Market, int], float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, connections: int = 1) -> None:
        """Keep so many connections to each market."""
        self._tasks = [
            asyncio.create_task(self._keep(market, place)) for market in Market for place in range(connections)
        ]

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def connect(self, url: str) -> StreamConnection:
        self.times.append(self.clock.now())
        await self.clock.sleep(0.05)
        if self.unplugged:
            raise TransportFailed(Fault.CONNECT, url)
        return ShortLived()

    async def _keep(self, market: Market, place: int) -> None:
        reason = FIRST
        while True:
            try:
                await self.dialer.open(market, "ws://sim.test", "/stream", reason)
            except ConnectFailed:
                continue
            self.opened[market, place] = self.clock.now()
            while not self.life_s:
                await self.clock.sleep(1.0)
            await self.clock.sleep(self.life_s)
            del self.opened[market, place]
            self.dialer.lost(market)
            reason = LOST


def replicas(count: int) -> tuple[list[Replica], MemoryConnectQuota]:
    quota = MemoryConnectQuota(VirtualClock())
    return [Replica(quota, seed) for seed in range(count)], quota


def most_connects(found: list[Replica], seconds: float = FIVE_MINUTES) -> int:
    times = sorted(at for replica in found for at in replica.times)
    return max(sum(begin <= at < begin + seconds for at in times) for begin in times)


@pytest.mark.virtual
@pytest.mark.parametrize("count", [1, 3, 8])
async def test_replicas_whose_connections_end_all_the_time_connect_less_than_a_hundred_times(count: int) -> None:
    found, _ = replicas(count)
    for replica in found:
        replica.life_s = 1.0
        replica.start()
    await found[0].clock.sleep(1_800.0)
    assert 60 < most_connects(found) < 100
    for replica in found:
        replica.life_s = 0.0
    await found[0].clock.sleep(15.0 + 15.0 * count)
    assert {len(replica.opened) for replica in found} == {3}
    before = sum(len(replica.times) for replica in found)
    await found[0].clock.sleep(100.0)
    assert sum(len(replica.times) for replica in found) == before  # all are connected
    for replica in found:
        replica.stop()


@pytest.mark.virtual
async def test_three_replicas_of_many_topics_that_restart_together_connect_as_fast_as_one_alone() -> None:
    alone_s = 0.0
    for count in (1, 3):
        found, _ = replicas(count)
        began_s = found[0].clock.now()
        for replica in found:
            replica.start(connections=3)
        await found[0].clock.sleep(60.0)
        took_s = max(at_s - began_s for replica in found for at_s in replica.opened.values())
        assert {len(replica.opened) for replica in found} == {9}
        alone_s = alone_s or took_s
        assert took_s <= alone_s
        for replica in found:
            replica.stop()
    assert alone_s < 15.0


@pytest.mark.virtual
async def test_an_outage_of_a_minute_is_over_soon_for_all_replicas() -> None:
    found, _ = replicas(3)
    for replica in found:
        replica.unplugged = 1.0
        replica.start()
    await found[0].clock.sleep(60.0)
    for replica in found:
        replica.unplugged = 0.0
    await found[0].clock.sleep(15.0)
    assert {len(replica.opened) for replica in found} == {3}
    assert most_connects(found) < 100
    for replica in found:
        replica.stop()


@pytest.mark.virtual
async def test_while_redis_is_down_each_keeps_its_own_pace() -> None:
    found, quota = replicas(3)
    quota.down = True
    for replica in found:
        replica.life_s = 1.0
        replica.start()
    await found[0].clock.sleep(900.0)
    for replica in found:
        assert 40 < most_connects([replica]) < 100
        replica.stop()


@pytest.mark.virtual
async def test_a_planned_replacement_leaves_room_and_one_who_stops_waiting_costs_nothing() -> None:
    quota = MemoryConnectQuota(VirtualClock())
    replica = Replica(quota)
    for _ in range(ADDRESS_BURST - 3):
        assert await quota.take(planned=False) == 0.0

    async def open_one(reason: ConnectReason) -> float:
        began_s = replica.clock.now()
        await replica.dialer.open(Market.SPOT, "ws://sim.test", "/stream", reason)
        return replica.clock.now() - began_s

    planned = asyncio.create_task(open_one(PLANNED))
    await asyncio.sleep(0.1)
    assert await open_one(FIRST) < 1.0
    assert not planned.done()
    planned.cancel()
    await asyncio.gather(planned, return_exceptions=True)
    assert await open_one(FIRST) < 1.0
    waits = asyncio.create_task(open_one(PLANNED))
    await asyncio.sleep(200.0)
    assert waits.done()


@pytest.fixture
async def links() -> AsyncIterator[tuple[RedisServer, list[RedisConnectQuota]]]:
    with running_redis() as server:
        clients = [
            RedisClient(
                lambda: connect(parse_url(server.url), 1.0),
                prefix="t:",
                timeout_s=5.0,
                clock=SystemClock(),
                events=Events(),
            )
            for _ in range(3)
        ]
        for client in clients:
            await client.start()
        yield server, [RedisConnectQuota(client, "e") for client in clients]
        for client in clients:
            await client.aclose()


@pytest.mark.processes
async def test_redis_counts_for_all_replicas_of_an_address(
    links: tuple[RedisServer, list[RedisConnectQuota]],
) -> None:
    server, quotas = links
    planned = [await quotas[0].take(planned=True) for _ in range(14)]
    assert [wait_s for wait_s in planned if wait_s == 0.0] == [0.0] * 12
    took = await asyncio.gather(*(quotas[place % 3].take(planned=False) for place in range(50)))
    assert took.count(0.0) == ADDRESS_BURST - 12
    assert all(4.0 < wait_s <= 5.0 for wait_s in took if wait_s)
    with server.client() as client:
        (key,) = client.keys("t:*connects*")
        assert 170_000 < client.pttl(key) <= 180_000
        client.set(key, "rubbish")
        assert await quotas[1].take(planned=False) == 0.0
        client.set(key, str(10**15))
        assert await quotas[1].take(planned=False) <= 300.0
        client.delete(key)
        client.hset(key, "a", "b")
        assert await quotas[1].take(planned=False) == 0.0  # it can't be counted: alone
