"""A replica that was suspended while the others met a ban learns of it before it sends."""

import asyncio

import pytest

from mdcache.exchange.markets import Family
from mdcache.upstream.replicas.protocol import BudgetStoreDown
from tests.support.fake_exchange import refuse
from tests.support.governor_replicas import GovernorReplicas

pytestmark = pytest.mark.virtual


async def test_a_suspended_replica_learns_of_a_ban_before_it_sends() -> None:
    fleet = GovernorReplicas(share=600)
    one, stopped = [await fleet.replica() for _ in range(2)]
    await fleet.minutes(2)
    budget = stopped.budgets[Family.SPOT]

    async def stand_still() -> None:
        budget.wait = None
        await fleet.clock.sleep(8.0)
        raise BudgetStoreDown("no answer in time")

    budget.wait = stand_still
    fleet.server.drops_messages = True
    reading = asyncio.create_task(stopped.read(cost=100, within_s=20.0))  # more than it holds
    await fleet.clock.sleep(0.5)
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="60")
    assert await one.read() == "GateClosed"
    seen = len(fleet.exchange.seen)
    assert await reading == "GateClosed"
    assert len(fleet.exchange.seen) == seen
    await one.aclose()
    await stopped.aclose()
