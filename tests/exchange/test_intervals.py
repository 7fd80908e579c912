from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange.intervals import INTERVALS


def ms(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp() * 1000)


def test_months_follow_the_calendar() -> None:
    month = INTERVALS["1M"]
    assert month.next_open(ms(2024, 2, 1)) == ms(2024, 3, 1)
    assert month.next_open(ms(2023, 12, 1)) == ms(2024, 1, 1)
    eight = 8 * 3_600_000
    assert month.next_open(ms(2024, 1, 31, 16), eight) == ms(2024, 2, 29, 16)


def test_the_others_have_one_length() -> None:
    assert INTERVALS["1w"].next_open(ms(2017, 8, 14)) == ms(2017, 8, 21)
    assert INTERVALS["3d"].next_open(5) == 5 + 3 * 86_400_000
    assert len(INTERVALS) == 16


@given(a=st.integers(0, 10**13), n=st.integers(0, 5000), name=st.sampled_from(sorted(INTERVALS)))
def test_count_is_never_too_low(a: int, n: int, name: str) -> None:
    interval = INTERVALS[name]
    assert interval.count(a, a + n * interval.length_ms) == n + 1
    assert interval.count(a + 1, a) == 0


def test_a_month_that_began_late_ends_as_far_into_the_next() -> None:
    late = 3_723_456  # 01:02:03.456
    assert INTERVALS["1M"].next_open(ms(2024, 2, 15) + late) == ms(2024, 3, 15) + late
    assert INTERVALS["1M"].next_open(0) == ms(1970, 2, 1)


def test_a_span_that_ends_before_it_starts_holds_nothing() -> None:
    assert INTERVALS["1m"].count(5 * 60_000, 0) == 0
