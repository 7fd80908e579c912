"""How a reply becomes knowledge: coverage, tail, holes and revisions (docs/design.md#rows)."""

import pytest

from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.merge import Revision, _refute_unproven_empty, merge, merge_tail
from mdcache.candles.ranges import FOREVER_MS
from mdcache.candles.series import Series, UnprovenEmpty
from mdcache.candles.stored_blocks import pop_change
from mdcache.candles.tail import Tail
from mdcache.candles.window import Window, WindowKind, tail_window
from mdcache.exchange.rows import Row
from tests.candles.timeline import (
    COINM,
    at,
    covered,
    make_series,
    minute_of,
    read_at,
    row,
    rows,
    settle,
    settled_minutes,
    show_tail,
    tail_minutes,
)

TAIL = tail_window(100)


def window(kind: WindowKind, start: float | None, end: float | None, limit: int = 100) -> Window:
    return Window(kind, None if start is None else at(start), None if end is None else at(end), limit)


def closed(start: float, end: float, limit: int = 100) -> Window:
    return window(WindowKind.RANGE, start, end, limit)


def merge_at(series: Series, minute: float, page: list[Row], asked: Window = TAIL) -> list[Revision]:
    return merge(series, page, asked, read_at(minute))


# ------------------------------------------------------------------------------- coverage and tail


def test_a_page_of_the_newest_rows_is_split_into_settled_rows_and_tail() -> None:
    series = make_series()
    merge_at(series, 10.5, rows(0, 10))
    assert covered(series) == [(0, 9)]  # 8 closed over a minute before the read, 9 did not
    assert settled_minutes(series) == list(range(9))
    assert tail_minutes(series) == [9, 10]
    assert series.tail is not None
    assert (series.tail.start_ms, series.tail.as_of_ms) == (at(9), at(10.5))


@pytest.mark.parametrize(
    ("asked", "page", "expected"),
    [
        (closed(0, 9), rows(2, 5), [(0, 5 + 1 / 60_000)]),  # from its start to its newest row, no further
        (closed(0, 9), [], []),
        (closed(0, 9, 3), rows(0, 2), [(0, 2 + 1 / 60_000)]),
        (window(WindowKind.BACKWARD, None, 9), rows(3, 9), [(3, 9 + 1 / 60_000)]),
    ],
)
def test_coverage_is_what_the_reply_proves(asked: Window, page: list[Row], expected: list[tuple[float, float]]) -> None:
    series = make_series()
    merge_at(series, 1_000, page, asked)
    assert [(round(lo, 6), round(hi, 6)) for lo, hi in covered(series)] == [
        (round(lo, 6), round(hi, 6)) for lo, hi in expected
    ]


def test_ranges_that_touch_are_joined() -> None:
    series = make_series()
    merge_at(series, 1_000, rows(0, 4), closed(0, 4))
    merge_at(series, 1_000, rows(4, 9), closed(4, 9))
    assert len(covered(series)) == 1
    assert settled_minutes(series) == list(range(10))


def test_a_newer_page_replaces_the_tail_and_settles_what_came_of_age() -> None:
    series = make_series()
    merge_at(series, 10.5, rows(0, 10))
    version = series.tail_version
    merge_at(series, 12.5, rows(0, 12))
    assert covered(series) == [(0, 11)]
    assert tail_minutes(series) == [11, 12]
    assert series.tail_version == version + 1


def test_a_window_inside_the_tail_adds_nothing() -> None:
    series = make_series()
    merge_at(series, 10.5, rows(0, 10))
    merge_at(series, 10.6, rows(9, 9), closed(9, 9))
    assert tail_minutes(series) == [9, 10]
    assert covered(series) == [(0, 9)]


def test_a_reply_older_than_the_last_one_fills_gaps_and_changes_nothing_else() -> None:
    series = make_series()
    merge_at(series, 20.5, rows(15, 20))
    held = series.tail
    assert merge_at(series, 18.5, rows(10, 18, trades={15: 1}), closed(10, 18)) == []
    assert covered(series) == [(10, 19)]
    assert series.tail is held
    assert series.blocks.printed_rows(at(15), at(16)) == [(at(15), row(15).raw)]


