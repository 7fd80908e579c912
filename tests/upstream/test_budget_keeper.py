"""The budget keeper: its limit, and its minutes when the clock is corrected."""

import pytest

from mdcache.exchange.markets import Market
from mdcache.upstream.budget import Claim, Granted, Moment, reserve
from mdcache.upstream.budget_keeper import BudgetKeeper
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


async def test_a_correction_that_the_clocks_errors_explain_moves_nothing() -> None:
    """What was spent was charged to all minutes that the errors allow; to move it would charge past minutes again."""
    keeper = BudgetKeeper(0.5, lambda: None)
    for minute, ahead_ms, error_ms in ((0, 0, 20), (1, 1_000, 1_050), (2, -30, 10), (3, 900, 1_000), (4, 0, 3)):
        at_s = 60.0 * minute + 20
        now = Moment(60_000_000 + int(1000 * at_s) + ahead_ms, error_ms, 100, at_s)
        keeper.follow(now)
        decision = reserve(keeper.budget, Claim(100, Lane.HIGH), now)
        assert isinstance(decision, Granted)
        keeper.spend(decision)
        keeper.settle(decision.reservation, 100, now)
        assert keeper.budget.minute(now.number).ours == 100

    wrong = Moment(60_000_000 + 270_000, 3, 100, 261.0)  # more than any error that it has stated
    keeper.follow(wrong)
    assert keeper.budget.minute(wrong.number).ours > 100


async def test_a_stated_limit_counts_until_it_is_read_here() -> None:
    keeper = FamilyParts().budget
    assert keeper.adopt_limit(6_000)
    assert not keeper.adopt_limit(6_000)
    keeper.set_limit(2_400)
    assert not keeper.adopt_limit(6_000)
    assert keeper.budget.limit == 2_400


async def test_what_other_processes_spend_and_draw_is_saved() -> None:
    changes: list[int] = []
    keeper = BudgetKeeper(0.5, lambda: changes.append(len(changes)))
    keeper.add_spent(5, 0)
    assert not changes
    keeper.add_spent(5, 1)
    keeper.record_drawn(6, 30)
    keeper.record_drawn(6, 30)
    assert len(changes) == 2
    keeper.adopt_header(5, 900)
    minutes = [(each.number, each.ours, each.drawn, each.header) for each in keeper.budget.minutes]
    assert minutes == [(5, 1, None, 900), (6, 0, 30, None)]
