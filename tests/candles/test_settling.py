"""When a closed row counts as final, what a worse reply does, and what a revision is.

Rules: docs/design.md#settling, #tail-replacement, #revisions.
"""

import pytest

from mdcache.candles.merge import Revision, merge
from mdcache.candles.plausibility import Suspicion, find_suspicion
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime
from mdcache.candles.window import Window, WindowKind, tail_window
from mdcache.errors import InvalidBody
from mdcache.exchange.rows import Row
from tests.support.toy_exchange import MINUTE, ToyExchange, make_series

T = 1_790_771_400_000  # a whole minute
TAIL = tail_window(100)


def exchange(minutes: int = 20) -> ToyExchange:
    return ToyExchange("/api/v3/klines", [T - n * MINUTE for n in range(minutes, -5, -1)])


def read(series: Series, rows: list[Row], at: int, window: Window = TAIL, *, settles: bool = True) -> list[Revision]:
    return merge(series, rows, window, ReadTime(at, at, settles))


def covered_to(series: Series) -> int:
    return list(series.coverage)[-1][1]


def test_a_row_read_a_minute_after_its_close_is_settled() -> None:
    series, ex = make_series("/api/v3/klines"), exchange()
    at = T + MINUTE - 2
    read(series, ex.read(TAIL, at), at)
    assert covered_to(series) == T - MINUTE  # the row before the last closed a millisecond too few ago
    assert [row.open_ms for row in series.tail.rows] == [T - MINUTE, T]  # type: ignore[union-attr]


def test_two_reads_that_agree_settle_a_row_only_with_a_newer_one() -> None:
    series, ex = make_series("/api/v3/klines"), exchange()
    for at, covered in ((T + 2_000, T - MINUTE), (T + 3_000, T - MINUTE), (T + 5_999, T - MINUTE), (T + 6_001, T)):
        read(series, ex.read(TAIL, at), at)
        assert covered_to(series) == covered, at
    alone = make_series("/api/v3/klines")
    ex.opens = [t for t in ex.opens if t < T]
    for at in (T + 3_000, T + 7_000, T + 30_000):
        read(alone, ex.read(TAIL, at), at)
        assert covered_to(alone) == T - MINUTE, at
    read(alone, ex.read(TAIL, T + MINUTE), T + MINUTE)
    assert covered_to(alone) == T - MINUTE + 1


def test_two_reads_that_differ_start_anew() -> None:
    series, ex = make_series("/api/v3/klines"), exchange()
    ex.bumps[T - MINUTE] = (T + 5_000, 7)
    read(series, ex.read(TAIL, T + 3_500), T + 3_500)
    assert [r.open_ms for r in read(series, ex.read(TAIL, T + 7_000), T + 7_000)] == [T - MINUTE]
    assert covered_to(series) == T - MINUTE
    assert read(series, ex.read(TAIL, T + 10_000), T + 10_000) == []
    assert covered_to(series) == T


def test_a_cut_close_time_does_not_end_the_bucket() -> None:
    series, ex = make_series("/api/v3/klines"), exchange()
    ex.opens = [t for t in ex.opens if t <= T - MINUTE]
    ex.closes[T - MINUTE] = T - MINUTE + 5_000  # trading paused five seconds into the bucket
    for at in (T - MINUTE + 20_000, T - MINUTE + 30_000, T + MINUTE - 2):
        read(series, ex.read(TAIL, at), at)
        assert covered_to(series) <= T - MINUTE, at
    read(series, ex.read(TAIL, T + MINUTE), T + MINUTE)
    assert covered_to(series) == T - MINUTE + 1


def test_nothing_settles_while_the_clock_is_doubted() -> None:
    series, ex = make_series("/api/v3/klines"), exchange()
    read(series, ex.read(TAIL, T), T, settles=False)
    assert list(series.coverage) == []
    assert len(series.tail.rows) == 21  # type: ignore[union-attr]