# ------------------------------------------------------------------------------- revisions and versions


@pytest.mark.parametrize(
    ("page", "revisions"),
    [
        (rows(0, 10), []),
        (rows(0, 10, trades={3: 99}), [Revision(at(3), row(3).raw, row(3, 99).raw)]),
        (rows(0, 10, without=[3]), [Revision(at(3), row(3).raw, b"")]),  # it is gone
        (rows(0, 10, trades={10: 99}), []),  # a row of the tail may change
    ],
)
def test_a_settled_row_that_differs_is_a_revision(page: list[Row], revisions: list[Revision]) -> None:
    series = make_series()
    merge_at(series, 10.5, rows(0, 10))
    version = series.settled_version
    assert merge_at(series, 10.6, page) == revisions
    assert (series.settled_version > version) is bool(revisions)  # older answers hold no longer
    assert list(series.revised_as_of) == [each.open_ms for each in revisions]


def test_a_row_that_fills_a_hole_is_no_revision_but_older_answers_hold_no_longer() -> None:
    series = make_series()
    merge_at(series, 10.5, rows(0, 10, without=[3]))
    version = series.settled_version
    assert merge_at(series, 10.6, rows(3, 3), closed(3, 3)) == []
    assert settled_minutes(series) == list(range(9))
    assert series.settled_version == version + 1
    assert not len(series.empty_ranges)


# ------------------------------------------------------------------------------- emptiness


def empty(first: float, end: float, read: float, *, hole: bool) -> EmptyRange:
    return EmptyRange(at(first), at(end), at(read), hole)


@pytest.mark.parametrize(
    ("asked", "page", "expected"),
    [
        (TAIL, rows(0, 100), []),
        (TAIL, rows(0, 100, without=[3, 4]), [empty(3, 5, 100.5, hole=True)]),
        (TAIL, rows(0, 100, without=[99]), [empty(99, 100, 100.5, hole=True)]),  # a row of the tail is one, too
        (closed(0, 20), rows(5, 20), [empty(0, 5, 100.5, hole=False)]),  # before its first row
        (closed(0, 20, 3), rows(0, 4, without=[1, 2]), [empty(1, 3, 100.5, hole=True)]),
        (window(WindowKind.BACKWARD, None, 9), rows(5, 9), []),  # before it, nothing was said
    ],
)
def test_emptiness_is_noted_where_it_is_proven(asked: Window, page: list[Row], expected: list[EmptyRange]) -> None:
    series = make_series()
    merge_at(series, 100.5, page, asked)
    assert list(series.empty_ranges) == expected


def test_after_the_last_row_of_a_closed_window_of_coinm() -> None:
    series = make_series(COINM)
    merge_at(series, 100, rows(0, 2), closed(0, 9))
    assert list(series.empty_ranges) == [EmptyRange(at(3), at(9) + 1, at(100), hole=False)]


def test_a_hole_between_two_replies_is_found_where_they_join() -> None:
    series = make_series()
    merge_at(series, 100, rows(0, 4), closed(0, 4))
    merge_at(series, 100, [row(9)], Window(WindowKind.RANGE, at(4) + 1, at(9), 100))
    assert list(series.empty_ranges) == [empty(5, 9, 100, hole=True)]


@pytest.mark.parametrize(
    ("asked", "page"),
    [
        (TAIL, rows(9, 101)),  # begins just after the hole, or ends just before it
        (closed(0, 4, 5), rows(0, 4)),
        (closed(7, 12), rows(9, 12)),  # a part of the hole
    ],
)
def test_a_hole_of_which_a_page_shows_no_more_than_a_part_is_not_checked_again(asked: Window, page: list[Row]) -> None:
    series = make_series()
    merge_at(series, 100.5, rows(0, 100, without=range(5, 9)))
    merge_at(series, 101.5, page, asked)
    assert list(series.empty_ranges) == [empty(5, 9, 100.5, hole=True)]
    merge_at(series, 102.5, [row(9)], closed(5, 9))
    assert list(series.empty_ranges) == [empty(5, 9, 102.5, hole=True)]


