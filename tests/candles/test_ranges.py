"""A set of disjoint ranges [start, end), as coverage is one (docs/design.md#windows)."""

import itertools
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.ranges import RangeSet

Ranges = list[tuple[int, int]]


def make(ranges: Iterable[tuple[int, int]]) -> RangeSet:
    found = RangeSet()
    for start, end in ranges:
        found.add(start, end)
    return found


@pytest.mark.parametrize(
    ("held", "added", "expected"),
    [
        ([], (1, 3), [(1, 3)]),
        ([(1, 3)], (5, 7), [(1, 3), (5, 7)]),
        ([(5, 7)], (1, 3), [(1, 3), (5, 7)]),
        ([(1, 3)], (3, 5), [(1, 5)]),  # what touches is one
        ([(1, 3), (5, 7)], (3, 5), [(1, 7)]),
        ([(1, 3), (5, 7), (9, 11)], (2, 10), [(1, 11)]),
        ([(1, 9)], (3, 5), [(1, 9)]),
        ([(1, 3)], (4, 4), [(1, 3)]),  # nothing
        ([(1, 3)], (5, 4), [(1, 3)]),
    ],
)
def test_add(held: Ranges, added: tuple[int, int], expected: Ranges) -> None:
    ranges = make(held)
    ranges.add(*added)
    assert list(ranges) == expected
    assert len(ranges) == len(expected)


@pytest.mark.parametrize(
    ("held", "removed", "expected"),
    [
        ([(1, 9)], (3, 5), [(1, 3), (5, 9)]),
        ([(1, 9)], (0, 4), [(4, 9)]),
        ([(1, 9)], (1, 9), []),
        ([(1, 3), (5, 7), (9, 11)], (2, 10), [(1, 2), (10, 11)]),
        ([(1, 3)], (3, 5), [(1, 3)]),
        ([(1, 3)], (2, 2), [(1, 3)]),
    ],
)
def test_remove(held: Ranges, removed: tuple[int, int], expected: Ranges) -> None:
    ranges = make(held)
    ranges.remove(*removed)
    assert list(ranges) == expected


@pytest.mark.parametrize(
    ("t", "at", "after", "before"),
    [
        (0, None, (1, 3), None),
        (1, (1, 3), (5, 7), None),
        (3, None, (5, 7), (1, 3)),  # its end is not in it
        (4, None, (5, 7), (1, 3)),
        (6, (5, 7), None, (1, 3)),
        (7, None, None, (5, 7)),
    ],
)
def test_the_range_at_after_and_before_a_moment(
    t: int, at: tuple[int, int] | None, after: tuple[int, int] | None, before: tuple[int, int] | None
) -> None:
    ranges = make([(1, 3), (5, 7)])
    assert (ranges.at(t), ranges.after(t), ranges.before(t)) == (at, after, before)


@pytest.mark.parametrize(
    ("span", "known", "unknown"),
    [
        ((0, 10), [(1, 3), (5, 7)], [(0, 1), (3, 5), (7, 10)]),
        ((2, 6), [(2, 3), (5, 6)], [(3, 5)]),
        ((5, 7), [(5, 7)], []),
        ((3, 5), [], [(3, 5)]),
        ((8, 9), [], [(8, 9)]),
    ],
)
def test_a_span_is_made_of_what_is_in_the_set_and_of_gaps(
    span: tuple[int, int], known: Ranges, unknown: Ranges
) -> None:
    ranges = make([(1, 3), (5, 7)])
    assert ranges.intersection(*span) == known
    assert ranges.gaps(*span) == unknown


@given(seed=st.integers(0, 2**32))
def test_it_is_a_set_of_moments(seed: int) -> None:
    rng = random.Random(seed)
    ranges, truth = RangeSet(), set[int]()
    for _ in range(30):
        a, b = rng.randrange(60), rng.randrange(60)
        before = ranges.version, [*ranges]
        if rng.random() < 0.6:
            ranges.add(a, b)
            truth |= set(range(a, b))
        else:
            ranges.remove(a, b)
            truth -= set(range(a, b))
        assert (ranges.version == before[0]) == ([*ranges] == before[1])
        assert {t for start, end in ranges for t in range(start, end)} == truth
        assert all(end < following for (_, end), (following, _) in itertools.pairwise(ranges))
        t = rng.randrange(70)
        assert (ranges.at(t) is not None) == (t in truth)
        assert ranges.after(t) == next((each for each in ranges if each[0] > t), None)
        assert ranges.before(t) == next((each for each in reversed([*ranges]) if each[1] <= t), None)
        lo, hi = sorted((rng.randrange(60), rng.randrange(60)))
        assert {t for a, b in ranges.intersection(lo, hi) for t in range(a, b)} == truth & set(range(lo, hi))
        assert {t for a, b in ranges.gaps(lo, hi) for t in range(a, b)} == set(range(lo, hi)) - truth


def test_each_change_has_a_version_of_its_own() -> None:
    held, seen = RangeSet(), []
    for change in (held.add, held.remove, held.add, held.remove):
        change(1, 3)
        seen.append(held.version)
    assert seen == sorted(set(seen))
