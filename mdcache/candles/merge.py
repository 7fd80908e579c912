"""Merge a reply's rows into their series: nothing else adds rows from Binance to it. Pure.

`plausibility.py` checks a reply first; `merge` applies it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter, sub
from types import MappingProxyType

from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.ranges import FOREVER_MS, Span
from mdcache.candles.series import Series, UnprovenEmpty
from mdcache.candles.settling import ReadTime
from mdcache.candles.tail import Tail
from mdcache.candles.window import Proof, Window, prove
from mdcache.exchange.rows import Row

_MAX_UNPROVEN_EMPTY = 16
_open_ms = attrgetter("open_ms")
_NONE_SHOWN: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Revision:
    """A row that was shown as closed and is printed differently now; `now` is empty if it is gone."""

    open_ms: int
    was: bytes
    now: bytes


def merge(series: Series, rows: list[Row], window: Window, read: ReadTime) -> list[Revision]:
    """Merge a reply into its series: settle what is final, replace the tail, note holes.

    A reply older than the newest one already merged only fills gaps, with rows that are final.

    Args:
        series: What is known; the blocks in the proven span must be in memory.
        rows: The whole reply to `window`, in rising order.
        window: What was asked.
        read: When the read was sent.

    Returns:
        The rows shown as closed that the reply changed.
    """
    proof = prove_reply(series, rows, window, read.as_of_ms)
    _refute_unproven_empty(series, rows)
    _note_unproven_empty(series, rows, window, read)
    revisions = [] if proof is None else _merge_proof(series, rows, proof, read)
    if window.start_ms is not None and not series.endpoint.nearest_end:
        _note_unproven_end(series, rows, window, read)
    return revisions


def prove_reply(series: Series, rows: list[Row], window: Window, as_of_ms: int) -> Proof | None:
    """Decide for which span of open times a reply to a read of `series` is complete; see `prove`."""
    final_before_ms = as_of_ms - series.policy.confirm_ms
    if window.end_ms is not None and series.has_row_at(window.end_ms + 1):
        final_before_ms = as_of_ms  # no lag explains a missing row below one that was shown
    return prove(window, rows, series.endpoint, series.interval.length_ms, as_of_ms, final_before_ms)


def _merge_proof(series: Series, rows: list[Row], proof: Proof, read: ReadTime) -> list[Revision]:
    if read.as_of_ms < series.merged_as_of_ms:
        _fill_gaps(series, rows, proof, read)
        return []
    series.merged_as_of_ms = read.as_of_ms
    if not proof.open_ended and series.tail is not None and proof.hi_ms > series.tail.start_ms:
        proof = Proof(proof.lo_ms, series.tail.start_ms, open_ended=False)
    if proof.lo_ms >= proof.end_ms:
        return []
    first, last = bisect_left(rows, proof.lo_ms, key=_open_ms), bisect_left(rows, proof.end_ms, key=_open_ms)
    rows, proof = _without_repeated(series, rows[first:last], proof)
    return _merge_proven(series, rows, proof, read)


def _without_repeated(series: Series, rows: list[Row], proof: Proof) -> tuple[list[Row], Proof]:
    """Leave out the first rows if all of them are settled already and there is no gap: they change nothing."""
    covered = series.coverage.at(proof.lo_ms)
    if not rows or covered is None or rows[0].open_ms != proof.lo_ms:
        return rows, proof
    repeated = series.blocks.count_repeated(rows, proof.lo_ms, min(covered[1], proof.end_ms))
    open_times = [row.open_ms for row in rows[:repeated]]
    if (before := series.blocks.last_open(covered[0], proof.lo_ms)) is not None:
        open_times.insert(0, before)
    if not repeated or not _have_no_gaps(series, open_times):
        return rows, proof
    series.from_dumps.remove(proof.lo_ms, open_times[-1] + 1)
    if proof.open_ended:  # it was read again, and the bucket below, as in `_settle`
        series.note_read_again(proof.lo_ms - series.interval.length_ms, FOREVER_MS)
    return rows[repeated:], Proof(open_times[-1] + 1, proof.hi_ms, proof.open_ended)


def _have_no_gaps(series: Series, open_times: list[int]) -> bool:
    """Return whether each row surely follows the one before it at once."""
    return {*map(sub, islice(open_times, 1, None), open_times)} <= {series.interval.length_ms}


def merge_tail(series: Series, tail: Tail) -> list[Revision]:
    """Merge a tail that another replica read, as if it were a reply. `replication.py` decides whether it is accepted.

    Returns:
        The rows shown as closed that it changed.
    """
    series.merged_as_of_ms = max(series.merged_as_of_ms, tail.as_of_ms)
    proof = Proof(tail.start_ms, tail.start_ms, open_ended=True)
    read = ReadTime(tail.as_of_ms, tail.as_of_ms - tail.error_ms)
    return _merge_proven(series, list(tail.rows), proof, read, tail.since_ms)


def _merge_proven(
    series: Series, rows: list[Row], proof: Proof, read: ReadTime, shown_since: Mapping[int, int] = _NONE_SHOWN
) -> list[Revision]:
    """Merge the rows of the proven span; `shown_since`: `Tail.since_ms` of another replica."""
    tail = series.tail or Tail(0, (), -1)
    held = dict(series.blocks.printed_rows(proof.lo_ms, proof.end_ms))
    before = {row.open_ms: row for row in tail.rows}
    since = series.settling.unchanged_since(rows, before, tail.since_ms, read) if proof.open_ended else {}
    since |= {t: min(since.get(t, ms), ms) for t, ms in shown_since.items()}

    shown = {row.open_ms: row.raw for row in tail.rows if row.open_ms in tail.since_ms}
    if series.stream is not None:
        shown |= series.stream.shown_closed(read.early_ms)
    revisions = _revisions(rows, shown | held, proof)
    fills = _rows_in_holes(series, rows, held)
    series.note_revised([*(revision.open_ms for revision in revisions), *fills], read.as_of_ms)
    if revisions or fills:
        series.settled_version += 1

    count = series.settling.settled_count(rows, held, since, read)
    if count < len(rows):
        end = rows[count].open_ms
    elif proof.open_ended:
        end = rows[-1].open_ms + 1 if rows else proof.lo_ms
    else:
        end = proof.hi_ms
    _settle(series, rows, count, (proof.lo_ms, end), proof, read.as_of_ms)
    if proof.open_ended:
        kept = {t: ms for t, ms in since.items() if t >= end}
        series.replace_tail(Tail(end, tuple(rows[count:]), read.as_of_ms, kept, read.as_of_ms - read.early_ms))
    return revisions


def _settle(series: Series, rows: list[Row], count: int, span: Span, proof: Proof, as_of_ms: int) -> None:
    """Cover `span`, in which `rows[:count]` are all rows that exist; beyond it the proof is for the tail."""
    start, end = span
    before = _emptiness(series, start, proof.end_ms)
    series.blocks.replace(start, proof.end_ms, rows[:count])
    series.coverage.remove(end, proof.end_ms)
    series.from_dumps.remove(end, proof.end_ms)
    if proof.open_ended:  # and the bucket below: another tail read could add nothing to what was evicted there
        series.note_read_again(start - series.interval.length_ms, FOREVER_MS)
    series.cover(start, end)
    _note_empty_ranges(series, rows, count, span, proof, as_of_ms)
    if _emptiness(series, start, proof.end_ms) != before:  # not only rows must be saved
        series.unsaved = True
        series.blocks.unsaved.update(series.blocks.indexes(start, proof.end_ms))


def _fill_gaps(series: Series, rows: list[Row], proof: Proof, read: ReadTime) -> None:
    """Fill gaps in the coverage from a reply older than the newest one merged, with rows that are final."""
    hi = proof.hi_ms if series.tail is None else min(proof.hi_ms, series.tail.start_ms)
    for start, end in series.coverage.gaps(proof.lo_ms, hi):
        inside = [row for row in rows if start <= row.open_ms < end]
        count = series.settling.settled_count(inside, {}, {}, read)
        known_to = end if count == len(inside) else inside[count].open_ms
        gap = Proof(start, known_to, open_ended=False)
        _settle(series, inside[:count], count, (start, known_to), gap, read.as_of_ms)


def _revisions(rows: list[Row], was: Mapping[int, bytes], proof: Proof) -> list[Revision]:
    """Compare the reply with what was shown as closed, by open time."""
    if not was:
        return []
    start, end = proof.lo_ms, proof.end_ms
    now = {row.open_ms: row.raw for row in rows}
    return [
        Revision(open_ms, raw, now.get(open_ms, b""))
        for open_ms, raw in was.items()
        if start <= open_ms < end and now.get(open_ms) != raw
    ]


def _rows_in_holes(series: Series, rows: list[Row], held: dict[int, bytes]) -> list[int]:
    """Return the open times at which a row was known not to exist."""
    if not rows or not series.coverage.intersection(rows[0].open_ms, rows[-1].open_ms + 1):
        return []
    return [row.open_ms for row in rows if row.open_ms not in held and series.coverage.at(row.open_ms)]


def _note_empty_ranges(series: Series, rows: list[Row], count: int, span: Span, proof: Proof, as_of_ms: int) -> None:
    """Record where no row opens in `span`, in which `rows[:count]` are all rows.

    A range that reaches beyond the proof has not been checked as a whole: it keeps its last check.
    """
    known = tuple(series.empty_ranges)
    series.empty_ranges.clear(span[0], proof.end_ms)
    for start, end, hole in _empty_spans(series, rows, count, span, proof):
        checked_ms = as_of_ms
        if start < span[0] or end > proof.end_ms:
            before = [each.checked_ms for each in known if each.start_ms < end and each.end_ms > start]
            checked_ms = min([as_of_ms, *before])
        series.empty_ranges.add(EmptyRange(start, end, checked_ms, hole))


def _empty_spans(
    series: Series, rows: list[Row], count: int, span: Span, proof: Proof
) -> Iterator[tuple[int, int, bool]]:
    """Yield [start, end) of each emptiness in `span` and around it, and whether it is a hole."""
    start, end = span
    around = series.coverage.at(start)
    if around is None:
        return
    length_ms = series.interval.length_ms
    previous = series.blocks.last_open(around[0], start)
    following = rows[count].open_ms if count < len(rows) else series.blocks.first_open(end, around[1])
    open_times = [row.open_ms for row in rows[:count]]
    if following is not None:
        open_times.append(following)
    no_gaps = _have_no_gaps(series, open_times)
    for open_ms in open_times[:1] if no_gaps else open_times:
        if previous is None:
            if open_ms - start >= length_ms:
                yield start, open_ms, False
        elif open_ms - previous > length_ms and (empty_from := series.next_open(previous)) < open_ms:
            yield empty_from, open_ms, True
        previous = open_ms
    if open_times:
        previous = open_times[-1]
    if following is None and not proof.open_ended:
        empty_from = start if previous is None else series.next_open(previous)
        if empty_from < end:
            yield empty_from, end, False


def _emptiness(series: Series, start: int, end: int) -> tuple[object, object]:
    """Return the covered spans in [start, end), and the empty ranges that may still fill."""
    return series.coverage.intersection(start, end), series.empty_ranges.spans()


def _refute_unproven_empty(series: Series, rows: list[Row]) -> None:
    """Forget where replies showed no rows, if there are some: a short page among them was capped."""
    if rows and (series.unproven_end is not None or series.unproven_empty):
        _forget_refuted(series, rows)
    series.note_page(len(rows))


def _forget_refuted(series: Series, rows: list[Row]) -> None:
    opens = [row.open_ms for row in rows]
    kept: list[UnprovenEmpty] = []
    for each in series.unproven_empty:
        place = bisect_left(opens, each.lo_ms)
        if place < len(opens) and opens[place] <= each.hi_ms:
            series.note_capped(each.page_rows)
        else:
            kept.append(each)
    series.unproven_empty = kept
    end = series.unproven_end
    if end is not None and opens[-1] >= end.lo_ms and opens[0] <= end.hi_ms:
        series.note_capped(end.page_rows)
        series.unproven_end = None


def _note_unproven_empty(series: Series, rows: list[Row], window: Window, read: ReadTime) -> None:
    """Record where a window that counts back from its end showed no rows, so that it is not read again."""
    if window.start_ms is not None and not series.endpoint.nearest_end:
        return
    end = read.as_of_ms if window.end_ms is None else window.end_ms
    still = [each for each in series.unproven_empty if series.coverage.gaps(each.lo_ms, each.hi_ms + 1)]
    series.unproven_empty = still[-_MAX_UNPROVEN_EMPTY:]
    if series.is_short(len(rows), window.limit):
        below = rows[0].open_ms - 1 if rows else end
        span_ms = series.endpoint.max_span_ms
        reach_ms = 0 if span_ms is None else max(0, end - span_ms)
        if below >= (start := reach_ms if window.start_ms is None else window.start_ms):
            series.unproven_empty.append(UnprovenEmpty(start, below, len(rows), read.as_of_ms))
    if rows and series.next_open(rows[-1].open_ms) <= end:
        series.unproven_empty.append(UnprovenEmpty(rows[-1].open_ms + 1, end, 0, read.as_of_ms))


def _note_unproven_end(series: Series, rows: list[Row], window: Window, read: ReadTime) -> None:
    """Record from where on a read that counts up from its start showed no rows, or that it was capped."""
    series.unproven_end = None
    if not series.is_short(len(rows), window.limit):
        return
    known_ms = series.newest_known() if window.end_ms is None else window.end_ms
    if rows and rows[-1].open_ms < known_ms and series.has_row_at(known_ms):
        series.note_capped(len(rows))
    elif window.end_ms is None:
        start = window.start_ms or 0
        covered = series.coverage.at(start)
        end = start if covered is None else covered[1]
        series.unproven_end = UnprovenEmpty(end, read.as_of_ms, len(rows), read.as_of_ms)
