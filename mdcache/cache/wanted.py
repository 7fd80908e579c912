"""What a flight is for, and whether what other replicas know spares it. Pure."""

from dataclasses import dataclass

from mdcache.candles.series import Series
from mdcache.candles.voids import Void
from mdcache.candles.window import Form, Window
from mdcache.clock import Instant
from mdcache.exchange.intervals import Interval

_FOREVER = 1 << 62
_NEVER = -1


def reach(window: Window, interval: Interval, now_ms: int) -> tuple[int, int]:
    """The span [lo, hi) that the reply to `window` can be expected to touch."""
    span_ms = (window.limit + 1) * interval.length_ms
    start, end = window.start_ms, window.end_ms
    if start is not None:
        return start - interval.length_ms, min(start + span_ms, start + span_ms if end is None else end + 1)
    return (now_ms if end is None else end) - span_ms, _FOREVER if end is None else end + 1


def reached_indexes(series: Series, window: Window, now_ms: int) -> list[int]:
    """Indexes of the blocks in whose spans that lies."""
    lo, hi = reach(window, series.interval, now_ms)
    width = series.shelf.width_ms
    last = min(hi, now_ms + series.interval.length_ms)
    return list(range(max(0, lo) // width, max(0, last - 1, lo) // width + 1))


def lease_name(series: Series, window: Window) -> str:
    """The class of windows that one replica reads for all: of one form, with its edge in one block's span."""
    if window.form is Form.TAIL:
        return window.form.value
    at = window.end_ms if window.start_ms is None or series.rule.nearest_end else window.start_ms
    return f"{window.form.value}{(at or 0) // series.shelf.width_ms}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was missing when a flight was about to be sent: a tail, an edge that is not known, or emptiness to check."""

    window: Window
    edge_ms: int
    voids: frozenset[Void]

    def spared(self, series: Series, floor_ms: int, now: Instant) -> bool:
        """Whether that is there by now."""
        if self.window.form is Form.TAIL:
            tail = series.tail
            return tail is not None and tail.as_of_ms >= floor_ms and not tail.crossed(now.late_ms)
        if self.edge_ms != _NEVER:
            tail_start_ms = series.tail.start_ms if series.tail is not None else _FOREVER
            return series.coverage.at(self.edge_ms) is not None or self.edge_ms >= tail_start_ms
        return bool(self.voids) and self.voids.isdisjoint(series.voids)


def wanted(series: Series, window: Window, now_ms: int) -> Wanted:
    """What `window` is to bring."""
    if window.form is Form.TAIL:
        return Wanted(window, _NEVER, frozenset())
    lo, hi = reach(window, series.interval, now_ms)
    if window.start_ms is not None:
        lo = window.start_ms
    tail_start_ms = series.tail.start_ms if series.tail is not None else _FOREVER
    gaps = series.coverage.gaps(max(0, lo), min(hi, tail_start_ms, now_ms + 1))
    if not gaps:
        voids = frozenset(v for v in series.voids if v.start_ms < hi and v.end_ms > lo)
        return Wanted(window, _NEVER, voids)
    downwards = window.start_ms is None or series.rule.nearest_end
    return Wanted(window, gaps[-1][1] - 1 if downwards else gaps[0][0], frozenset())
