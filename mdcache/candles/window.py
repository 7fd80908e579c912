"""Windows: what one read requests from Binance, and what its reply proves (docs/design.md#windows)."""

from dataclasses import dataclass
from enum import StrEnum

from mdcache.candles.ranges import FOREVER_MS, Span
from mdcache.exchange.markets import KlineEndpoint
from mdcache.exchange.rows import Row
from mdcache.exchange.weights import klines_weight


class WindowKind(StrEnum):
    """Which of its ends a window sets."""

    TAIL = "tail"  # neither: the newest rows
    BACKWARD = "back"  # endTime alone
    FORWARD = "forward"  # startTime alone
    RANGE = "range"  # both


@dataclass(frozen=True, slots=True)
class Window:
    """One read: at most `limit` rows with `start_ms` <= open time <= `end_ms`."""

    kind: WindowKind
    start_ms: int | None
    end_ms: int | None
    limit: int

    def weight(self, endpoint: KlineEndpoint) -> int:
        """Return the documented weight of the call."""
        return klines_weight(endpoint, self.limit)


@dataclass(frozen=True, slots=True)
class Proof:
    """The span of open times that a reply proves: `lo_ms` <= open time < `hi_ms`.

    `open_ended`: it also proves everything after it, as of the read.
    """

    lo_ms: int
    hi_ms: int
    open_ended: bool

    @property
    def end_ms(self) -> int:
        """The exclusive end of what it proves, which may be open-ended."""
        return FOREVER_MS if self.open_ended else self.hi_ms


def tail_window(limit: int) -> Window:
    """Return the window of the newest `limit` rows."""
    return Window(WindowKind.TAIL, None, None, limit)


def prove(
    window: Window, rows: list[Row], endpoint: KlineEndpoint, length_ms: int, as_of_ms: int, final_before_ms: int
) -> Proof | None:
    """Decide for which span of open times a reply is complete.

    That a reply has fewer rows than its `limit` proves nothing: Binance may have lowered what it returns at most. So a
    proof never reaches past the newest row of its reply, nor before its first row where rows are counted back from the
    end. The exception is paths that answer a window by its newest rows (coinm): there the end of a window with both
    ends is proven, and an empty reply proves all of it, unless it ends so close to now that a lagging server of Binance
    could explain the missing rows.

    Args:
        window: What was asked.
        rows: The whole reply, in rising order.
        endpoint: The rules of the path.
        length_ms: The interval's length.
        as_of_ms: Exchange time of the read.
        final_before_ms: The time before which a window must end for missing rows to prove anything.

    Returns:
        The proven span, or `None` if the reply proves nothing.
    """
    first = rows[0].open_ms if rows else None
    past_last = rows[-1].open_ms + 1 if rows else None
    start, end = window.start_ms, window.end_ms
    if window.kind is WindowKind.TAIL:
        reach = 0 if endpoint.max_span_ms is None else max(0, as_of_ms - endpoint.max_span_ms)
        since = reach if first is None else first
        return Proof(since, since if past_last is None else past_last, open_ended=True)
    if window.kind is WindowKind.RANGE and endpoint.nearest_end and start is not None and end is not None:
        if first is not None and (len(rows) == window.limit or first - start >= length_ms):
            start = first
        if end < final_before_ms:
            return Proof(start, end + 1, open_ended=False)
    elif window.kind is WindowKind.BACKWARD:
        start = first
    return None if past_last is None or start is None else Proof(start, past_last, open_ended=False)


def reach(window: Window, endpoint: KlineEndpoint, length_ms: int, now_ms: int) -> Span:
    """Return the span [lo, hi) of open times that the reply to `window` can be expected to touch."""
    span_ms = (window.limit + 1) * length_ms
    start, end = window.start_ms, window.end_ms
    if start is None:
        return (now_ms if end is None else end) - span_ms, FOREVER_MS if end is None else end + 1
    if end is None:
        return start - length_ms, start + span_ms
    if endpoint.nearest_end:
        return max(start - length_ms, end - span_ms), end + 1
    return start - length_ms, min(start + span_ms, end + 1)


def advances(read: Window, wanted: Window, endpoint: KlineEndpoint, length_ms: int) -> bool:
    """Return whether the reply to `read` will contain the end of `wanted` at which the plan continues."""
    at = wanted.end_ms if wanted.start_ms is None or endpoint.nearest_end else wanted.start_ms
    start, end = read.start_ms, read.end_ms
    if at is None or read.kind is WindowKind.TAIL:  # a tail read ends soon, and the next plan knows more
        return False
    span_ms = read.limit * length_ms
    if start is None or (end is not None and endpoint.nearest_end):
        return end is not None and max(end - span_ms, start or 0) < at <= end
    return start <= at < start + span_ms and (end is None or at <= end)


def unite(one: Window, other: Window, endpoint: KlineEndpoint, length_ms: int) -> Window | None:
    """Return a window that asks for both; `None` if none can, or if the two weigh less (docs/design.md#coalescing)."""
    if one.kind is WindowKind.TAIL or other.kind is WindowKind.TAIL:
        return tail_window(max(one.limit, other.limit)) if one.kind is other.kind else None
    spans = [_rows_span(window, endpoint, length_ms) for window in (one, other)]
    (lo, hi) = min(spans)[0], max(end for _, end in spans)
    for window, span in zip((one, other), spans, strict=True):
        if span == (lo, hi):
            return window
    if one.kind is not other.kind or one.kind is WindowKind.RANGE:
        return None
    cap, rows = endpoint.max_limit, (hi - lo) // length_ms
    if rows > cap + cap // 2:
        return None
    up = one.kind is WindowKind.FORWARD
    united = Window(one.kind, lo if up else None, None if up else hi - 1, min(cap, rows))
    weight = united.weight(endpoint) + (klines_weight(endpoint, rows - cap) if rows > cap else 0)
    return united if weight <= one.weight(endpoint) + other.weight(endpoint) else None


def _rows_span(window: Window, endpoint: KlineEndpoint, length_ms: int) -> Span:
    """Return the span [lo, hi) of open times of the rows that the reply to `window`, which is no tail's, can hold."""
    start, end, span_ms = window.start_ms, window.end_ms, window.limit * length_ms
    if end is None:
        return start or 0, (start or 0) + span_ms
    if start is None or endpoint.nearest_end:
        return max(start or 0, end + 1 - span_ms), end + 1
    return start, min(end + 1, start + span_ms)
