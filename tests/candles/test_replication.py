"""Replication of a series: the result does not depend on the direction or the order of exchanges."""

import itertools

import pytest

from mdcache.candles.ranges import FOREVER_MS
from mdcache.candles.replication import SeriesState, apply_state, export_state
from mdcache.candles.series import Series
from mdcache.candles.tail import Tail
from tests.candles.timeline import (
    at,
    covered,
    make_series,
    row,
    rows,
    settle,
    settled_minutes,
    show_tail,
    tail_minutes,
)


def export(series: Series) -> SeriesState:
    """All that a series knows, and has in memory."""
    return export_state(series, series.blocks.indexes(0, FOREVER_MS))


def replica(
    first: int, last: int, tail: tuple[int, int, float] | None = None, *, without: tuple[int, ...] = ()
) -> Series:
    series = make_series()
    settle(series, first, last, without=without)
    if tail is not None:
        show_tail(series, tail[0], tail[1], as_of=tail[2])
    return series


def revise(series: Series, minute: int, trades: int, as_of: float) -> None:
    series.blocks.replace(at(minute), at(minute + 1), [row(minute, trades)])
    series.note_revised([at(minute)], at(as_of))


def trades_of(series: Series, minute: int) -> int:
    ((_, raw),) = series.blocks.printed_rows(at(minute), at(minute + 1))
    return int(raw.split(b",")[8])


# ------------------------------------------------------------------------------- settled rows


def test_what_only_one_knows_is_known_to_both() -> None:
    mine, theirs = replica(0, 4), replica(3, 9)
    assert apply_state(mine, export(theirs)) == []
    assert covered(mine) == [(0, 10)]
    assert settled_minutes(mine) == list(range(10))


def test_what_both_know_alike_changes_nothing() -> None:
    mine, theirs = replica(0, 9), replica(0, 9)
    versions = mine.settled_version, mine.tail_version
    assert apply_state(mine, export(theirs)) == []
    assert (mine.settled_version, mine.tail_version) == versions


@pytest.mark.parametrize(
    ("mine_found", "theirs_found", "trades"),
    [
        ((50, None), (70, None), 70),  # neither was found revised: the one with more trades
        ((70, None), (50, None), 70),
        ((70, None), (50, 20.0), 50),  # found revised counts more,
        ((70, 19.0), (50, 20.0), 50),  # and of two such the later
        ((70, 21.0), (50, 20.0), 70),
    ],
)
def test_a_row_that_differs(
    mine_found: tuple[int, float | None], theirs_found: tuple[int, float | None], trades: int
) -> None:
    def made(found: tuple[int, float | None]) -> Series:
        series = replica(0, 9)
        series.blocks.replace(at(5), at(6), [row(5, found[0])])
        if found[1] is not None:
            series.note_revised([at(5)], at(found[1]))
        return series

    for one, other in itertools.permutations([made(mine_found), made(theirs_found)]):
        changed = apply_state(one, export(other))
        assert trades_of(one, 5) == trades
        assert [each.open_ms for each in changed] in ([at(5)], [])


def test_a_revision_makes_older_answers_invalid() -> None:
    mine, theirs = replica(0, 9), replica(0, 9)
    revise(theirs, 5, 70, as_of=20)
    version = mine.settled_version
    (revision,) = apply_state(mine, export(theirs))
    assert (revision.open_ms, revision.was, revision.now) == (at(5), row(5).raw, row(5, 70).raw)
    assert mine.settled_version == version + 1
    assert mine.revised_as_of == {at(5): at(20)}


def test_three_replicas_agree_whatever_the_order() -> None:
    def world() -> list[Series]:
        made = [replica(0, 5), replica(4, 9, without=(7,)), replica(2, 8)]
        revise(made[0], 4, 99, as_of=30)
        revise(made[2], 4, 98, as_of=31)
        revise(made[2], 7, 97, as_of=32)
        return made

    ends = set()
    for order in itertools.permutations(range(3)):
        series = world()
        for one, other in [*itertools.pairwise([*order, *order, *order])]:
            apply_state(series[other], export(series[one]))
        ends |= {(tuple(each.coverage), tuple(each.blocks.printed_rows(0, 1 << 62))) for each in series}
    assert len(ends) == 1


# ------------------------------------------------------------------------------- tails


@pytest.mark.parametrize(
    ("theirs", "taken"),
    [
        (Tail(at(9), tuple(rows(9, 11)), at(11.2)), True),
        (Tail(at(9), tuple(rows(9, 10)), at(10.6)), True),  # the same rows, read later
        (Tail(at(9), tuple(rows(9, 11)), at(10.4)), False),  # read earlier
        (Tail(at(9), tuple(rows(9, 9)), at(10.6)), False),  # lacks our newest row
        (Tail(at(9), (), at(10.6)), False),
        (Tail(at(9), tuple(rows(9, 10, trades={9: 59})), at(10.6)), False),  # fewer trades in a closed row
        (Tail(at(9), tuple(rows(9, 10, trades={10: 61})), at(10.6)), True),
        (Tail(at(10), tuple(rows(10, 10)), at(10.6)), True),  # they have settled more
    ],
)
def test_a_tail_comes_in_if_it_is_newer_and_shows_no_less(theirs: Tail, *, taken: bool) -> None:
    mine = replica(0, 8, (9, 10, 10.5))
    assert apply_state(mine, SeriesState(tail=theirs)) == []
    assert mine.tail is not None
    assert (mine.tail.as_of_ms == theirs.as_of_ms) is taken


def test_rows_that_others_settled_leave_the_beginning_of_our_tail() -> None:
    mine, theirs = replica(0, 6, (7, 10, 10.5)), replica(0, 8)
    apply_state(mine, export(theirs))
    assert covered(mine) == [(0, 9)]
    assert tail_minutes(mine) == [9, 10]


def test_our_newest_row_stays_in_the_tail() -> None:
    mine, theirs = replica(0, 8, (9, 10, 10.5)), replica(0, 12)
    apply_state(mine, export(theirs))
    assert tail_minutes(mine) == [10]


# ------------------------------------------------------------------------------- emptiness


def test_empty_ranges_are_exported_with_the_rows_around_them() -> None:
    mine, theirs = make_series(), replica(0, 9, without=(4, 5))
    hole = next(iter(_holes(theirs)))
    apply_state(mine, export(theirs))
    assert covered(mine) == [(0, 10)]
    assert list(mine.empty_ranges) == [hole]


def test_the_later_look_at_an_emptiness_counts() -> None:
    mine, theirs = replica(0, 9, without=(4,)), replica(0, 9, without=(4,))
    for series, checked in ((mine, 20), (theirs, 30)):
        _holes(series, checked)
    apply_state(mine, export(theirs))
    assert [each.checked_ms for each in mine.empty_ranges] == [at(30)]
    apply_state(theirs, export(mine))
    assert [each.checked_ms for each in theirs.empty_ranges] == [at(30)]


def _holes(series: Series, checked: float = 20) -> list[object]:
    from mdcache.candles.empty_ranges import EmptyRange

    missing = [minute for minute in range(10) if minute not in settled_minutes(series)]
    series.empty_ranges.add(EmptyRange(at(missing[0]), at(missing[-1] + 1), at(checked), hole=True))
    return list(series.empty_ranges)
