"""The budget keeper: its limit, and its minutes when the clock is corrected."""

import pytest

from mdcache.exchange.markets import Market
from mdcache.upstream.budget import Claim, Granted, reserve
from mdcache.upstream.priority import Lane
from tests.support.family_parts import FamilyParts

pytestmark = pytest.mark.virtual


def spend(parts: FamilyParts, weight: int) -> Granted:
    decision = reserve(parts.budget.budget, Claim(weight, Lane.HIGH), parts.now())
    assert isinstance(decision, Granted)
    parts.budget.spend(decision)
    return decision


async def test_spent_weight_moves_with_a_corrected_clock() -> None:
    parts = FamilyParts(ahead_ms=600_000)
    parts.time.adopt(parts.clock.true_ms(), 20, parts.clock.now())
    reservation = spend(parts, 10).reservation
    await parts.clocks.ensure(Market.SPOT)
    parts.budget.settle(reservation, None, parts.now())
    assert parts.budget.budget.minute(parts.now().number).ours == 10


async def test_a_stated_limit_counts_until_it_is_read_here() -> None:
    keeper = FamilyParts().budget
    assert keeper.adopt_limit(6_000)
    assert not keeper.adopt_limit(6_000)
    keeper.set_limit(2_400)
    assert not keeper.adopt_limit(6_000)
    assert keeper.budget.limit == 2_400
