"""The plan: from a question's one form and what is known, either the answer's slices or the reads that are missing.

    plan(series, ask, ...) -> Serve(pieces) | Read(windows) | Load(indexes)

Pure. After a read was merged, or blocks came back from where they rest, the same question is planned again; each
round knows more. What rests is known: it is never read from Binance for want of it here.
"""

from dataclasses import dataclass

from mdcache.candles.block import Block
from mdcache.candles.freshness import Floor
from mdcache.candles.series import Series
from mdcache.candles.window import Form, Window, tail_window
from mdcache.clock import Instant
from mdcache.exchange.questions import Ask
from mdcache.exchange.rows import Row
from mdcache.exchange.weights import page_limit, tail_limit

_JOIN_ROWS = 10  # settled rows a tail read overlaps at least, beyond those it must bring
_END = 1 << 62
_SLACK_BUCKETS = 2  # a back read ends this far past what was asked, to hold a row on the other side


@dataclass(frozen=True, slots=True)
class Serve:
    """The answer: settled pieces in rising order, then rows of the tail.

    `reaches_tail`: the question's range reaches the tail, so its as-of is the answer's, even if no row of it is
    shown. `lo_ms`..`hi_ms` is the span whose emptiness the answer relies on.
    """

    pieces: tuple[tuple[Block, int, int], ...]
    tail_rows: tuple[Row, ...]
    reaches_tail: bool
    lo_ms: int
    hi_ms: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(j - i for _, i, j in self.pieces) + len(self.tail_rows)

    def body(self) -> bytes:
        """Compact JSON, as Binance would print it."""
        parts = [block.piece(i, j) for block, i, j in self.pieces]
        parts += [row.raw for row in self.tail_rows]
        return b"[" + b",".join(parts) + b"]"


@dataclass(frozen=True, slots=True)
class Read:
    """What must be read before the question can be planned again. `refresh`: the tail was known, and is too old."""

    windows: tuple[Window, ...]
    refresh: bool


@dataclass(frozen=True, slots=True)
class Load:
    """Resting blocks that the answer, or the right reads for it, need here; they rest no more when it is done."""

    indexes: tuple[int, ...]


def plan(series: Series, ask: Ask, floor: Floor, now: Instant) -> Serve | Read | Load:
    """Answer `ask` from what `series` knows, or say what to read or load; `floor` tells which tail will do."""
    planner = _Planner(series, ask, floor, now)
    return planner.newest() if ask.newest else planner.oldest()