def test_what_a_page_without_startTime_left_open_is_not_asked_for_again() -> None:  # noqa: N802 - Binance's name
    series = make_series()
    merge_at(series, 100, rows(5, 9), window(WindowKind.BACKWARD, None, 9))  # short: nothing before minute 5
    assert series.shown_empty_at(at(4))
    assert not series.shown_empty_at(at(5))
    merge_at(series, 100, rows(5, 7), window(WindowKind.BACKWARD, None, 20))
    assert series.shown_empty_at(at(15))


# ------------------------------------------------------------------------------- what a store must save


def test_only_what_changed_is_to_be_saved() -> None:
    series = make_series()
    merge_at(series, 10.5, rows(0, 10))
    change = pop_change(series)
    assert change is not None
    assert series.blocks.indexes(0, FOREVER_MS) == list(change.blocks)
    merge_at(series, 10.51, rows(0, 10))  # the same again
    assert pop_change(series) is None


# ------------------------------------------------------------------------------- a tail of another replica


def test_a_tail_that_another_replica_read_is_merged_like_a_reply() -> None:
    series = make_series()
    settle(series, 0, 8)
    show_tail(series, 9, 10, as_of=10.5)
    theirs = Tail(at(9), tuple(rows(9, 11)), at(11.5))
    assert merge_tail(series, theirs) == []
    assert tail_minutes(series) == [10, 11]
    assert covered(series) == [(0, 10)]  # 9 closed more than a minute before they read it
    assert series.merged_as_of_ms == at(11.5)


def test_since_when_others_saw_a_row_unchanged_counts_here_too() -> None:
    series = make_series()
    show_tail(series, 9, 10, as_of=10.5)
    seen = {at(9): at(10) + 3_100}
    merge_tail(series, Tail(at(9), tuple(rows(9, 10)), at(10) + 6_200, seen))
    assert tail_minutes(series) == [10]  # two reads that agree, 3 s after the close and 3 s apart


@pytest.mark.parametrize(
    ("minutes", "cap", "left"),
    [
        ([], None, [(0, 9), (20, 29)]),
        ([10, 19], None, [(0, 9), (20, 29)]),
        ([9, 19], 7, [(20, 29)]),
        ([10, 20], 8, [(0, 9)]),
        ([0, 29], 8, []),
        ([29], 8, [(0, 9)]),
    ],
)
def test_rows_where_a_reply_showed_none_prove_that_it_was_capped(
    minutes: list[int], cap: int | None, left: list[tuple[int, int]]
) -> None:
    series = make_series()
    spans = [UnprovenEmpty(at(0), at(9), 7, at(50)), UnprovenEmpty(at(20), at(29), 8, at(50))]
    series.unproven_empty = list(spans)
    _refute_unproven_empty(series, [row(minute) for minute in minutes])
    assert [(minute_of(each.lo_ms), minute_of(each.hi_ms)) for each in series.unproven_empty] == left
    assert series.page_cap == cap


@pytest.mark.parametrize(("minutes", "refuted"), [([9], False), ([9, 10], True), ([19, 25], True), ([20, 30], False)])
def test_rows_after_what_seemed_the_end_refute_it(minutes: list[int], *, refuted: bool) -> None:
    series = make_series()
    series.unproven_end = UnprovenEmpty(at(10), at(19), 7, at(50))
    _refute_unproven_empty(series, [row(minute) for minute in minutes])
    assert (series.unproven_end is None, series.page_cap) == ((True, 7) if refuted else (False, None))


def test_a_page_is_not_taken_for_a_sign_of_a_cap_that_it_exceeds() -> None:
    series = make_series()
    series.unproven_end = UnprovenEmpty(at(10), at(19), 3, at(50))
    _refute_unproven_empty(series, rows(8, 12))
    assert [series.unproven_end, series.page_cap] == [None, None]
