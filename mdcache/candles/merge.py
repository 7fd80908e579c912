"""The merge: the one door through which a reply's rows become knowledge of their series.

`doubts.py` looks at a reply first, `merge` takes it in. Nothing here waits, reads a clock or asks anybody.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime
from mdcache.candles.tail import Tail
from mdcache.candles.window import Proof, Window, prove
from mdcache.exchange.rows import Row

_FOREVER = 1 << 62
_MAX_UNPROVEN_EMPTY = 16
_NONE_SHOWN: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Revision:
    """A row shown as closed that Binance prints differently now; `now` is empty where it is gone."""

    open_ms: int
    was: bytes
    now: bytes


def merge(series: Series, rows: list[Row], window: Window, read: ReadTime) -> list[Revision]:
    """Take in the whole reply to `window`; returns what it changed of what was shown as closed."""
    proof = prove(window, rows, series.endpoint, read.as_of_ms, series.policy.confirm_ms)
    _note_unproven_empty(series, rows, window, read)
    if proof is None:
        return []
    if read.as_of_ms < series.merged_as_of_ms:
        _fill_gaps(series, rows, proof, read)
        return []
    series.merged_as_of_ms = read.as_of_ms
    if not proof.open_ended and series.tail is not None and proof.hi_ms > series.tail.start_ms:
        proof = Proof(proof.lo_ms, series.tail.start_ms, open_ended=False)
    rows = [row for row in rows if row.open_ms >= proof.lo_ms and (proof.open_ended or row.open_ms < proof.hi_ms)]
    if proof.lo_ms >= proof.hi_ms and not proof.open_ended:
        return []
    return _merge_proven(series, rows, proof, read)


def merge_tail(series: Series, tail: Tail) -> list[Revision]:
    """Take in a tail that somebody else read, as if it were a reply; `share.py` tells when it may come in."""
    series.merged_as_of_ms = max(series.merged_as_of_ms, tail.as_of_ms)
    proof = Proof(tail.start_ms, tail.start_ms, open_ended=True)
    read = ReadTime(tail.as_of_ms, tail.as_of_ms - tail.error_ms)
    return _merge_proven(series, list(tail.rows), proof, read, tail.since_ms)


def _merge_proven(
    series: Series, rows: list[Row], proof: Proof, read: ReadTime, shown_since: Mapping[int, int] = _NONE_SHOWN
) -> list[Revision]:
    """`shown`: what others know of since when rows are shown unchanged, as in `Tail.since_ms`."""
    tail = series.tail or Tail(0, (), -1)
    held = dict(series.blocks.printed_rows(proof.lo_ms, _FOREVER if proof.open_ended else proof.hi_ms))
    before = {row.open_ms: row for row in tail.rows}
    since = series.settling.unchanged_since(rows, before, tail.since_ms, read) if proof.open_ended else {}
    since |= {t: min(since.get(t, ms), ms) for t, ms in shown_since.items()}
    revisions = _revisions(rows, held, tail, proof)
    fills = _rows_in_holes(series, rows, held)
    series.note_revised([*(revision.open_ms for revision in revisions), *fills], read.as_of_ms)
    if revisions or fills:
        series.settled_version += 1
    settled = series.settling.settled_count(rows, held, since, read)
    if settled < len(rows):
        end = rows[settled].open_ms
    elif proof.open_ended:
        end = rows[-1].open_ms + 1 if rows else proof.lo_ms
    else:
        end = proof.hi_ms
    past = _FOREVER if proof.open_ended else proof.hi_ms
    shape = _coverage_shape(series, proof.lo_ms, past)
    series.blocks.replace(proof.lo_ms, past, rows[:settled])
    series.coverage.remove(end, past)
    series.coverage.add(proof.lo_ms, end)
    if proof.open_ended:  # with the bucket below it: whatever is there, a read of the tail has nothing to add
        series.note_read_again(proof.lo_ms - series.interval.length_ms, _FOREVER)
    else:
        series.note_read_again(proof.lo_ms, end)
    _note_empty_ranges(series, rows, settled, proof, end, read.as_of_ms)
    _mark_unsaved(series, proof.lo_ms, past, shape)
    if proof.open_ended:
        kept = {t: s for t, s in since.items() if t >= end}
        series.tail = Tail(end, tuple(rows[settled:]), read.as_of_ms, kept, read.as_of_ms - read.early_ms)
        series.tail_version += 1
    return revisions


def _rows_in_holes(series: Series, rows: list[Row], held: dict[int, bytes]) -> list[int]:
    """Open times of rows where we knew that there is none."""
    if not rows or series.coverage.gaps(rows[0].open_ms, rows[-1].open_ms + 1) == [
        (rows[0].open_ms, rows[-1].open_ms + 1)
    ]:
        return []
    return [row.open_ms for row in rows if row.open_ms not in held and series.coverage.at(row.open_ms)]


def _revisions(rows: list[Row], held: dict[int, bytes], tail: Tail, proof: Proof) -> list[Revision]:
    was = dict(held)
    was |= {row.open_ms: row.raw for row in tail.rows if row.open_ms in tail.since_ms}
    shown = {row.open_ms: row.raw for row in rows}
    past = _FOREVER if proof.open_ended else proof.hi_ms
    return [
        Revision(open_ms, raw, shown.get(open_ms, b""))
        for open_ms, raw in was.items()
        if proof.lo_ms <= open_ms < past and shown.get(open_ms) != raw
    ]


def _fill_gaps(series: Series, rows: list[Row], proof: Proof, read: ReadTime) -> None:
    """A reply older than what was merged since: it fills gaps with rows that are surely final, no more."""
    hi = proof.hi_ms if series.tail is None else min(proof.hi_ms, series.tail.start_ms)
    for start, end in series.coverage.gaps(proof.lo_ms, hi):
        inside = [row for row in rows if start <= row.open_ms < end]
        count = series.settling.settled_count(inside, {}, {}, read)
        known_to = end if count == len(inside) else inside[count].open_ms
        shape = _coverage_shape(series, start, known_to)
        series.blocks.replace(start, known_to, inside[:count])
        series.coverage.add(start, known_to)
        series.note_read_again(start, known_to)
        gap = Proof(start, known_to, open_ended=False)
        _note_empty_ranges(series, inside[:count], count, gap, known_to, read.as_of_ms)
        _mark_unsaved(series, start, known_to, shape)


def _note_empty_ranges(series: Series, rows: list[Row], settled: int, proof: Proof, end: int, as_of_ms: int) -> None:
    """Remember the emptiness in [proof.lo_ms, end), where `rows[:settled]` are all there is."""
    series.empty_ranges.clear(proof.lo_ms, _FOREVER if proof.open_ended else proof.hi_ms)
    around = series.coverage.at(proof.lo_ms)
    if around is None:
        return
    left = series.blocks.last_open(around[0], proof.lo_ms)
    right = rows[settled].open_ms if settled < len(rows) else series.blocks.first_open(end, around[1])
    opens = [row.open_ms for row in rows[:settled]]
    previous = left
    for open_ms in [*opens, *([] if right is None else [right])]:
        start = proof.lo_ms if previous is None else series.next_open(previous)
        if start < open_ms and (previous is not None or open_ms - start >= series.interval.length_ms):
            series.empty_ranges.add(EmptyRange(start, open_ms, as_of_ms, hole=previous is not None))
        previous = open_ms
    if right is None and not proof.open_ended:
        start = proof.lo_ms if previous is None else series.next_open(previous)
        if start < end:
            series.empty_ranges.add(EmptyRange(start, end, as_of_ms, hole=False))


def _mark_unsaved(series: Series, start: int, end: int, before: tuple[object, object]) -> None:
    """Have saved what changed in [start, end) besides rows: what is known there, and which emptiness may fill."""
    if _coverage_shape(series, start, end) != before:
        series.unsaved = True
        series.blocks.unsaved.update(series.blocks.indexes(start, end))


def _coverage_shape(series: Series, start: int, end: int) -> tuple[object, object]:
    return series.coverage.intersection(start, end), series.empty_ranges.spans()


def _note_unproven_empty(series: Series, rows: list[Row], window: Window, read: ReadTime) -> None:
    if window.start_ms is not None:
        return
    end = read.as_of_ms if window.end_ms is None else window.end_ms
    series.unproven_empty = [(lo, hi) for lo, hi in series.unproven_empty if series.coverage.gaps(lo, hi + 1)][
        -_MAX_UNPROVEN_EMPTY:
    ]
    if len(rows) < window.limit:
        series.unproven_empty.append((0, rows[0].open_ms - 1 if rows else end))
    if rows and series.next_open(rows[-1].open_ms) <= end:
        series.unproven_empty.append((rows[-1].open_ms + 1, end))
