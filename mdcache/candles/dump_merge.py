"""Merge rows of dump files into their series, and withdraw those that a read contradicts. Pure.

Rule: docs/design.md#dumps. What was read from Binance outranks every dump, whichever came first.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from mdcache.candles.persistence import StoredBlock
from mdcache.candles.plausibility import expected_span
from mdcache.candles.ranges import FOREVER_MS, RangeSet, Span
from mdcache.candles.series import Series
from mdcache.candles.window import Window
from mdcache.exchange.rows import Row

_MAX_SPANS = 8  # covered spans within one block's: each gap between them may cost a read, and a question has few
_DAY_MS = 86_400_000
_CLOSE_TIME = 6  # the place of it in a printed row
_open_ms = attrgetter("open_ms")


@dataclass(frozen=True, slots=True)
class DumpMerge:
    """What became of rows: `taken`; known already, and the same or not; `left` to be read from Binance."""

    taken: int = 0
    same: int = 0
    differing: int = 0
    left: int = 0

    def __add__(self, other: "DumpMerge") -> "DumpMerge":
        return DumpMerge(
            self.taken + other.taken,
            self.same + other.same,
            self.differing + other.differing,
            self.left + other.left,
        )


def merge_dump(series: Series, rows: Sequence[Row]) -> DumpMerge:
    """Fill what is unknown with rows of a dump; nothing that is known changes.

    A dump proves less than a reply: it may lack rows that exist. So it proves only what lies between two rows of
    which the second opens where the first one closes. Rows that end early, or open off the grid, are left to be read.

    Args:
        series: What is known; the blocks within a bucket of the rows must be in memory.
        rows: In rising order, all of them closed long ago. More than half of those already known must be the same, or
            none is taken.

    Returns:
        What became of them.
    """
    runs = list(_runs(series, rows))
    compared = DumpMerge(left=len(rows) - sum(map(len, runs)))
    for run in runs:
        compared += _compare(series, run)
    if compared.differing > compared.same:
        return DumpMerge(same=compared.same, differing=compared.differing, left=len(rows) - compared.same)
    for run in sorted(runs, key=len, reverse=True):  # the longest first, as there may not be room for all
        compared += _fill(series, run)
    return compared


def _runs(series: Series, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Yield the longest parts of `rows` in which each row lasts until the next one opens, by the calendar."""
    start, count = 0, len(rows)
    ends = [series.next_open(row.open_ms) for row in rows]
    grid_ms = min(series.interval.length_ms, _DAY_MS)
    for place, row in enumerate(rows):
        regular = row.close_ms + 1 == ends[place] and not row.open_ms % grid_ms
        if not regular and start < place:
            yield rows[start:place]
        if not regular:
            start = place + 1
        elif place + 1 == count or rows[place + 1].open_ms != ends[place]:
            yield rows[start : place + 1]
            start = place + 1


def _span(series: Series, run: Sequence[Row]) -> Span:
    """Return the span that a run proves, joined to what is known below, and ended where the tail begins."""
    start, end = run[0].open_ms, series.next_open(run[-1].open_ms)
    below = series.coverage.before(start)
    if below is not None:
        last = series.blocks.newest(*below, 1)
        if last and int(last[0][0].row(last[0][1]).split(b",")[_CLOSE_TIME]) + 1 == start:
            start = below[1]
    return start, end if series.tail is None else min(end, series.tail.start_ms)


def _compare(series: Series, run: Sequence[Row]) -> DumpMerge:
    """Count the rows that are known already."""
    start, end = _span(series, run)
    same = differing = 0
    for lo, hi in series.coverage.intersection(start, end):
        inside = _between(run, lo, hi)
        repeated = series.blocks.count_repeated(inside, lo, hi)
        same += repeated
        if repeated < len(inside):
            known = dict(series.blocks.printed_rows(lo, hi))
            equal = sum(known.get(row.open_ms) == row.raw for row in inside[repeated:])
            same += equal
            differing += len(inside) - repeated - equal
    return DumpMerge(same=same, differing=differing, left=len(_between(run, end, FOREVER_MS)))


