"""A ban that another replica met is obeyed, however its announcement arrives."""

import itertools

import pytest

from mdcache.exchange.markets import Family
from tests.support.fake_exchange import refuse
from tests.support.governor_replicas import GovernorReplica, GovernorReplicas

pytestmark = pytest.mark.virtual
TRIPS_S = 0.15  # of a question to Redis, and of a read that was sent just before


async def sent_into_a_ban(fleet: GovernorReplicas, one: GovernorReplica) -> int:
    """How many reads went out after `one` had met a ban, and told of it."""
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="60")
    assert await one.read() == "GateClosed"
    fleet.exchange.fault = None
    await fleet.clock.sleep(TRIPS_S)
    seen = len(fleet.exchange.seen)
    await fleet.clock.sleep(5.0)
    return len(fleet.exchange.seen) - seen


@pytest.mark.parametrize("after_s", [5.05, 5.25, 5.45, 5.65, 5.95])
async def test_one_whose_subscription_is_broken_asks_before_it_sends(after_s: float) -> None:
    fleet = GovernorReplicas(share=3_000, limit=6_000)
    one, deaf = [await fleet.replica() for _ in range(2)]
    await fleet.minutes(2)
    deaf.budgets[Family.SPOT].listens = False
    deaf.load(0.1, 1)
    await fleet.clock.sleep(after_s)
    assert deaf.outcomes["ok"] > 20  # it asks before each, and is let through
    assert await sent_into_a_ban(fleet, one) == 0


async def test_an_announcement_during_a_write_of_ours_is_not_lost() -> None:
    fleet = GovernorReplicas(share=3_000, limit=6_000)
    one, writer = [await fleet.replica() for _ in range(2)]
    await fleet.minutes(2)
    budget = writer.budgets[Family.SPOT]
    late = itertools.count()

    async def answer_late() -> None:
        if not next(late):
            await fleet.clock.sleep(0.2)

    budget.wait_after_write = answer_late
    await fleet.clock.sleep(0.05)
    writer.governor.open_gate(Family.SPOT)
    await fleet.clock.sleep(0.05)
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="60")
    assert await one.read() == "GateClosed"
    await fleet.clock.sleep(0.2)
    assert next(late) == 1
    assert writer.gate() == "closed"
