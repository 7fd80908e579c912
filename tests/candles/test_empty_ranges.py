"""How long emptiness is trusted (docs/design.md#holes): a tenth of its age, at least the TTL, at most a day."""

import pytest

from mdcache.candles.empty_ranges import EmptyRange, EmptyRanges, trusted_for_ms
from tests.candles.timeline import MINUTE_MS, at

TTL_MS = 2_000
DAY_MS = 86_400_000


def empty(first: int, end: int, checked_ms: int, *, hole: bool = True) -> EmptyRange:
    return EmptyRange(at(first), at(end), checked_ms, hole)


@pytest.mark.parametrize(
    ("age_ms", "trusted_ms"),
    [(0, TTL_MS), (20_000, TTL_MS), (600_000, 60_000), (10 * DAY_MS, DAY_MS), (400 * DAY_MS, DAY_MS)],
)
def test_a_tenth_of_its_age(age_ms: int, trusted_ms: int) -> None:
    assert trusted_for_ms(age_ms, TTL_MS) == trusted_ms


def test_it_is_due_when_that_has_passed_since_it_was_read() -> None:
    ranges = EmptyRanges()
    ranges.add(empty(0, 1, checked_ms=at(9)))  # nine minutes old then: a tenth of its age has passed at minute ten
    assert ranges.trusted_until_ms(at(0), at(0), TTL_MS) == at(10)
    assert ranges.due(at(0), at(0), at(9.99), TTL_MS) == []
    assert ranges.due(at(0), at(0), at(10), TTL_MS) == list(ranges)


def test_a_hole_of_a_week_ago_is_final_and_other_emptiness_never() -> None:
    ranges = EmptyRanges()
    week_later = at(0) + 7 * DAY_MS + 1
    ranges.add(empty(0, 1, week_later))
    assert not len(ranges)
    ranges.add(empty(0, 1, week_later, hole=False))  # before the first row: older ones may be listed yet
    assert len(ranges) == 1


@pytest.mark.parametrize(
    ("lo", "hi", "touched"),
    [(0, 4, False), (0, 5, True), (6, 6, True), (7, 9, True), (8, 9, False)],  # both inclusive; the range ends before 8
)
def test_a_question_meets_the_ranges_that_it_touches(lo: int, hi: int, *, touched: bool) -> None:
    ranges = EmptyRanges()
    ranges.add(empty(5, 8, at(20)))
    assert bool(ranges.due(at(lo), at(hi), at(2_000), TTL_MS)) is touched
    assert (ranges.trusted_until_ms(at(lo), at(hi), TTL_MS) is not None) is touched


def test_what_was_read_again_replaces_what_began_there() -> None:
    ranges = EmptyRanges()
    ranges.add(empty(5, 8, at(20)))
    ranges.add(empty(5, 6, at(30)))
    assert list(ranges) == [empty(5, 6, at(30))]
    ranges.clear(at(0), at(5))
    assert ranges.spans() == {(at(5), at(5) + MINUTE_MS, True)}
    ranges.clear(at(5), at(6))
    assert not ranges.spans()
