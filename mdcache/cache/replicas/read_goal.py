"""What a read must find out, and whether other replicas have pushed that already. Pure."""

from dataclasses import dataclass

from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.ranges import FOREVER_MS, RangeSet, Span
from mdcache.candles.series import Series
from mdcache.candles.window import Window, WindowKind, reach
from mdcache.clock import Instant


def reached_block_indexes(series: Series, window: Window, now_ms: int) -> list[int]:
    """Return the indexes of the blocks that the reply to `window` can touch."""
    lo, hi = reach(window, series.endpoint, series.interval.length_ms, now_ms)
    width = series.blocks.width_ms
    last = min(hi, now_ms + series.interval.length_ms)
    return list(range(max(0, lo) // width, max(0, last - 1, lo) // width + 1))


def lease_name(series: Series, window: Window) -> str:
    """Name the windows that share one lease: those of one kind whose edge lies in the same block."""
    if window.kind is WindowKind.TAIL:
        return window.kind.value
    at = window.end_ms if window.start_ms is None or series.endpoint.nearest_end else window.start_ms
    return f"{window.kind.value}{(at or 0) // series.blocks.width_ms}"


@dataclass(frozen=True, slots=True)
class ReadGoal:
    """What was missing when a read was about to be sent: a tail, an uncovered edge, or an empty range to check.

    `edge`: the read has done its job once this span is covered. Reads towards the past prove from their newest row
    down, which may lie one bucket below the window's end.
    `known_before`: the coverage of a series without a tail. Any addition to it may be all that the question needs.
    """

    window: Window
    edge: Span | None
    empty_ranges: frozenset[EmptyRange]
    known_before: tuple[Span, ...] | None = None

    def met(self, series: Series, min_as_of_ms: int, now: Instant) -> bool:
        """Return whether that is known by now."""
        if self.known_before is not None and _knows_more(series, self.known_before):
            return True
        if self.window.kind is WindowKind.TAIL:
            tail = series.tail
            return tail is not None and tail.as_of_ms >= min_as_of_ms and not tail.close_passed(now.late_ms)
        if self.edge is not None:
            tail_start_ms = series.tail.start_ms if series.tail is not None else FOREVER_MS
            return bool(series.coverage.intersection(*self.edge)) or self.edge[0] >= tail_start_ms
        return bool(self.empty_ranges) and self.empty_ranges.isdisjoint(series.empty_ranges)


def read_goal(series: Series, window: Window, now_ms: int) -> ReadGoal:
    """Return what a read of `window` must find out."""
    if window.kind is WindowKind.TAIL:
        return ReadGoal(window, None, frozenset(), tuple(series.coverage) if series.tail is None else None)
    lo, hi = reach(window, series.endpoint, series.interval.length_ms, now_ms)
    if window.start_ms is not None:
        lo = max(lo, window.start_ms)
    tail_start_ms = series.tail.start_ms if series.tail is not None else FOREVER_MS
    length_ms = series.interval.length_ms
    gaps = series.coverage.gaps(max(0, lo), min(hi, tail_start_ms, now_ms + 1))
    downwards = window.start_ms is None or series.endpoint.nearest_end
    if downwards:
        gaps = [(start, end) for start, end in gaps if end - start >= length_ms]
    if not gaps:
        empty = frozenset(each for each in series.empty_ranges if each.start_ms < hi and each.end_ms > lo)
        return ReadGoal(window, None, empty)
    start, end = gaps[-1] if downwards else gaps[0]
    return ReadGoal(window, (max(start, end - length_ms), end) if downwards else (start, start + 1), frozenset())


def _knows_more(series: Series, before: tuple[Span, ...]) -> bool:
    """Return whether anything is covered that was not before."""
    old = RangeSet()
    for lo, hi in before:
        old.add(lo, hi)
    return series.tail is not None or any(old.gaps(lo, hi) for lo, hi in series.coverage)
