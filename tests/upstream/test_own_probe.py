"""The daemon's own probe, where nobody asks: by one replica only, and never past the budget."""

import asyncio

import httpx
import pytest

from mdcache.exchange.markets import Family, Market
from tests.support.fake_exchange import fake_read, governed, refuse
from tests.support.governor_replicas import GovernorReplicas

pytestmark = pytest.mark.virtual


@pytest.mark.parametrize("count", [2, 5])
async def test_one_replica_probes_for_all(count: int) -> None:
    world = GovernorReplicas()
    replicas = [await world.replica() for _ in range(count)]
    for replica in replicas:
        assert await replica.read() == "ok"
    world.exchange.fault = lambda *_: refuse(418, retry_after="30")
    assert await replicas[0].read() == "GateClosed"
    await asyncio.sleep(1.0)
    assert {replica.gate() for replica in replicas} == {"closed"}
    world.exchange.seen.clear()
    await asyncio.sleep(120.0)  # four bans in a row, each met by one probe
    assert [seen.path for seen in world.exchange.seen] == ["/api/v3/time"] * 3
    world.exchange.fault = None
    await asyncio.sleep(35.0)
    assert [seen.path for seen in world.exchange.seen] == ["/api/v3/time"] * 4
    assert {replica.gate() for replica in replicas} == {"ramp"}
    for replica in replicas:
        assert await replica.read() == "ok"
        await replica.aclose()


async def test_replicas_without_redis_do_not_probe_at_the_same_moment() -> None:
    world = GovernorReplicas()
    replicas = [await world.replica(redis=False) for _ in range(4)]
    for replica in replicas:
        replica.governor.close_gate(Family.SPOT, 30.0)
    await asyncio.sleep(40.0)
    times = [seen.at_ms for seen in world.exchange.seen]
    assert len(times) == len(set(times)) == 4


async def test_it_spends_from_the_budget_and_waits_for_it() -> None:
    world = await governed()
    await world.governor.start()
    await asyncio.sleep(60.5 - world.exchange.now_ms() % 60_000 / 1000)
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 40}]
    world.governor.set_limits(Market.SPOT, limits)
    reads = (world.governor.fetch(fake_read(within_s=1.0)) for _ in range(30))
    await asyncio.gather(*reads, return_exceptions=True)
    world.exchange.seen.clear()
    world.governor.close_gate(Family.SPOT, 5.0)
    await asyncio.sleep(20.0)
    sent_in_the_minute = len(world.exchange.seen)
    assert world.governor.status()[0].used <= 20
    await asyncio.sleep(50.0)
    assert len(world.exchange.seen) == max(1, sent_in_the_minute)
    assert world.gate() == "ramp"


async def test_the_markets_of_a_family_take_turns() -> None:
    """One of them may have no upstream at all, and the other must not wait for it."""

    def usdm_is_missing(_exchange: object, request: httpx.Request) -> httpx.Response | None:
        if request.url.host == "usdm.test":
            raise httpx.ConnectError("no such host", request=request)
        return None

    world = await governed()
    world.exchange.fault = usdm_is_missing
    await world.governor.start()
    world.governor.close_gate(Family.FUTURES, 5.0)
    await asyncio.sleep(12.0)
    assert world.gate(Family.FUTURES) == "ramp"
    assert {seen.host for seen in world.exchange.seen} == {"usdm.test", "coinm.test"}


async def test_it_ends_with_the_daemon() -> None:
    world = await governed()
    await world.governor.start()
    world.governor.close_gate(Family.SPOT, 5.0)
    world.exchange.trip_s = 10.0
    await asyncio.sleep(8.0)
    assert world.gate() == "probing"
    await world.governor.aclose()
    await asyncio.sleep(60.0)
    assert world.exchange.most_flying == 1
    assert len(asyncio.all_tasks()) == 1
