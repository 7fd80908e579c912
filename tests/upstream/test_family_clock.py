"""The family clock: another replica's time, until it is measured here."""

import pytest

from mdcache.exchange.markets import Market
from tests.support.family_parts import FamilyParts

pytestmark = pytest.mark.virtual


async def test_a_stated_time_counts_until_it_is_measured_here() -> None:
    parts = FamilyParts(ahead_ms=5_000)
    assert parts.time.now().error_ms == 60_000
    parts.time.adopt(parts.clock.true_ms() + 5_000, 20, parts.clock.now())
    adopted = parts.time.now()
    assert (adopted.utc_ms, adopted.error_ms) == (parts.clock.true_ms() + 5_000, 70)
    await parts.clock.sleep(100.0)
    assert parts.time.now().error_ms == 80  # 10 ms of drift
    assert parts.time.measured().error_ms == 60_000
    assert parts.clocks.now(Market.SPOT).ms == parts.clock.true_ms() + 5_000
    assert parts.clocks.now(Market.USDM).ms == parts.clock.true_ms()
    parts.ahead_ms = 9_000
    await parts.clocks.ensure(Market.SPOT)
    assert parts.time.now().utc_ms == pytest.approx(parts.clock.true_ms() + 9_000, abs=1)


async def test_a_reply_that_was_found_after_a_night_in_suspend_took_no_night() -> None:
    """Else each read would count for every minute of a night."""
    parts = FamilyParts(ahead_ms=0)
    await parts.clocks.ensure(Market.SPOT)
    parts.time.record_round_trip(28_800.0)
    assert len(parts.time.now().minutes) <= 2