def test_a_lagging_reply_is_doubted() -> None:
    series, ex = make_series("/api/v3/klines"), exchange()
    read(series, ex.read(TAIL, T + 1_000), T + 1_000)
    for at in (T + 3_000 - 4_000, T + 2_000 - 1_001):
        lagging = ex.read(TAIL, at)
        found = find_suspicion(series, lagging, TAIL, ReadTime(T + 3_000, T + 3_000))
        assert found is not None
        assert found.lagging
    assert find_suspicion(series, ex.read(TAIL, T + 3_000), TAIL, ReadTime(T + 3_000, T + 3_000)) is None


def test_fewer_trades_in_a_closed_row_are_doubted_but_are_no_lag() -> None:
    series, ex = make_series("/api/v3/klines"), exchange()
    read(series, ex.read(TAIL, T), T)
    ex.bumps[T - 5 * MINUTE] = (0, -3)
    at = T + 2_000
    found = find_suspicion(series, ex.read(TAIL, at), TAIL, ReadTime(at, at))
    assert found == Suspicion(f"fewer trades in {T - 5 * MINUTE}", lagging=False)
    before = series.settled_version
    (revision,) = read(series, ex.read(TAIL, at), at)  # the same again is accepted
    assert revision.open_ms == T - 5 * MINUTE
    assert series.settled_version > before
    assert series.blocks.printed_rows(T - 5 * MINUTE, T - 4 * MINUTE) == [
        (T - 5 * MINUTE, ex.row(T - 5 * MINUTE, at).raw)
    ]


def test_a_row_that_vanished_is_doubted_then_gone() -> None:
    series, ex = make_series("/api/v3/klines"), exchange()
    read(series, ex.read(TAIL, T), T)
    ex.opens.remove(T - 7 * MINUTE)
    found = find_suspicion(series, ex.read(TAIL, T + 1), TAIL, ReadTime(T + 1, T + 1))
    assert found == Suspicion(f"lacks {T - 7 * MINUTE}", lagging=False)
    (revision,) = read(series, ex.read(TAIL, T + 1), T + 1)
    assert (revision.open_ms, revision.now) == (T - 7 * MINUTE, b"")


def test_empty_or_short_where_rows_are_known() -> None:
    series, ex = make_series("/api/v3/klines"), exchange()
    read(series, ex.read(TAIL, T), T)
    with pytest.raises(InvalidBody) as caught:
        find_suspicion(series, [], TAIL, ReadTime(T + 1, T + 1))
    assert caught.value.reason == "empty"
    assert find_suspicion(series, ex.read(TAIL, T + 1)[-3:], TAIL, ReadTime(T + 1, T + 1)) is not None


def test_a_late_reply_fills_gaps_and_nothing_else() -> None:
    series, ex = make_series("/api/v3/klines"), exchange(400)
    old = ex.read(TAIL, T)
    read(series, ex.read(TAIL, T + 30_000), T + 30_000)
    tail, coverage = series.tail, list(series.coverage)
    assert read(series, old, T) == []
    assert (series.tail, list(series.coverage)) == (tail, coverage)
    back = Window(WindowKind.BACKWARD, None, T - 99 * MINUTE, 200)
    read(series, ex.read(back, T - 1), T - 1, back)
    assert next(iter(series.coverage))[0] == T - 298 * MINUTE


def test_a_hole_is_believed_for_a_tenth_of_its_age() -> None:
    series, ex = make_series("/api/v3/klines"), exchange()
    missing = T - 10 * MINUTE
    ex.opens.remove(missing)
    read(series, ex.read(TAIL, T), T)
    assert series.empty_ranges.due(missing, missing, T + 59_000, 2_000) == []
    (void,) = series.empty_ranges.due(missing, missing, T + 70_000, 2_000)
    assert (void.start_ms, void.end_ms, void.hole) == (missing, missing + MINUTE, True)
    ex.opens = sorted([*ex.opens, missing])
    before = series.settled_version
    window = Window(WindowKind.RANGE, void.start_ms, void.end_ms, 100)
    read(series, ex.read(window, T + 70_000), T + 70_000, window)
    assert series.settled_version > before
    assert not len(series.empty_ranges)
    assert series.blocks.first_open(missing, missing + 1) == missing