def _fill(series: Series, run: Sequence[Row]) -> DumpMerge:
    """Take the rows of a run that are unknown."""
    taken = left = 0
    for lo, hi in series.coverage.gaps(*_span(series, run)):
        for start, end in _by_block(series, lo, hi):
            rows = _between(run, start, end)
            if not _has_room(series, start, end):
                left += len(rows)
                continue
            series.blocks.replace(start, end, rows)
            series.cover(start, end)
            series.from_dumps.add(start, end)
            series.unsaved = True
            series.blocks.unsaved.update(series.blocks.indexes(start, end))
            taken += len(rows)
    return DumpMerge(taken=taken, left=left)


def _has_room(series: Series, start: int, end: int) -> bool:
    """Return whether [start, end) may be covered: it joins what is known, or there are few spans in its block."""
    if series.coverage.at(start - 1) or series.coverage.at(end):
        return True
    width = series.blocks.width_ms
    first = start // width * width
    return len(series.coverage.intersection(first, first + width)) < _MAX_SPANS


def _by_block(series: Series, start: int, end: int) -> Iterator[Span]:
    width = series.blocks.width_ms
    while start < end:
        upto = min(end, (start // width + 1) * width)
        yield start, upto
        start = upto


def _between(rows: Sequence[Row], start: int, end: int) -> Sequence[Row]:
    return rows[bisect_left(rows, start, key=_open_ms) : bisect_left(rows, end, key=_open_ms)]


# --------------------------------------------------------------------------------- what reads contradict


def withdraw_contradicted(series: Series, rows: Sequence[Row], window: Window) -> int:
    """Forget the rows of dumps where a reply differs from them, before it is checked against what is known.

    Those around it are forgotten, too, a block's span on both sides: rows that Binance lacks come in runs, and each of
    them would otherwise cost a read.

    Args:
        series: What is known.
        rows: The whole reply to `window`, in rising order.
        window: What was asked.

    Returns:
        How many rows differed.
    """
    if not series.from_dumps:
        return 0
    lo, hi = expected_span(series, rows, window)
    differing, width = 0, series.blocks.width_ms
    contradicted: list[Span] = []
    for start, end in series.from_dumps.intersection(lo, hi):
        read = {row.open_ms: row.raw for row in _between(rows, start, end)}
        known = dict(series.blocks.printed_rows(start, end))
        if read != known:
            differing += sum(read.get(open_ms) != known.get(open_ms) for open_ms in {*read, *known})
            contradicted.append((start - width, end + width))
    for span in contradicted:
        withdraw_within(series, *span)
    return differing


def withdraw_within(series: Series, start: int, end: int) -> None:
    """Forget the rows of dumps in [start, end)."""
    for span in series.from_dumps.intersection(start, end):
        _withdraw(series, *span)


def withdraw_at(series: Series, open_ms: int) -> bool:
    """Forget the rows of dumps around `open_ms`; return whether there were any."""
    found = series.from_dumps.at(open_ms)
    if found is not None:
        _withdraw(series, *found)
    return found is not None


def outrank(series: Series, theirs: StoredBlock) -> list[Span]:
    """Let rows that were read outrank those of dumps, ours or those of another replica.

    Returns:
        The spans that the other replica knows, without those where it has rows of dumps and ours were read.
    """
    known, read = RangeSet(), RangeSet()
    for span in theirs.coverage:
        known.add(*span)
        read.add(*span)
    for span in theirs.from_dumps:
        read.remove(*span)
        for covered in series.coverage.intersection(*span):
            for start, end in series.from_dumps.gaps(*covered):
                known.remove(start, end)
    opens = theirs.block.open_times
    for span in read:
        for start, end in series.from_dumps.intersection(*span):
            rows = theirs.block.rows(bisect_left(opens, start), bisect_left(opens, end))
            if series.blocks.printed_rows(start, end) != rows:
                _withdraw(series, start, end)
            series.from_dumps.remove(start, end)
    return list(known)


def _withdraw(series: Series, start: int, end: int) -> None:
    series.blocks.unsaved.update(series.blocks.indexes(start, end))
    series.blocks.replace(start, end, [])
    series.coverage.remove(start, end)
    series.from_dumps.remove(start, end)
    series.empty_ranges.clear(start, end)
    series.evicted.add(start, end)
    series.unsaved = True
