"""Export what a series knows, and apply what another replica exported. Pure.

Settled rows, empty ranges and the tail are exchanged. What only one replica knows is added. If both know a row, one
that was read outranks one of a dump, else the later revision wins. A tail is accepted if it is newer and shows no less
than ours (docs/design.md#tail-replacement). So it does not matter which replica applies the other's state, or in which
order.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mdcache.candles.block import Block
from mdcache.candles.dump_merge import outrank, withdraw_within
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.merge import Revision, merge_tail
from mdcache.candles.persistence import StoredBlock
from mdcache.candles.ranges import FOREVER_MS, Span
from mdcache.candles.series import Series
from mdcache.candles.stored_blocks import block_with_coverage, outside_blocks
from mdcache.candles.tail import Tail
from mdcache.exchange.rows import Row

_TRADES_COLUMN = 8  # column of a row: docs/binance.md#kline-row


@dataclass(frozen=True, slots=True)
class SharedBlock:
    """A block with its coverage; `revised_as_of`: by open time, the as-of of the read that found a row changed."""

    stored: StoredBlock
    revised_as_of: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SeriesState:
    """Some or all of what is known of a series. `outside_blocks` and `empty_ranges` as in `SeriesOutline`."""

    tail: Tail | None = None
    outside_blocks: tuple[Span, ...] = ()
    empty_ranges: tuple[EmptyRange, ...] = ()
    blocks: Mapping[int, SharedBlock] = field(default_factory=dict)


def export_state(series: Series, indexes: Iterable[int]) -> SeriesState:
    """Return the tail, the empty ranges, and those of the blocks that are in memory."""
    blocks: dict[int, SharedBlock] = {}
    for index in indexes:
        kept = block_with_coverage(series, index)
        if kept is not None and kept.coverage:
            lo, hi = series.blocks.span(index)
            blocks[index] = SharedBlock(kept, {t: ms for t, ms in series.revised_as_of.items() if lo <= t < hi})
    return SeriesState(series.tail, outside_blocks(series), tuple(series.empty_ranges), blocks)


def apply_state(series: Series, state: SeriesState) -> list[Revision]:
    """Apply what another replica knows.

    Args:
        series: What is known here; its own versions of the blocks in `state` must be loaded.
        state: What the other replica exported.

    Returns:
        The rows shown as closed that it changed.
    """
    revisions: list[Revision] = []
    before = series.tail
    if state.tail is not None and _accepts_tail(series, state.tail):
        revisions += merge_tail(series, state.tail)
    for index, block in sorted(state.blocks.items()):
        revisions += _apply_block(series, index, block)
    _apply_empty_ranges(series, state)
    if before is not None and series.tail is not None:  # was in our tail, is settled by others, and not here
        for lo, hi in series.coverage.gaps(before.start_ms, series.tail.start_ms):
            series.evicted.add(lo, hi)
    if revisions:
        series.settled_version += 1
    return revisions


def _accepts_tail(series: Series, tail: Tail) -> bool:
    """Return whether `tail` may replace ours: it is newer than all it would replace, and shows no less."""
    mine = series.tail
    if mine is not None and tail.as_of_ms <= mine.as_of_ms:
        return False
    if tail.as_of_ms < series.merged_as_of_ms and series.coverage.intersection(tail.start_ms, FOREVER_MS):
        return False
    mine = series.tail_known_at(tail.as_of_ms - tail.error_ms)
    shown = {row.open_ms: row for row in tail.rows}
    newest = series.newest_known(mine)
    if newest >= tail.start_ms and (not tail.rows or tail.rows[-1].open_ms < newest):
        return False
    for known in series.known_between(tail.start_ms, FOREVER_MS, mine):
        row = shown.get(known.open_ms)
        if row is None or (row.raw != known.raw and row.trades < known.trades):
            return False
    return True


def _apply_block(series: Series, index: int, shared: SharedBlock) -> list[Revision]:
    block, known, dumps = shared.stored.block, shared.stored.coverage, shared.stored.from_dumps
    limit = series.tail.start_ms if series.tail is not None else FOREVER_MS
    start, end = series.blocks.span(index)
    if not series.coverage.intersection(start, end) and all(hi <= limit for _, hi in known):
        series.blocks.restore(block)
        for lo, hi in known:
            series.cover(lo, hi)
        for span in dumps:
            series.from_dumps.add(*span)
        series.blocks.unsaved.add(index)
        _note_revised(series, shared)
        return []
    revisions: list[Revision] = []
    for lo, hi in outrank(series, shared.stored):
        below = min(hi, limit)
        both = series.coverage.intersection(lo, below)
        for gap_lo, gap_hi in series.coverage.gaps(lo, below):
            series.blocks.replace(gap_lo, gap_hi, _rows(block, gap_lo, gap_hi))
            series.cover(gap_lo, gap_hi)
            for a, b in dumps:
                series.from_dumps.add(max(a, gap_lo), min(b, gap_hi))
            series.blocks.unsaved.add(index)
        for span in both:
            revisions += _resolve_differences(series, *span, shared)
        if lo <= limit < hi:
            _settle_as_others_did(series, block, hi)
    _note_revised(series, shared)
    return revisions


def _note_revised(series: Series, shared: SharedBlock) -> None:
    """Copy when rows that are the same here were found changed."""
    theirs = shared.stored.block
    mine = series.blocks.find(theirs.index)
    for open_ms, as_of_ms in shared.revised_as_of.items():
        if series.revised_as_of.get(open_ms, 0) < as_of_ms and _row_at(mine, open_ms) == _row_at(theirs, open_ms):
            series.note_revised([open_ms], as_of_ms)


def _row_at(block: Block | None, open_ms: int) -> bytes:
    """Return the row that opens at `open_ms` as printed; empty if none does."""
    if block is None:
        return b""
    place = bisect_left(block.open_times, open_ms)
    found = place < len(block) and block.open_times[place] == open_ms
    return block.row(place) if found else b""


def _resolve_differences(series: Series, lo: int, hi: int, shared: SharedBlock) -> list[Revision]:
    """Choose the later revision of each row that differs, if both know all rows in [lo, hi)."""
    mine = dict(series.blocks.printed_rows(lo, hi))
    theirs = {row.open_ms: row.raw for row in _rows(shared.stored.block, lo, hi)}
    if mine == theirs:
        return []
    revisions: list[Revision] = []
    for open_ms in sorted({*mine, *theirs}):
        was, now = mine.get(open_ms, b""), theirs.get(open_ms, b"")
        revised_ms = shared.revised_as_of.get(open_ms, 0)
        if was != now and _precedence(now, revised_ms) > _precedence(was, series.revised_as_of.get(open_ms, 0)):
            revisions.append(Revision(open_ms, was, now))
            series.note_revised([open_ms], revised_ms)
    if revisions:
        final = mine | {revision.open_ms: revision.now for revision in revisions}
        rows = [Row(t, t, 0, raw) for t, raw in sorted(final.items()) if raw]
        series.empty_ranges.clear(lo, hi)
        series.blocks.replace(lo, hi, rows)
    return revisions


def _precedence(raw: bytes, revised_ms: int) -> tuple[int, int, bytes]:
    """Return the sort key of one version of a row; the greatest wins on every replica."""
    return revised_ms, int(raw.split(b",")[_TRADES_COLUMN]) if raw else -1, raw


def _settle_as_others_did(series: Series, block: Block, hi: int) -> None:
    """Settle the first rows of our tail that others have settled in the same form."""
    tail = series.tail
    if tail is None:
        return
    start, newest = tail.start_ms, len(tail.rows) - 1  # the newest stays, so that the tail has at least one row
    theirs = _rows(block, start, hi)
    count = 0
    while count < min(len(theirs), newest) and theirs[count].raw == tail.rows[count].raw:
        count += 1
    if not count:
        return
    end = tail.rows[count].open_ms if count < len(theirs) else min(hi, tail.rows[count].open_ms)
    if any(theirs[n].open_ms < end for n in range(count, len(theirs))):
        return
    series.blocks.replace(start, end, tail.rows[:count])
    series.coverage.add(start, end)
    since = {t: ms for t, ms in tail.since_ms.items() if t >= end}
    series.replace_tail(Tail(end, tail.rows[count:], tail.as_of_ms, since, tail.error_ms))


def _apply_empty_ranges(series: Series, state: SeriesState) -> None:
    limit = series.tail.start_ms if series.tail is not None else FOREVER_MS
    for lo, hi in state.outside_blocks:
        withdraw_within(series, lo, hi)
        for gap_lo, gap_hi in series.coverage.gaps(lo, min(hi, limit)) if lo < limit else ():
            series.cover(gap_lo, gap_hi)
            series.unsaved = True
    mine = {each.start_ms: each for each in series.empty_ranges}
    for each in state.empty_ranges:
        known = mine.get(each.start_ms)
        newer = known is None or known.checked_ms < each.checked_ms
        covered = series.coverage.at(each.start_ms) is not None
        if newer and covered and series.blocks.first_open(each.start_ms, each.end_ms) is None:
            series.empty_ranges.add(each)
            series.unsaved = True


def _rows(block: Block, lo: int, hi: int) -> list[Row]:
    """Return the block's rows in [lo, hi) with their open time and text only, which is all that blocks keep."""
    i, j = bisect_left(block.open_times, lo), bisect_left(block.open_times, hi)
    return [Row(t, t, 0, raw) for t, raw in block.rows(i, j)]
