"""Evicting blocks, and restoring them from a store (docs/design.md#blocks)."""

import pytest

from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.persistence import SeriesOutline, StoredBlock
from mdcache.candles.series import Series
from mdcache.candles.stored_blocks import (
    block_with_coverage,
    evict_block,
    load_outline,
    outside_blocks,
    pop_change,
    restore_block,
)
from tests.candles.timeline import at, covered, make_series, row, settle, settled_minutes, show_tail


def two_blocks() -> tuple[Series, int, int]:
    """A series of two whole blocks, and their indexes."""
    series = make_series()
    width = series.blocks.width_ms
    first = -(-at(0) // width)
    start = (first * width - at(0)) // 60_000
    settle(series, start, start + 1_999)
    pop_change(series)
    return series, first, first + 1


def test_a_block_that_is_not_in_a_store_is_read_again() -> None:
    series, first, second = two_blocks()
    evict_block(series, first)
    assert list(series.coverage) == [series.blocks.span(second)]
    assert list(series.evicted) == [series.blocks.span(first)]
    assert not list(series.stored)


def test_a_block_in_a_store_stays_known() -> None:
    series, first, second = two_blocks()
    evict_block(series, first, stored=True)
    assert list(series.coverage) == [series.blocks.span(second)]
    assert list(series.stored) == [series.blocks.span(first)]
    assert not list(series.evicted)


def test_it_comes_back_as_it_was() -> None:
    series, first, _ = two_blocks()
    before = list(series.coverage), settled_minutes(series)
    saved = block_with_coverage(series, first)
    evict_block(series, first, stored=True)
    restore_block(series, first, saved)
    assert (list(series.coverage), settled_minutes(series)) == before
    assert not list(series.stored)
    assert pop_change(series) is None


@pytest.mark.parametrize("found", [None, "half"])
def test_what_a_store_lost_of_it_is_unknown_and_saved_no_more(found: str | None) -> None:
    series, first, _ = two_blocks()
    saved = block_with_coverage(series, first)
    assert saved is not None
    start, end = series.blocks.span(first)
    middle = start + (end - start) // 2
    evict_block(series, first, stored=True)
    restore_block(series, first, None if found is None else StoredBlock(saved.block, ((start, middle),)))
    assert series.evicted.intersection(start, end) == [(start if found is None else middle, end)]
    change = pop_change(series)
    assert change is not None
    assert list(change.blocks) == [first]


def test_a_block_that_is_here_already_is_not_taken_twice() -> None:
    series, first, _ = two_blocks()
    rows_before = settled_minutes(series)
    restore_block(series, first, None)
    assert settled_minutes(series) == rows_before


def test_a_series_begins_with_what_its_store_knows() -> None:
    series = make_series()
    hole = EmptyRange(at(3), at(4), at(5), hole=True)
    load_outline(series, SeriesOutline(((at(-90), at(-50)),), (hole,), {7: ((at(0), at(9)),)}))
    assert covered(series) == [(-90, -50)]
    assert list(series.stored) == [(at(0), at(9))]
    assert list(series.empty_ranges) == [hole]
    assert series.outline_loaded


def test_coverage_without_rows_lies_outside_of_all_blocks() -> None:
    series, first, second = two_blocks()
    start, end = series.blocks.span(first)[0], series.blocks.span(second)[1]
    series.coverage.add(start - 1_000, end + 1_000)
    assert outside_blocks(series) == ((start - 1_000, start), (end, end + 1_000))


def test_holes_are_counted_between_rows() -> None:
    series = make_series()
    settle(series, 0, 9, without=[0, 4, 5, 9])
    assert series.holes() == 2


@pytest.mark.parametrize(
    ("lo", "hi", "minutes"),
    [(0, 20, [7, 8, 9, 11]), (8, 9, [8]), (10, 11, [])],  # 10 is open: another read may show it otherwise
)
def test_what_was_shown_as_closed_and_the_newest_row_are_known(lo: int, hi: int, minutes: list[int]) -> None:
    series = make_series()
    settle(series, 7, 8)
    show_tail(series, 9, 11, as_of=10.5)
    assert [each.open_ms for each in series.known_between(at(lo), at(hi), series.tail)] == [
        at(minute) for minute in minutes
    ]
    assert series.newest_known() == at(11)
    assert series.newest_settled() == at(8)


def test_a_purge_forgets_everything() -> None:
    series, _, _ = two_blocks()
    versions = series.settled_version, series.tail_version
    series.forget()
    assert (covered(series), settled_minutes(series), series.tail) == ([], [], None)
    assert series.settled_version > versions[0]
    assert series.tail_version > versions[1]


def test_rows_read_again_after_eviction_may_differ() -> None:
    series, first, _ = two_blocks()
    version = series.settled_version
    evict_block(series, first)
    start, end = series.blocks.span(first)
    series.note_read_again(start, end)
    assert series.settled_version == version + 1
    series.note_read_again(start, end)
    assert series.settled_version == version + 1
    assert row(0).trades == 60


def test_what_was_forgotten_is_never_taken_for_what_is_known_now() -> None:
    series = make_series()
    for minute in range(3):
        settle(series, minute, minute)
    before = series.settled_version, series.tail_version
    series.forget()
    assert (series.settled_version, series.tail_version) == (before[0] + 1, before[1] + 1)


def test_the_largest_page_that_was_cut_short_is_the_cap_until_a_larger_one() -> None:
    series = make_series()
    caps = []
    for rows in (0, 400, 300, 450):
        series.note_capped(rows)
        caps.append(series.page_cap)
    assert caps == [None, 400, 400, 450]
    assert [series.is_short(rows, 500) for rows in (449, 450)] == [True, False]
    assert series.is_short(451, 500)  # it refutes the cap
    series.note_page(450)
    assert series.page_cap == 450
    series.note_page(451)
    assert series.page_cap is None