class _Planner:
    def __init__(self, series: Series, ask: Ask, floor: Floor, now: Instant) -> None:
        self._series = series
        self._ask = ask
        self._now = now
        self._floor = floor
        self._tail = series.tail
        self._tail_ok = series.tail is not None and floor.admits(series.tail, now)
        self._cap = series.rule.max_limit

    # -- oldest first: startTime, with or without endTime ----------------------------------------------

    def oldest(self) -> Serve | Read | Load:
        ask, series = self._ask, self._series
        end = self._end()
        if ask.lo_ms >= end and (ask.hi_ms is None or ask.lo_ms <= ask.hi_ms):  # nothing has opened there, yet
            return Serve((), (), reaches_tail=self._tail_ok, lo_ms=ask.lo_ms, hi_ms=ask.lo_ms)
        pieces: list[tuple[Block, int, int]] = []
        cursor, left = ask.lo_ms, ask.limit
        while left and cursor < end:
            tail = self._tail
            if tail is not None and cursor >= tail.start_ms:
                return self._with_tail(pieces, cursor, end, left)
            known = series.coverage.at(cursor)
            if known is None:
                if cursor > self._now.late_ms:  # no candle opens in the future
                    break
                resting = self._resting_upwards(cursor, end, left)
                return resting or Read((self._gap_upwards(cursor, end, left),), refresh=False)
            upto = min(known[1], end)
            found = series.shelf.oldest(cursor, upto, left)
            pieces += found
            left -= sum(j - i for _, i, j in found)
            cursor = known[1]
        return Serve(tuple(pieces), (), reaches_tail=False, lo_ms=ask.lo_ms, hi_ms=self._last(pieces, left, end))

    def _with_tail(self, pieces: list[tuple[Block, int, int]], cursor: int, end: int, left: int) -> Serve | Read:
        tail = self._tail
        if tail is None or not self._tail_ok:
            return Read((self._refresh(0),), refresh=True)
        rows = [row for row in tail.rows if cursor <= row.open_ms < end][:left]
        return Serve(tuple(pieces), tuple(rows), reaches_tail=True, lo_ms=self._ask.lo_ms, hi_ms=end)

    def _resting_upwards(self, cursor: int, end: int, left: int) -> Load | None:
        """What rests at `cursor` and up; or the block that a read of the gap there would reach."""
        series = self._series
        if series.resting.at(cursor) is not None:
            far = min(end, cursor + left * series.interval.length_ms)
            return Load(tuple(series.resting.indexes(cursor, max(far, cursor + 1))))
        after = series.resting.after(cursor)
        here = series.coverage.after(cursor)
        if after is None or (here is not None and here[0] < after[0]):
            return None
        near = series.interval.count(cursor, after[0]) < self._cap
        return Load(tuple(series.resting.indexes(after[0], after[0] + 1))) if near else None

    def _gap_upwards(self, cursor: int, end: int, left: int) -> Window:
        """The read for the unknown span that starts at `cursor`, going up."""
        series = self._series
        interval = series.interval
        after = series.coverage.after(cursor)
        tail_start = self._tail.start_ms if self._tail is not None else None
        to_now = interval.count(cursor, self._now.late_ms) + _SLACK_BUCKETS
        open_ended = after is None and (tail_start is None or not self._tail_ok or self._fresh_rows_at(tail_start))
        if open_ended and to_now <= self._cap:
            return self._refresh(to_now)
        anchor = self._anchor_above(cursor)
        if anchor is not None and interval.count(cursor, anchor) < self._cap:
            return Window(Form.RANGE, cursor, anchor, self._page(interval.count(cursor, anchor) + 1))
        need = min(left, interval.count(cursor, end - 1) + 1)  # a row past the end proves all before it
        return Window(Form.FORWARD, cursor, None, self._page(need))

    # -- newest first: endTime alone, nothing, or coinm's windows ---------------------------------------

    def newest(self) -> Serve | Read | Load:
        ask, series, tail = self._ask, self._series, self._tail
        end = self._end()
        left, top = ask.limit, end
        tail_rows: list[Row] = []
        reads: list[Window] = []
        reaches = False
        if tail is None:
            rests = series.resting.at(end - 1) is not None
            if not rests and series.coverage.at(end - 1) is None and self._near_now(end):
                newest = self._resting_newest()
                return newest or Read((self._refresh(self._first_rows(end, left)),), refresh=False)
        elif end > tail.start_ms:
            reaches = True
            if not self._tail_ok:
                return Read((self._refresh(self._lacking(end, left)),), refresh=True)
            tail_rows = [row for row in tail.rows if ask.lo_ms <= row.open_ms < end][-left:]
            left -= len(tail_rows)
            top = tail.start_ms
        groups: list[list[tuple[Block, int, int]]] = []
        while left and top > ask.lo_ms:
            known = series.coverage.at(top - 1)
            if known is None:
                if series.resting.at(top - 1) is not None:
                    return self._resting_downwards(top, left)
                if tail is not None and top == tail.start_ms and self._fresh_rows_at(top):
                    return Read((self._refresh(self._lacking(end, left + len(tail_rows))),), refresh=False)
                reads.append(self._gap_downwards(top, left))
                return Read(tuple(reads), refresh=False)
            found = series.shelf.newest(max(known[0], ask.lo_ms), top, left)
            groups.append(found)
            left -= sum(j - i for _, i, j in found)
            top = known[0]
        pieces = tuple(piece for group in reversed(groups) for piece in group)
        lo = pieces[0][0].opens[pieces[0][1]] if pieces and not left else ask.lo_ms
        return Serve(pieces, tuple(tail_rows), reaches_tail=reaches, lo_ms=lo, hi_ms=end)

    def _resting_downwards(self, top: int, left: int) -> Load:
        series = self._series
        far = max(self._ask.lo_ms, top - left * series.interval.length_ms)
        return Load(tuple(series.resting.indexes(min(far, top - 1), top)))

    def _resting_newest(self) -> Load | None:
        """The newest block, where it rests and the newest page reaches it: the tail joins it."""
        series = self._series
        resting, here = series.resting.before(_END), series.coverage.before(_END)
        if resting is None or (here is not None and here[1] > resting[1]):
            return None
        near = self._count_to_now(resting[1]) + _JOIN_ROWS <= self._cap
        return Load(tuple(series.resting.indexes(resting[1] - 1, resting[1]))) if near else None

    def _first_rows(self, end: int, left: int) -> int:
        """Rows that the first tail read should bring: none but the overlap, where the rest is known and joins."""
        series = self._series
        rows = min(left + self._beyond(end), self._count_to_now(self._ask.lo_ms) + _SLACK_BUCKETS, self._cap)
        newest = series.coverage.before(_END)
        if newest is None or self._count_to_now(newest[1]) + _JOIN_ROWS > self._cap:
            return rows
        below = series.resting.at(newest[0] - 1)
        known_from = newest[0] if below is None else below[0]
        enough = series.interval.count(known_from, end - 1) >= left
        return 0 if known_from <= self._ask.lo_ms or enough else rows

    def _gap_downwards(self, top: int, left: int) -> Window:
        """The read for the unknown span that ends before `top`, going down."""
        series, rule = self._series, self._series.rule
        interval = series.interval
        bottom = max(
            known[1] if known is not None else 0 for known in (series.coverage.before(top), series.resting.before(top))
        )
        anchor = self._anchor_above(top - 1)
        far = None if anchor is None else interval.count(top, anchor)
        if anchor is None or far is None or far * 2 > self._cap:
            anchor, far = top - 1 + _SLACK_BUCKETS * interval.length_ms, _SLACK_BUCKETS
        if rule.nearest_end:
            span = rule.max_span_ms or 0
            if interval.count(max(bottom, top - 1 - span), top - 1) <= self._cap:
                anchor = top - 1  # few enough to come whole, which proves the window without a row above it
            start = max(bottom, anchor - span, 0)
            return Window(Form.RANGE, start, anchor, self._page(min(left + far + 1, self._cap)))
        if series.blank_at(top - 1) or (bottom and interval.count(bottom, anchor) < self._cap):
            return self._from_below(bottom, anchor)
        return Window(Form.BACK, None, anchor, self._page(min(left + far + 1, self._cap)))

    def _from_below(self, bottom: int, anchor: int) -> Window:
        count = self._series.interval.count(bottom, anchor) + 1
        if count <= self._cap and self._known_row(anchor):
            return Window(Form.RANGE, bottom, anchor, self._page(count))
        return Window(Form.FORWARD, bottom, None, self._page(min(count, self._cap)))

    # -- both -------------------------------------------------------------------------------------------

    def _end(self) -> int:
        """Exclusive end of the question; one past the latest now where it has none."""
        last = self._now.late_ms
        if self._tail is not None:
            last = max(last, self._tail.start_ms, *(row.open_ms for row in self._tail.rows[-1:]))
        return (last if self._ask.hi_ms is None else min(self._ask.hi_ms, last)) + 1

    def _near_now(self, end: int) -> bool:
        """Whether the newest page holds the question's end with room for some rows before it."""
        return self._ask.hi_ms is None or self._count_to_now(end) * 2 < self._cap

    def _count_to_now(self, from_ms: int) -> int:
        return self._series.interval.count(from_ms, self._now.late_ms)

    def _beyond(self, end: int) -> int:
        """Rows newer than the question's end, at most; none where it asks for the newest."""
        return 0 if self._ask.hi_ms is None else self._count_to_now(end) + _SLACK_BUCKETS

    def _lacking(self, end: int, left: int) -> int:
        """Rows a refresh should bring so that the rest of the question needs no read of its own."""
        series = self._series
        start = self._tail.start_ms if self._tail is not None else end
        known = series.coverage.at(start - 1)
        if known is not None and (known[0] <= self._ask.lo_ms or self._held(known[0], start, left) >= left):
            return 0
        below = series.resting.at((start if known is None else known[0]) - 1)
        if below is not None and (below[0] <= self._ask.lo_ms or series.interval.count(below[0], end - 1) >= left):
            return 0
        if known is None and series.coverage.before(start) is None and start == 0:
            return 0
        rows = left + self._beyond(end)
        return rows if rows <= self._cap else 0

    def _held(self, lo: int, hi: int, limit: int) -> int:
        return sum(j - i for _, i, j in self._series.shelf.newest(lo, hi, limit))

    def _fresh_rows_at(self, tail_start: int) -> bool:
        """Whether memory gave up rows just below the tail that are too fresh for one read to settle again.

        Only a read of the newest rows can show them, as part of the tail.
        """
        series = self._series
        if series.evicted.at(tail_start - 1) is None:
            return False
        return series.next_open(tail_start - 1) > self._now.early_ms - series.policy.confirm_ms

    def _refresh(self, rows: int) -> Window:
        """A tail read: the overlap at least, what joins the coverage, and `rows` where it costs one call anyway."""
        series = self._series
        newest = series.coverage.before(_END)
        if newest is None and self._tail is None:  # nothing known: as many rows as the price allows
            return tail_window(page_limit(series.rule, max(rows, 1)))
        join = 0
        if newest is not None and newest[1] > 1:
            join = self._count_to_now(newest[1]) + _JOIN_ROWS
            if join > self._cap:
                join = 0
        return tail_window(min(tail_limit(series.rule, max(rows, join, 1)), self._cap))

    def _anchor_above(self, t: int) -> int | None:
        """Open time of the first known row above `t`, settled or of the tail."""
        series, tail = self._series, self._tail
        after = series.coverage.after(t)
        found = None if after is None else series.shelf.first_open(after[0], after[1])
        if found is None and tail is not None and tail.start_ms > t and tail.rows:
            found = tail.rows[0].open_ms
        return found

    def _known_row(self, open_ms: int) -> bool:
        tail = self._tail
        if self._series.shelf.first_open(open_ms, open_ms + 1) is not None:
            return True
        return tail is not None and any(row.open_ms == open_ms for row in tail.rows)

    def _page(self, rows: int) -> int:
        return page_limit(self._series.rule, rows)

    @staticmethod
    def _last(pieces: list[tuple[Block, int, int]], left: int, end: int) -> int:
        if pieces and not left:
            block, _, j = pieces[-1]
            return block.opens[j - 1]
        return end
