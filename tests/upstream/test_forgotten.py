"""A store that lost its data during a ban: the next replica must not take its emptiness for an open gate."""

import asyncio

import pytest

from tests.support.fake_exchange import refuse
from tests.support.governor_replicas import GovernorReplicas

pytestmark = pytest.mark.virtual


@pytest.mark.parametrize("new", [False, True], ids=["one that had not heard", "a newcomer"])
@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.6, 0.9])
async def test_a_store_that_lost_a_ban_lets_no_replica_into_it(after_s: float, *, new: bool) -> None:
    fleet = GovernorReplicas(share=600)
    one, other = await fleet.replica(), await fleet.replica()
    await fleet.minutes(2)
    await fleet.clock.sleep(after_s)
    if new:
        await fleet.clock.sleep(0.1)
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="60")
    assert await one.read() == "GateClosed"
    if new:
        await fleet.clock.sleep(5.0)
    fleet.server.restart(empty=True)
    seen = len(fleet.exchange.seen)
    third = await fleet.replica() if new else other
    assert await third.read() == "GateClosed"
    assert len(fleet.exchange.seen) == seen
    for replica in {one.name: one, other.name: other, third.name: third}.values():
        await replica.aclose()


@pytest.mark.parametrize("banned", [False, True])
async def test_a_store_that_keeps_losing_its_data_delays_no_replica_for_long(banned: bool) -> None:
    fleet = GovernorReplicas(share=600)
    one = await fleet.replica()
    await fleet.minutes(2)
    if banned:
        fleet.exchange.fault = lambda *_: refuse(418, retry_after="1")
        assert await one.read() == "GateClosed"
        fleet.exchange.fault = None

    async def forget() -> None:
        while True:
            fleet.server.restart(empty=True)
            await fleet.clock.sleep(0.03)

    forgetting = asyncio.create_task(forget())
    if banned:
        await fleet.clock.sleep(60.0)
    began_s = fleet.clock.now()
    assert await one.read() == "ok"
    assert fleet.clock.now() - began_s < 1.5
    began_s = fleet.clock.now()
    assert await one.read() == "ok"
    assert fleet.clock.now() - began_s < 0.2
    forgetting.cancel()
    await one.aclose()
