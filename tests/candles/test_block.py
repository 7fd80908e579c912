"""The shelf and the coverage against the plainest thing that could be right: a dict, and a set."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.block import BLOCK_ROWS, Block, SeriesBlocks
from mdcache.candles.ranges import RangeSet
from mdcache.exchange.rows import Row


def row(t: int, salt: int = 0) -> Row:
    return Row(t, t + 9, 1, f'[{t},"{"x" * (t * 7 % 5)}{salt}"]'.encode())


@given(seed=st.integers(0, 2**32))
def test_shelf_is_a_sorted_dict(seed: int) -> None:
    rng = random.Random(seed)
    held = 0

    def changed(old: Block | None, new: Block | None) -> None:
        nonlocal held
        held += (len(new) if new else 0) - (len(old) if old else 0)

    shelf = SeriesBlocks(10, changed)
    truth: dict[int, bytes] = {}
    for step in range(30):
        start = rng.randrange(0, 50_000)
        end = start + rng.choice([1, 10, 500, 12_000])
        fresh = [row(t, step) for t in sorted({rng.randrange(start, end) for _ in range(rng.randrange(40))})]
        shelf.replace(start, end, fresh)
        truth = {t: raw for t, raw in truth.items() if not start <= t < end}
        truth |= {one.open_ms: one.raw for one in fresh}
        assert shelf.printed_rows(0, 1 << 60) == sorted(truth.items())
        lo, hi, limit = rng.randrange(60_000), rng.randrange(60_000), rng.randrange(1, 60)
        inside = [(t, raw) for t, raw in sorted(truth.items()) if lo <= t < hi]
        for pieces, expected in (
            (shelf.oldest(lo, hi, limit), inside[:limit]),
            (shelf.newest(lo, hi, limit), inside[-limit:]),
        ):
            assert b",".join(b.piece(i, j) for b, i, j in pieces) == b",".join(raw for _, raw in expected)
        assert held == len(truth) == len(shelf)
    assert all(len(block) <= BLOCK_ROWS for block in SeriesBlocks(10, changed).in_order())


@given(seed=st.integers(0, 2**32))
def test_coverage_is_a_set_of_moments(seed: int) -> None:
    rng = random.Random(seed)
    coverage = RangeSet()
    truth: set[int] = set()
    for _ in range(30):
        a, b = rng.randrange(60), rng.randrange(60)
        if rng.random() < 0.6:
            coverage.add(a, b)
            truth |= set(range(a, b))
        else:
            coverage.remove(a, b)
            truth -= set(range(a, b))
        ranges = list(coverage)
        assert {t for start, end in ranges for t in range(start, end)} == truth
        assert all(end < following for (_, end), (following, _) in itertools.pairwise(ranges))
        t = rng.randrange(70)
        at = coverage.at(t)
        assert (at is not None) == (t in truth)
        assert coverage.after(t) == next((r for r in ranges if r[0] > t), None)
        assert coverage.before(t) == next((r for r in reversed(ranges) if r[1] <= t), None)
        gaps = coverage.gaps(a, b)
        assert {t for start, end in gaps for t in range(start, end)} == set(range(a, b)) - truth
