"""How old an answer may be (docs/design.md#freshness): what the caller says, the TTL, and the close of a candle."""

import pytest

from mdcache.candles.freshness import FreshnessDirectives as Said
from mdcache.candles.freshness import TailFloor, fresh_floor, stale_floor, tail_ttl_ms
from mdcache.candles.tail import Tail
from mdcache.clock import Instant
from mdcache.exchange.rows import Row
from tests.candles.timeline import at, now, rows

TTL_MS, MAX_STALE_MS = 2_000, 60_000
DAY_MS = 86_400_000


def tail(as_of: float, error_ms: int = 0) -> Tail:
    """Minutes 9 and 10, of which the latter closes at 11."""
    return Tail(at(9), tuple(rows(9, 10)), at(as_of), error_ms=error_ms)


@pytest.mark.parametrize(
    ("said", "fresh_ms", "stale_ms"),
    [
        (Said(), TTL_MS, MAX_STALE_MS),
        (Said(max_age_s=0.5), 500, 500),  # a caller may ask for fresher,
        (Said(max_age_s=30), TTL_MS, 30_000),  # but not make a tail live longer than its TTL
        (Said(max_age_s=600), TTL_MS, MAX_STALE_MS),
        (Said(no_cache=True), 0, 0),
        (Said(max_stale_s=600), TTL_MS, 602_000),  # its own limit counts, ours does not
        (Said(max_age_s=1, max_stale_s=5), 1_000, 6_000),
        (Said(no_cache=True, max_stale_s=5), 0, 5_000),
    ],
)
def test_the_most_age_fresh_and_where_binance_cannot_be_asked(said: Said, fresh_ms: int, stale_ms: int) -> None:
    assert said.max_fresh_age_ms(TTL_MS) == fresh_ms
    assert said.max_stale_age_ms(TTL_MS, MAX_STALE_MS) == stale_ms
    moment = now(10.5)
    assert fresh_floor(said, TTL_MS, moment).as_of_ms == moment.ms - fresh_ms
    assert stale_floor(said, TTL_MS, MAX_STALE_MS, moment).as_of_ms == moment.ms - stale_ms


@pytest.mark.parametrize(
    ("min_as_of", "floor"),
    [(10.2, 10.2), (10.5, 10.5), (10.6, 10.5)],  # a moment ahead of our clock can only mean now
)
def test_no_tail_older_than_what_the_caller_saw_already(min_as_of: float, floor: float) -> None:
    said = Said(min_as_of_ms=at(min_as_of))
    assert fresh_floor(said, 3_600_000, now(10.5)).as_of_ms == at(floor)
    assert stale_floor(said, TTL_MS, 3_600_000, now(10.5)).as_of_ms == at(floor)


@pytest.mark.parametrize(
    ("ahead_ms", "wait_ms"),
    [(-1, 0), (0, 0), (1, 1), (1_000, 1_000), (1_001, 0)],  # further ahead is no clock of ours
)
def test_a_moment_that_another_replica_showed_is_waited_for(ahead_ms: int, wait_ms: int) -> None:
    assert Said(min_as_of_ms=at(10) + ahead_ms).wait_ms(now(10)) == wait_ms


@pytest.mark.parametrize(
    ("as_of", "error_ms", "moment", "passed"),
    [
        (10.5, 0, 10.9, False),
        (10.5, 0, 11.0, True),  # read half way, and closed since: half a candle
        (11.1, 0, 12.5, False),  # read after its close: whole, however old
        (11.001, 100, 11.5, True),  # read after its close by our clock, which may be 100 ms ahead
    ],
)
def test_a_candle_that_was_open_when_read_and_has_closed(
    as_of: float, error_ms: int, moment: float, *, passed: bool
) -> None:
    held = tail(as_of, error_ms)
    assert held.close_passed(at(moment)) is passed
    assert TailFloor(0).admits(held, now(moment)) is not passed
    assert TailFloor(0, allows_passed_close=True).admits(held, now(moment))


def test_a_close_is_judged_by_the_latest_it_may_be() -> None:
    almost = Instant(at(11) - 50, error_ms=49)
    assert TailFloor(0).admits(tail(10.5), almost)
    assert not TailFloor(0).admits(tail(10.5), Instant(almost.ms, error_ms=51))


def test_only_max_stale_shows_half_a_candle() -> None:
    assert not stale_floor(Said(), TTL_MS, MAX_STALE_MS, now(11)).allows_passed_close
    assert stale_floor(Said(max_stale_s=1), TTL_MS, MAX_STALE_MS, now(11)).allows_passed_close
    assert not fresh_floor(Said(max_stale_s=1), TTL_MS, now(11)).allows_passed_close


def test_a_floor_admits_what_is_as_new_as_itself() -> None:
    assert TailFloor(at(10.5)).admits(tail(10.5), now(10.6))
    assert not TailFloor(at(10.5) + 1).admits(tail(10.5), now(10.6))


@pytest.mark.parametrize(
    ("trading", "shown", "start_ms", "ttl_ms"),
    [
        (True, (), at(0), TTL_MS),
        (False, tuple(rows(9, 10)), at(9), TTL_MS),
        (False, (), at(9.5), 3_000),  # half a minute without a row is trusted for a tenth of it
        (False, (), at(9.99), TTL_MS),  # at least for the TTL
        (False, (), at(10) - 30 * DAY_MS, 5_000),  # at most for five seconds: it may trade again at any moment
    ],
)
def test_an_end_is_trusted_for_seconds_if_the_symbol_does_not_trade(
    *, trading: bool, shown: tuple[Row, ...], start_ms: int, ttl_ms: int
) -> None:
    held = Tail(start_ms, shown, at(10))
    assert tail_ttl_ms(held, TTL_MS, now(10), trading=trading) == ttl_ms
    assert tail_ttl_ms(None, TTL_MS, now(10), trading=False) == TTL_MS
