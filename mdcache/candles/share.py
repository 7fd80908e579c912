"""What replicas know together: how a series takes in what another replica knows of it, and what it offers. Pure.

Both know settled rows, voids and a tail. What only one knows comes in; where both know, a row that was found
revised later wins. A tail comes in if it is newer and shows no less than ours (6.2.3); settled rows never
overlap it. So it does not matter who takes from whom, or in which order.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mdcache.candles.atrest import Kept, Span
from mdcache.candles.block import Block
from mdcache.candles.merge import Revision, take_tail
from mdcache.candles.series import Series
from mdcache.candles.tail import Tail
from mdcache.candles.voids import Void
from mdcache.exchange.rows import Row

_FOREVER = 1 << 62
_TRADES = 8  # column of a row: S-/U-/C-Kline pages


@dataclass(frozen=True, slots=True)
class SharedBlock:
    """A block with what is known of its span; `revised`: by open time, as-of of the read that found a row changed."""

    kept: Kept
    revised: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shared:
    """A part of what is known of a series. `bare` and `voids` as in `Outline`."""

    tail: Tail | None = None
    bare: tuple[Span, ...] = ()
    voids: tuple[Void, ...] = ()
    blocks: Mapping[int, SharedBlock] = field(default_factory=dict)


def offer(series: Series, indexes: Iterable[int]) -> Shared:
    """The tail and those of the blocks that are here, for others to take."""
    blocks: dict[int, SharedBlock] = {}
    for index in indexes:
        kept = series.kept(index)
        if kept is not None and kept.known:
            lo, hi = series.shelf.span(index)
            blocks[index] = SharedBlock(kept, {t: ms for t, ms in series.revised.items() if lo <= t < hi})
    return Shared(series.tail, series.bare(), tuple(series.voids), blocks)


def adopt(series: Series, shared: Shared) -> list[Revision]:
    """Take in what `shared` tells; returns what it changed of what was shown as closed.

    The blocks' spans must not rest: what is known of them must be here.
    """
    revisions: list[Revision] = []
    before = series.tail
    if shared.tail is not None and _takes(series, shared.tail):
        revisions += take_tail(series, shared.tail)
    for index, block in sorted(shared.blocks.items()):
        revisions += _adopt_block(series, index, block)
    _adopt_emptiness(series, shared)
    if before is not None and series.tail is not None:  # shown by us before, settled by others, and not here
        for lo, hi in series.coverage.gaps(before.start_ms, series.tail.start_ms):
            series.evicted.add(lo, hi)
    if revisions:
        series.settled_version += 1
    return revisions


def _takes(series: Series, tail: Tail) -> bool:
    """Whether `tail` may replace ours: newer than all it would replace, and showing no less."""
    mine = series.tail
    if mine is not None and tail.as_of_ms <= mine.as_of_ms:
        return False
    if tail.as_of_ms < series.merged_ms and series.coverage.pieces(tail.start_ms, _FOREVER):
        return False
    shown = {row.open_ms: row for row in tail.rows}
    newest = series.newest_known()
    if newest >= tail.start_ms and (not tail.rows or tail.rows[-1].open_ms < newest):
        return False
    for known in series.known_between(tail.start_ms, _FOREVER):
        row = shown.get(known.open_ms)
        if row is None or (row.raw != known.raw and row.trades < known.trades):
            return False
    return True


def _adopt_block(series: Series, index: int, found: SharedBlock) -> list[Revision]:
    block, known = found.kept.block, found.kept.known
    limit = series.tail.start_ms if series.tail is not None else _FOREVER
    start, end = series.shelf.span(index)
    if not series.coverage.pieces(start, end) and all(hi <= limit for _, hi in known):
        series.shelf.admit(block)
        for lo, hi in known:
            series.coverage.add(lo, hi)
            series.read_again(lo, hi)
        series.shelf.unsaved.add(index)
        _note_revised(series, found)
        return []
    revisions: list[Revision] = []
    for lo, hi in known:
        below = min(hi, limit)
        both = series.coverage.pieces(lo, below)
        for gap_lo, gap_hi in series.coverage.gaps(lo, below):
            series.shelf.replace(gap_lo, gap_hi, _rows(block, gap_lo, gap_hi))
            series.coverage.add(gap_lo, gap_hi)
            series.read_again(gap_lo, gap_hi)
            series.shelf.unsaved.add(index)
        for span in both:
            revisions += _settle_differences(series, *span, found)
        if lo <= limit < hi:
            _settle_by_others(series, block, hi)
    _note_revised(series, found)
    return revisions


def _note_revised(series: Series, found: SharedBlock) -> None:
    """Rows that we have as `found` does were found changed when it says."""
    theirs = found.kept.block
    mine = series.shelf.find(theirs.index)
    for open_ms, as_of_ms in found.revised.items():
        if series.revised.get(open_ms, 0) < as_of_ms and _row_at(mine, open_ms) == _row_at(theirs, open_ms):
            series.note_revised([open_ms], as_of_ms)


def _row_at(block: Block | None, open_ms: int) -> bytes:
    """The row that opens then, as printed; empty where none does."""
    if block is None:
        return b""
    place = bisect_left(block.opens, open_ms)
    found = place < len(block) and block.opens[place] == open_ms
    return block.row(place) if found else b""


def _settle_differences(series: Series, lo: int, hi: int, found: SharedBlock) -> list[Revision]:
    """Both know [lo, hi): of each row that differs the one that was found changed later stays."""
    mine = dict(series.shelf.pairs(lo, hi))
    theirs = {row.open_ms: row.raw for row in _rows(found.kept.block, lo, hi)}
    if mine == theirs:
        return []
    revisions: list[Revision] = []
    for open_ms in sorted({*mine, *theirs}):
        was, now = mine.get(open_ms, b""), theirs.get(open_ms, b"")
        told_ms = found.revised.get(open_ms, 0)
        if was != now and _rank(now, told_ms) > _rank(was, series.revised.get(open_ms, 0)):
            revisions.append(Revision(open_ms, was, now))
            series.note_revised([open_ms], told_ms)
    if revisions:
        final = mine | {revision.open_ms: revision.now for revision in revisions}
        rows = [Row(t, t, 0, raw) for t, raw in sorted(final.items()) if raw]
        series.voids.clear(lo, hi)
        series.shelf.replace(lo, hi, rows)
    return revisions


def _rank(raw: bytes, revised_ms: int) -> tuple[int, int, bytes]:
    """What decides between two forms of one row; the same on every replica, whoever asks first."""
    return revised_ms, int(raw.split(b",")[_TRADES]) if raw else -1, raw


def _settle_by_others(series: Series, block: Block, hi: int) -> None:
    """Rows at the beginning of our tail that others have settled just so are settled here too (6.2.2)."""
    tail = series.tail
    if tail is None:
        return
    start, newest = tail.start_ms, len(tail.rows) - 1  # the newest stays, so that the tail has a row to show
    theirs = _rows(block, start, hi)
    count = 0
    while count < min(len(theirs), newest) and theirs[count].raw == tail.rows[count].raw:
        count += 1
    if not count:
        return
    end = tail.rows[count].open_ms if count < len(theirs) else min(hi, tail.rows[count].open_ms)
    if any(theirs[n].open_ms < end for n in range(count, len(theirs))):
        return
    series.shelf.replace(start, end, tail.rows[:count])
    series.coverage.add(start, end)
    since = {t: ms for t, ms in tail.since_ms.items() if t >= end}
    series.tail = Tail(end, tail.rows[count:], tail.as_of_ms, since, tail.error_ms)
    series.tail_version += 1


def _adopt_emptiness(series: Series, shared: Shared) -> None:
    limit = series.tail.start_ms if series.tail is not None else _FOREVER
    for lo, hi in shared.bare:
        for gap_lo, gap_hi in series.coverage.gaps(lo, min(hi, limit)) if lo < limit else ():
            series.coverage.add(gap_lo, gap_hi)
            series.read_again(gap_lo, gap_hi)
            series.unsaved = True
    mine = {void.start_ms: void for void in series.voids}
    for void in shared.voids:
        known = mine.get(void.start_ms)
        newer = known is None or known.checked_ms < void.checked_ms
        covered = series.coverage.at(void.start_ms) is not None
        if newer and covered and series.shelf.first_open(void.start_ms, void.end_ms) is None:
            series.voids.note(void)
            series.unsaved = True


def _rows(block: Block, lo: int, hi: int) -> list[Row]:
    """The block's rows in [lo, hi), as a shelf takes them: it looks at open times and printed rows only."""
    return [Row(t, t, 0, block.row(n)) for n, t in enumerate(block.opens) if lo <= t < hi]
