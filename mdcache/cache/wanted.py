"""What a flight is for, and whether what other replicas know spares it. Pure."""

from dataclasses import dataclass

from mdcache.candles.atrest import Span
from mdcache.candles.coverage import Coverage
from mdcache.candles.series import Series
from mdcache.candles.voids import Void
from mdcache.candles.window import Form, Window
from mdcache.clock import Instant

_FOREVER = 1 << 62


def reach(series: Series, window: Window, now_ms: int) -> Span:
    """The span [lo, hi) that the reply to `window` can be expected to touch."""
    length_ms = series.interval.length_ms
    span_ms = (window.limit + 1) * length_ms
    start, end = window.start_ms, window.end_ms
    if start is None:
        return (now_ms if end is None else end) - span_ms, _FOREVER if end is None else end + 1
    if end is None:
        return start - length_ms, start + span_ms
    if series.rule.nearest_end:
        return max(start - length_ms, end - span_ms), end + 1
    return start - length_ms, min(start + span_ms, end + 1)


def reached_indexes(series: Series, window: Window, now_ms: int) -> list[int]:
    """Indexes of the blocks in whose spans that lies."""
    lo, hi = reach(series, window, now_ms)
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
    """What was missing when a flight was about to be sent: a tail, an edge that is not known, or emptiness to check.

    `edge`: the span at whose knowledge the reader goes on; a proof that goes down begins at the reply's newest row, up
    to a bucket below the window's end.
    `before`: what was known of a series without a tail; whatever comes in may be all that the question needs.
    """

    window: Window
    edge: Span | None
    voids: frozenset[Void]
    before: tuple[Span, ...] | None = None

    def spared(self, series: Series, floor_ms: int, now: Instant) -> bool:
        """Whether that is there by now."""
        if self.before is not None and _more(series, self.before):
            return True
        if self.window.form is Form.TAIL:
            tail = series.tail
            return tail is not None and tail.as_of_ms >= floor_ms and not tail.crossed(now.late_ms)
        if self.edge is not None:
            tail_start_ms = series.tail.start_ms if series.tail is not None else _FOREVER
            return bool(series.coverage.pieces(*self.edge)) or self.edge[0] >= tail_start_ms
        return bool(self.voids) and self.voids.isdisjoint(series.voids)


def wanted(series: Series, window: Window, now_ms: int) -> Wanted:
    """What `window` is to bring."""
    if window.form is Form.TAIL:
        return Wanted(window, None, frozenset(), tuple(series.coverage) if series.tail is None else None)
    lo, hi = reach(series, window, now_ms)
    if window.start_ms is not None:
        lo = max(lo, window.start_ms)
    tail_start_ms = series.tail.start_ms if series.tail is not None else _FOREVER
    length_ms = series.interval.length_ms
    gaps = series.coverage.gaps(max(0, lo), min(hi, tail_start_ms, now_ms + 1))
    downwards = window.start_ms is None or series.rule.nearest_end
    if downwards:
        gaps = [(start, end) for start, end in gaps if end - start >= length_ms]
    if not gaps:
        voids = frozenset(v for v in series.voids if v.start_ms < hi and v.end_ms > lo)
        return Wanted(window, None, voids)
    start, end = gaps[-1] if downwards else gaps[0]
    return Wanted(window, (max(start, end - length_ms), end) if downwards else (start, start + 1), frozenset())


def _more(series: Series, before: tuple[Span, ...]) -> bool:
    """Whether anything is known that was not."""
    old = Coverage()
    for lo, hi in before:
        old.add(lo, hi)
    return series.tail is not None or any(old.gaps(lo, hi) for lo, hi in series.coverage)
