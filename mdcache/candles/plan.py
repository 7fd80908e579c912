"""The plan: decide whether a question can be answered from what is known, or what must be read or loaded first.

    plan(series, query, ...) -> Serve(pieces) | ReadWindow(window) | LoadBlocks(indexes)

Pure. After a read was merged, or blocks were loaded from a store, the same question is planned again; each round knows
more. What is in a store is loaded, never read from Binance again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mdcache.candles.block import Block
from mdcache.candles.freshness import TailFloor
from mdcache.candles.ranges import FOREVER_MS
from mdcache.candles.series import Series
from mdcache.candles.stored_blocks import stored_blocks
from mdcache.candles.window import Window, WindowKind, tail_window
from mdcache.clock import Instant
from mdcache.exchange.klines import RowQuery
from mdcache.exchange.rows import Row
from mdcache.exchange.weights import klines_weight, page_limit, tail_limit

_JOIN_ROWS = 10  # a tail read that joins the coverage overlaps it by this many settled rows
_SLACK_BUCKETS = 2  # a backward read ends this far past what is missing, to include a row on the other side


@dataclass(frozen=True, slots=True)
class Serve:
    """The answer: slices of blocks in rising order, then rows of the tail.

    `reaches_tail`: the question's range reaches the tail, so that the answer has the tail's as-of, even if it contains
    no row of it. `lo_ms`..`hi_ms`: the span whose empty ranges the answer relies on.
    """

    pieces: tuple[tuple[Block, int, int], ...]
    tail_rows: tuple[Row, ...]
    reaches_tail: bool
    lo_ms: int
    hi_ms: int

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(j - i for _, i, j in self.pieces) + len(self.tail_rows)

    def body(self) -> bytes:
        """Return the rows as compact JSON, as Binance prints it."""
        return b"".join((b"[", b",".join(self.parts()), b"]"))

    def parts(self) -> list[bytes]:
        """Return the rows as printed, in slices that commas join."""
        return [block.piece(i, j) for block, i, j in self.pieces] + [row.raw for row in self.tail_rows]

    def slices(self, rows: int) -> Iterator[tuple[bytes, int]]:
        """Return the rows as `parts` does, in slices of at most so many of a block, with the number in each."""
        for block, i, j in self.pieces:
            for at in range(i, j, rows):
                yield block.piece(at, min(at + rows, j)), min(rows, j - at)
        if self.tail_rows:
            yield b",".join(row.raw for row in self.tail_rows), len(self.tail_rows)

    def first_open_ms(self) -> int | None:
        """Return the open time of the first row; `None` without rows."""
        if self.pieces:
            block, i, _ = self.pieces[0]
            return block.open_times[i]
        return self.tail_rows[0].open_ms if self.tail_rows else None

    def without_newest(self) -> "Serve":
        """Return all rows but the last, which is one of the tail."""
        return replace(self, tail_rows=self.tail_rows[:-1])

    def newest(self, limit: int) -> "Serve":
        """Return the last `limit` rows."""
        extra, pieces = self.rows - limit, []
        for block, i, j in self.pieces:
            cut = min(max(extra, 0), j - i)
            extra -= cut
            if i + cut < j:
                pieces.append((block, i + cut, j))
        return replace(self, pieces=tuple(pieces), tail_rows=self.tail_rows[max(extra, 0) :])


@dataclass(frozen=True, slots=True)
class ReadWindow:
    """A window to read before the question is planned again. `refresh`: there is a tail, but it is too old."""

    window: Window
    refresh: bool


@dataclass(frozen=True, slots=True)
class LoadBlocks:
    """Stored blocks to load before the question is planned again."""

    indexes: tuple[int, ...]


def plan(series: Series, query: RowQuery, floor: TailFloor, now: Instant) -> Serve | ReadWindow | LoadBlocks:
    """Plan the next step towards the answer to `query`.

    Args:
        series: What is known.
        query: The rows that are asked for.
        floor: Which tails may answer.
        now: Exchange time now.

    Returns:
        The answer if everything it needs is in memory; else what to load or to read, in as few calls as possible.
    """
    planner = _Planner(series, query, floor, now)
    return planner.newest() if query.newest else planner.oldest()


def settling_window(series: Series, now: Instant) -> Window:
    """Return the read of the newest rows that settles all closed rows of the tail, if one read can."""
    return _Planner(series, RowQuery(0, None, 1, newest=True), TailFloor(0), now).settling_window()


class _Planner:
    def __init__(self, series: Series, query: RowQuery, floor: TailFloor, now: Instant) -> None:
        self._series = series
        self._query = query
        self._now = now
        self._tail = series.live_tail
        self._tail_ok = self._tail is not None and floor.admits(self._tail, now)
        self._max_limit = series.endpoint.max_limit

    # -- oldest first: startTime, with or without endTime ----------------------------------------------

    def oldest(self) -> Serve | ReadWindow | LoadBlocks:
        query, series = self._query, self._series
        end = self._end()
        if query.lo_ms >= end and (query.hi_ms is None or query.lo_ms <= query.hi_ms):  # nothing has opened there yet
            return Serve((), (), reaches_tail=self._tail_ok, lo_ms=query.lo_ms, hi_ms=query.lo_ms)
        pieces: list[tuple[Block, int, int]] = []
        cursor, left = query.lo_ms, query.limit
        while left and cursor < end:
            tail = self._tail
            if tail is not None and cursor >= tail.start_ms:
                return self._serve_with_tail(pieces, cursor, end, left)
            known = series.coverage.at(cursor)
            if known is None:
                if cursor > self._now.late_ms:  # no candle opens in the future
                    break
                load = self._load_upwards(cursor, end, left)
                return load or ReadWindow(self._gap_upwards(cursor, end, left), refresh=False)
            upto = min(known[1], end)
            found = series.blocks.oldest(cursor, upto, left)
            pieces += found
            left -= sum(j - i for _, i, j in found)
            cursor = known[1]
        last_ms = self._last_open_served(pieces, left, end)
        return Serve(tuple(pieces), (), reaches_tail=False, lo_ms=query.lo_ms, hi_ms=last_ms)

    def _serve_with_tail(
        self, pieces: list[tuple[Block, int, int]], cursor: int, end: int, left: int
    ) -> Serve | ReadWindow:
        tail = self._tail
        if tail is None or not self._tail_ok:
            return ReadWindow(self._tail_read(0), refresh=True)
        rows = [row for row in tail.rows if cursor <= row.open_ms < end][:left]
        return Serve(tuple(pieces), tuple(rows), reaches_tail=True, lo_ms=self._query.lo_ms, hi_ms=end)

    def _load_upwards(self, cursor: int, end: int, left: int) -> LoadBlocks | None:
        """Load what is stored from `cursor` up, or the block that a read of the gap there would reach."""
        series = self._series
        if series.stored.at(cursor) is not None:
            far = min(end, cursor + left * series.interval.length_ms)
            return LoadBlocks(tuple(stored_blocks(series, cursor, max(far, cursor + 1))))
        stored, covered = series.stored.after(cursor), series.coverage.after(cursor)
        if stored is None or (covered is not None and covered[0] < stored[0]):
            return None
        near = series.interval.count(cursor, stored[0]) < self._max_limit
        return LoadBlocks(tuple(stored_blocks(series, stored[0], stored[0] + 1))) if near else None

    def _gap_upwards(self, cursor: int, end: int, left: int) -> Window:
        """Choose the read for the unknown span that starts at `cursor`, going up."""
        series = self._series
        interval = series.interval
        after = series.coverage.after(cursor)
        tail_start = self._tail.start_ms if self._tail is not None else None
        to_now = interval.count(cursor, self._now.late_ms) + _SLACK_BUCKETS
        unread = tail_start is None or not self._tail_ok or self._evicted_fresh_rows_below(tail_start)
        need = min(left, interval.count(cursor, end - 1) + 1)  # a row past the end proves everything before it
        if after is None and unread and to_now <= self._max_limit:
            tail = self._tail_read(to_now)
            if tail.weight(series.endpoint) <= self._weight(need) + self._weight(1):  # one call for what two would cost
                return tail
        anchor = self._known_open_above(cursor)
        if anchor is None and series.shown_end_at(cursor):
            return self._tail_read(0)
        if anchor is not None and interval.count(cursor, anchor) < self._max_limit:
            rows = interval.count(cursor, anchor) + 1
            if self._weight(rows) <= self._weight(need):
                return Window(WindowKind.RANGE, cursor, anchor, self._page_limit(rows))
        return Window(WindowKind.FORWARD, cursor, None, self._page_limit(need))

    # -- newest first: endTime alone, nothing, or coinm's windows ---------------------------------------

    def newest(self) -> Serve | ReadWindow | LoadBlocks:
        query, series, tail = self._query, self._series, self._tail
        end = self._end()
        left, top = query.limit, end
        tail_rows: list[Row] = []
        reaches = False
        if tail is None:
            known = series.coverage.at(end - 1) or series.stored.at(end - 1)
            if known is None and self._near_now(end):
                load = self._load_newest()
                return load or ReadWindow(self._tail_read(self._first_tail_rows(end, left)), refresh=False)
        elif end > tail.start_ms:
            reaches = True
            if not self._tail_ok:
                return ReadWindow(self._tail_read(self._rows_missing_below_tail(end, left)), refresh=True)
            tail_rows = [row for row in tail.rows if query.lo_ms <= row.open_ms < end][-left:]
            left -= len(tail_rows)
            top = tail.start_ms
        groups: list[list[tuple[Block, int, int]]] = []
        while left and top > query.lo_ms:
            known = series.coverage.at(top - 1)
            if known is None:
                if series.stored.at(top - 1) is not None:
                    return self._load_downwards(top, left)
                if tail is not None and top == tail.start_ms and self._evicted_fresh_rows_below(top):
                    rows = self._rows_missing_below_tail(end, left + len(tail_rows))
                    return ReadWindow(self._tail_read(rows), refresh=False)
                return ReadWindow(self._gap_downwards(top, left), refresh=False)
            found = series.blocks.newest(max(known[0], query.lo_ms), top, left)
            groups.append(found)
            left -= sum(j - i for _, i, j in found)
            top = known[0]
        pieces = tuple(piece for group in reversed(groups) for piece in group)
        lo = pieces[0][0].open_times[pieces[0][1]] if pieces and not left else query.lo_ms
        return Serve(pieces, tuple(tail_rows), reaches_tail=reaches, lo_ms=lo, hi_ms=end)

    def _load_downwards(self, top: int, left: int) -> LoadBlocks:
        series = self._series
        far = max(self._query.lo_ms, top - left * series.interval.length_ms)
        return LoadBlocks(tuple(stored_blocks(series, min(far, top - 1), top)))

    def _load_newest(self) -> LoadBlocks | None:
        """Load the newest block if it is stored and the newest page reaches it, because the tail will join it."""
        series = self._series
        stored, covered = series.stored.before(FOREVER_MS), series.coverage.before(FOREVER_MS)
        if stored is None or (covered is not None and covered[1] > stored[1]):
            return None
        near = self._count_to_now(stored[1]) + _JOIN_ROWS <= self._max_limit
        return LoadBlocks(tuple(stored_blocks(series, stored[1] - 1, stored[1]))) if near else None

    def _first_tail_rows(self, end: int, left: int) -> int:
        """Count the rows that the first tail read should return; 0 for the overlap only, if the others are known."""
        series = self._series
        in_range = self._count_to_now(self._query.lo_ms) + _SLACK_BUCKETS
        rows = min(left + self._rows_after_end(end), in_range, self._max_limit)
        newest = series.coverage.before(FOREVER_MS)
        if newest is None or self._count_to_now(newest[1]) + _JOIN_ROWS > self._max_limit:
            return rows
        below = series.stored.at(newest[0] - 1)
        known_from = newest[0] if below is None else below[0]
        enough = series.interval.count(known_from, end - 1) >= left
        return 0 if known_from <= self._query.lo_ms or enough else rows

    def _gap_downwards(self, top: int, left: int) -> Window:
        """Choose the read for the unknown span that ends before `top`, going down."""
        series, endpoint, interval = self._series, self._series.endpoint, self._series.interval
        bottom = max(
            known[1] if known is not None else 0 for known in (series.coverage.before(top), series.stored.before(top))
        )
        span = endpoint.max_span_ms or 0 if endpoint.nearest_end else FOREVER_MS
        anchor = self._known_open_above(top - 1)
        far = 0 if anchor is None else interval.count(top, anchor)
        page_rows = min(self._max_limit, series.page_cap or self._max_limit)
        guessed = anchor is None or far * 2 > page_rows or (anchor - top) * 2 > span
        if anchor is None or guessed:
            anchor, far = top - 1 + _SLACK_BUCKETS * interval.length_ms, _SLACK_BUCKETS
        if endpoint.nearest_end:
            few = interval.count(max(bottom, top - 1 - span), top - 1) + 1
            one_page = (guessed or far > _SLACK_BUCKETS) and few <= self._page_limit(min(left + 1, self._max_limit))
            if one_page or series.shown_empty_at(top - 1):
                anchor, far = top - 1, 0  # a window just below the row above: an empty reply proves all of it
            start = max(bottom, anchor - span, 0)
            return Window(WindowKind.RANGE, start, anchor, self._page_limit(self._rows_down(left, far)))
        rows = self._rows_down(left, far)
        between = interval.count(bottom, anchor)
        near = bottom and between < page_rows and self._weight(between + 1) <= self._weight(rows)
        if near or series.shown_empty_at(top - 1):
            return self._from_below(bottom, anchor)
        return Window(WindowKind.BACKWARD, None, anchor, self._page_limit(rows))

    def _rows_down(self, left: int, far: int) -> int:
        """Count the rows of a read that ends `far` buckets past what is missing.

        Two reads, of a page and of its end, may weigh less than one of a heavier page.
        """
        rows = min(left + far + 1, self._max_limit)
        split = left > 2 * far and self._weight(rows) > self._weight(left) + self._weight(far + 1)
        return left if split else rows

    def _from_below(self, bottom: int, anchor: int) -> Window:
        count = self._series.interval.count(bottom, anchor) + 1
        if count <= self._max_limit and self._series.has_row_at(anchor):
            return Window(WindowKind.RANGE, bottom, anchor, self._page_limit(count))
        if self._series.shown_end_at(bottom):
            return self._tail_read(0)
        return Window(WindowKind.FORWARD, bottom, None, self._page_limit(min(count, self._max_limit)))

    # -- both -------------------------------------------------------------------------------------------

    def _end(self) -> int:
        """Return the exclusive end of the question; one past the latest now if it has none."""
        last = self._now.late_ms
        if self._tail is not None:
            last = max(last, self._tail.start_ms, *(row.open_ms for row in self._tail.rows[-1:]))
        return (last if self._query.hi_ms is None else min(self._query.hi_ms, last)) + 1

    def _near_now(self, end: int) -> bool:
        """Return whether the newest page contains the question's end, with room for some rows before it."""
        return self._query.hi_ms is None or self._count_to_now(end) * 2 < self._max_limit

    def _count_to_now(self, from_ms: int) -> int:
        return self._series.interval.count(from_ms, self._now.late_ms)

    def _rows_after_end(self, end: int) -> int:
        """Return the most rows that are newer than the question's end; 0 if it asks for the newest."""
        return 0 if self._query.hi_ms is None else self._count_to_now(end) + _SLACK_BUCKETS

    def _rows_missing_below_tail(self, end: int, left: int) -> int:
        """Count the rows that a refresh should return so that the rest of the question needs no further read."""
        series = self._series
        start = self._tail.start_ms if self._tail is not None else end
        known = series.coverage.at(start - 1)
        if known is not None and (known[0] <= self._query.lo_ms or self._rows_held(known[0], start, left) >= left):
            return 0
        below = series.stored.at((start if known is None else known[0]) - 1)
        if below is not None and (below[0] <= self._query.lo_ms or series.interval.count(below[0], end - 1) >= left):
            return 0
        if known is None and series.coverage.before(start) is None and start == 0:
            return 0
        rows = left + self._rows_after_end(end)
        return rows if rows <= self._max_limit else 0

    def _rows_held(self, lo: int, hi: int, limit: int) -> int:
        return sum(j - i for _, i, j in self._series.blocks.newest(lo, hi, limit))

    def _evicted_fresh_rows_below(self, tail_start: int) -> bool:
        """Return whether rows just below the tail were evicted that are too recent for one read to settle again.

        Only a read of the newest rows can show them, as part of the tail.
        """
        series = self._series
        if series.evicted.at(tail_start - 1) is None:
            return False
        return series.next_open(tail_start - 1) > self._now.early_ms - series.policy.confirm_ms

    def _tail_read(self, rows: int) -> Window:
        """Return a read of at least `rows` rows (and the overlap) that joins the coverage if one call can."""
        series = self._series
        newest = series.coverage.before(FOREVER_MS)
        if newest is None and self._tail is None:  # nothing is known: as many rows as the same weight allows
            return tail_window(page_limit(series.endpoint, max(rows, 1)))
        join = 0
        if newest is not None and newest[1] > 1:
            join = self._count_to_now(newest[1]) + _JOIN_ROWS
            if join > self._max_limit:
                join = 0
        return tail_window(min(tail_limit(series.endpoint, max(rows, join, 1)), self._max_limit))

    def settling_window(self) -> Window:
        return self._tail_read(0)

    def _known_open_above(self, t: int) -> int | None:
        """Return the open time of the first known row above `t`, settled or of the tail."""
        series, tail = self._series, self._tail
        after = series.coverage.after(t)
        found = None if after is None else series.blocks.first_open(after[0], after[1])
        if found is None and tail is not None and tail.start_ms > t and tail.rows:
            found = tail.rows[0].open_ms
        return found

    def _weight(self, rows: int) -> int:
        return klines_weight(self._series.endpoint, min(rows, self._max_limit))

    def _page_limit(self, rows: int) -> int:
        cap = self._series.page_cap
        return page_limit(self._series.endpoint, rows if cap is None else min(rows, cap))

    @staticmethod
    def _last_open_served(pieces: list[tuple[Block, int, int]], left: int, end: int) -> int:
        if pieces and not left:
            block, _, j = pieces[-1]
            return block.open_times[j - 1]
        return end
