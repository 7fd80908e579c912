"""Rows that a reply repeats are compared as bytes and left out: the series must be as if each had been merged."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.block import SeriesBlocks
from mdcache.candles.merge import merge
from mdcache.candles.plausibility import Suspicion, find_suspicion
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime
from mdcache.candles.stored_blocks import evict_block
from mdcache.candles.window import Window, WindowKind
from mdcache.errors import InvalidBody
from mdcache.exchange.rows import Row
from tests.candles import timeline
from tests.candles.timeline import COINM, SPOT, USDM, at, row
from tests.support.examples import examples

LAST = 40


class PlainBlocks(SeriesBlocks):
    """Blocks that see no repetition."""

    def count_repeated(self, rows: Sequence[Row], start: int, end: int) -> int:
        return 0


def plain_series(path: str) -> Series:
    series = timeline.make_series(path)
    series.blocks = PlainBlocks(series.interval.length_ms, lambda _old, _new: None)
    return series


def state(series: Series) -> list[object]:
    return [
        list(series.coverage),
        list(series.evicted),
        series.blocks.printed_rows(0, 1 << 62),
        sorted(series.empty_ranges, key=lambda each: each.start_ms),
        series.tail,
        series.unproven_empty,
        series.unproven_end,
        (series.page_cap, series.merged_as_of_ms, series.revised_as_of),
        (series.settled_version, series.tail_version, series.unsaved, series.blocks.unsaved),
    ]


def random_window(rng: random.Random, now: float) -> Window:
    lo, limit = rng.uniform(-2, now), rng.choice([1, 3, 8, 20, 99])
    match rng.choice([*WindowKind, WindowKind.TAIL, WindowKind.TAIL]):
        case WindowKind.TAIL as kind:
            return Window(kind, None, None, limit)
        case WindowKind.BACKWARD as kind:
            return Window(kind, None, at(int(lo)), limit)
        case WindowKind.FORWARD as kind:
            return Window(kind, at(int(lo)), None, limit)
        case kind:
            return Window(kind, at(int(lo)), at(int(rng.uniform(lo, now + 1))), limit)


def reply(world: dict[float, int], window: Window, now: float, *, nearest_end: bool) -> list[Row]:
    lo, hi = window.start_ms or 0, at(now) if window.end_ms is None else window.end_ms
    shown = [row(minute, trades) for minute, trades in sorted(world.items()) if minute <= now]
    inside = [each for each in shown if lo <= each.open_ms <= hi]
    newest = window.start_ms is None or nearest_end
    return inside[-window.limit :] if newest else inside[: window.limit]


def judged(series: Series, rows: list[Row], window: Window, read: ReadTime) -> Suspicion | str | None:
    try:
        return find_suspicion(series, rows, window, read)
    except InvalidBody as error:
        return f"{error.reason} {error}"


@pytest.mark.parametrize("path", [SPOT, USDM, COINM])
@given(seed=st.integers(0, 2**32))
@examples(60)
def test_a_repeated_row_changes_nothing(path: str, seed: int) -> None:
    rng = random.Random(seed)
    world: dict[float, int] = {minute: 50 for minute in range(LAST) if rng.random() < rng.choice([0.99, 0.8])}
    world |= {minute + 0.5: 50 for minute in range(LAST) if rng.random() < 0.01}  # off the grid, after an outage
    fast, plain = timeline.make_series(path), plain_series(path)
    now = rng.uniform(5, 30)
    for _ in range(12):
        window, early_ms = random_window(rng, now), at(now) - rng.choice([0, 0, 50])
        read = ReadTime(at(now), early_ms, rng.choice([0, 0, 0, 5_000]))
        rows = reply(world, window, now, nearest_end=fast.endpoint.nearest_end)
        assert judged(fast, rows, window, read) == judged(plain, rows, window, read)
        assert merge(fast, rows, window, read) == merge(plain, rows, window, read)
        assert state(fast) == state(plain)
        now += rng.choice([0, 0.001, 0.05, 0.1, 1, 3]) - rng.choice([0, 0, 0, 0.02])
        if rng.random() < 0.3:
            minute = rng.randrange(LAST)
            match rng.choice(["revise", "lose", "fill"]):
                case "lose":
                    world.pop(minute, None)
                case _:
                    world[minute] = rng.choice([40, 50, 60])
        if rng.random() < 0.1:
            for series in (fast, plain):
                for index in series.blocks.indexes(0, 1 << 62):
                    evict_block(series, index)
