"""When a closed row counts as final (docs/design.md#settling): a minute after its close, or by two reads that agree."""

import pytest

from mdcache.candles.merge import merge
from mdcache.candles.settling import ReadTime, Settling
from mdcache.candles.window import tail_window
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.rows import Row
from tests.candles.timeline import MINUTE_MS, POLICY, at, make_series, read_at, row, rows, tail_minutes

SECOND = 1 / 60
BY_MINUTE = Settling(POLICY, INTERVALS["1m"], 0)
TAIL = tail_window(100)


def settled(page: list[Row], read: ReadTime, seen_since: dict[int, float] | None = None) -> int:
    """How many of the first rows of `page` are settled; `seen_since`: by minute, since when a row is unchanged."""
    since = {at(minute): at(moment) for minute, moment in (seen_since or {}).items()}
    return BY_MINUTE.settled_count(page, {}, since, read)


@pytest.mark.parametrize(
    ("after_close_s", "count"),
    [(0, 0), (3, 0), (59.9, 0), (60.1, 1), (3_600, 1)],
)
def test_one_read_settles_a_row_a_minute_after_its_close(after_close_s: float, count: int) -> None:
    assert settled([row(0)], read_at(1 + after_close_s * SECOND)) == count


@pytest.mark.parametrize(
    ("first_s", "second_s", "count"),
    [
        (3, 6, 1),  # both three seconds after the close, and three apart
        (3, 5.9, 0),
        (3, 30, 1),
    ],
)
def test_two_reads_that_agree_settle_it_sooner(first_s: float, second_s: float, count: int) -> None:
    assert settled(rows(0, 1), read_at(1 + second_s * SECOND), {0: 1 + first_s * SECOND}) == count


def test_two_reads_settle_it_only_where_a_newer_row_is_shown() -> None:
    assert settled([row(0)], read_at(1.5), {0: 1 + 3 * SECOND}) == 0


@pytest.mark.parametrize(
    ("seen_twice", "count"),
    [([], 0), ([1], 0), ([0], 1), ([0, 1], 2), ([0, 1, 2], 2)],
)
def test_nothing_settles_past_a_row_that_did_not(seen_twice: list[int], count: int) -> None:
    by_second = Settling(POLICY, INTERVALS["1s"], 0)
    page = [Row(at(0) + n * 1_000, at(0) + n * 1_000 + 999, 1, b"[]") for n in range(3)]
    since = {page[n].open_ms: at(0) + 10_000 for n in seen_twice}
    assert by_second.settled_count(page, {}, since, read_at(0.5)) == count


@pytest.mark.parametrize(
    ("error_ms", "count"),
    [(0, 1), (5_000, 1), (10_002, 0)],  # the earliest that it may have been is what counts
)
def test_an_error_of_the_clock_makes_it_later(error_ms: int, count: int) -> None:
    assert settled([row(0)], read_at(2 + 10 * SECOND, error_ms)) == count


@pytest.mark.parametrize(
    ("seen", "doubt_ms", "count"),
    [
        ([row(0)], at(100), 0),  # anything may be true
        ([row(0)], at(99) - at(0), 0),  # then it closed a moment ago
        ([row(0)], at(98) - at(0), 1),
        (rows(0, 5), at(100), 4),  # whatever time it is: rows that opened later prove that it is over
        (rows(99, 100), at(100), 0),
    ],
)
def test_a_clock_in_doubt_settles_only_what_it_can_not_be_wrong_about(
    seen: list[Row], doubt_ms: int, count: int
) -> None:
    assert settled(seen, ReadTime(at(100), at(100), doubt_ms=doubt_ms)) == count


def test_what_was_settled_stays_so_while_it_is_unchanged() -> None:
    held = {at(0): row(0).raw}
    assert BY_MINUTE.settled_count([row(0)], held, {}, read_at(1)) == 1
    assert BY_MINUTE.settled_count([row(0, trades=1)], held, {}, read_at(1)) == 0


def test_a_cut_close_time_does_not_end_the_bucket() -> None:
    paused = row(0)._replace(close_ms=at(0) + 5_000)  # trading paused five seconds into it
    assert settled([paused], read_at(1.5)) == 0
    assert settled([paused], read_at(2)) == 1


def test_a_month_settles_by_its_calendar() -> None:
    by_month = Settling(POLICY, INTERVALS["1M"], 0)
    january, february = 1_735_689_600_000, 1_738_368_000_000
    month = Row(january, february - 1, 1, b"[]")
    for moment, count in ((february + 50_000, 0), (february + 61_000, 1), (february + 40 * 86_400_000, 1)):
        assert by_month.settled_count([month], {}, {}, ReadTime(moment, moment)) == count


@pytest.mark.parametrize(
    ("read_s", "changed", "since_s"),
    [
        (2.9, False, None),  # sooner than three seconds after the close nothing is remembered
        (3, False, 3),
        (10, True, 10),  # it differs: the count begins anew
    ],
)
def test_since_when_a_row_is_shown_unchanged(read_s: float, *, changed: bool, since_s: float | None) -> None:
    read = read_at(1 + read_s * SECOND)
    found = BY_MINUTE.unchanged_since([row(0)], {at(0): row(0, 60 - changed)}, {}, read)
    assert found == ({} if since_s is None else {at(0): at(1 + since_s * SECOND)})


def test_the_first_of_the_reads_that_agree_is_remembered() -> None:
    first = {at(0): at(1 + 3 * SECOND)}
    assert BY_MINUTE.unchanged_since([row(0)], {at(0): row(0)}, first, read_at(1.5)) == first


@pytest.mark.parametrize(
    ("reads_s", "tails"),
    [
        ((2, 3, 5.99), [[9, 10], [9, 10], [9, 10]]),
        ((2, 3, 6.01), [[9, 10], [9, 10], [10]]),
    ],
)
def test_the_second_of_a_close_read_by_read(reads_s: tuple[float, ...], tails: list[list[int]]) -> None:
    series = make_series()
    shown = []
    for read_s in reads_s:
        merge(series, rows(0, 10), TAIL, read_at(10 + read_s * SECOND))
        shown.append(tail_minutes(series))
    assert shown == tails
    assert series.interval.length_ms == MINUTE_MS
