"""Check whether a reply is plausible, given what is known, before it is merged (docs/design.md#tail-replacement).

`InvalidBody`: it can't be right, such as no rows where rows are known. `Suspicion`: it shows less than it should; it is
read again at once, and the same reply is then accepted, unless it looks like that of a lagging server of Binance. Where
the same question again would prove nothing, a window of another kind decides (`Suspicion.look`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mdcache.candles.ranges import FOREVER_MS, Span
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime
from mdcache.candles.window import Window, WindowKind
from mdcache.errors import BodyFault, InvalidBody
from mdcache.exchange.rows import Row
from mdcache.exchange.weights import page_limit

LONGEST_OUTAGE_MS = 3 * 86_400_000  # the longest known outage (2018-02-08) took a day and a half
MAX_VANISHED_ROWS = 10  # an exchange may withdraw a few closed rows at once; if more are missing, the reply is broken
_JOINED_BUCKETS = 2  # so few rows fit into any page
_QUIET_BUCKETS = 3  # a symbol that printed no row for longer than this needs another witness
_OPENED_MS = 1_498_867_200_000  # 2017-07-01: Binance opened two weeks later, so no row is from before


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A reply shows less than we have, or than can be expected.

    `lagging`: it looks like the exchange before our own tail was read. `look`: the window that decides. If that returns
    any row, the page is wrong. With `known_ms`, it is right: the page was cut if that window still has the row that
    opens then, else the exchange has lost it.
    """

    detail: str
    lagging: bool
    look: Window | None = None
    known_ms: int | None = None


def cut_at_long_gap(series: Series, rows: list[Row], window: Window) -> list[Row]:
    """Return the rows after the last silence that is longer than any outage.

    A page of the newest rows has no start against which its first rows could be checked: a stray row from long ago
    would prove everything between. The rows before the silence are read again by a window that ends just after it, and
    are then returned, because that window asks for them. Raises `InvalidBody` if rows are known in the silence.
    """
    if window.start_ms is not None:
        return rows
    length_ms = series.interval.length_ms
    longest_ms = max(LONGEST_OUTAGE_MS, 3 * length_ms) + length_ms
    if not rows or rows[-1].open_ms - rows[0].open_ms <= longest_ms:
        return rows
    for place in range(len(rows) - 1, 0, -1):
        before, after = rows[place - 1].open_ms, rows[place].open_ms
        if after - before > longest_ms and not (place == len(rows) - 1 and window.end_ms == after):
            if series.blocks.first_open(before + 1, after) is not None:
                raise InvalidBody(BodyFault.WINDOW, f"nothing in {before}..{after}, where rows are known")
            return rows[place:]
    return rows


def find_suspicion(series: Series, rows: list[Row], window: Window, read: ReadTime) -> Suspicion | None:
    """Return how a reply shows less than is known, or `None`; raise `InvalidBody` if it can't be right."""
    if read.as_of_ms < series.merged_as_of_ms:
        return None
    if (shortened := _find_shortened(series, rows, window, read)) is not None:
        return shortened
    lo, hi = expected_span(series, rows, window)
    tail = series.tail_known_at(read.early_ms)
    repeated = series.blocks.count_repeated(rows, lo, hi)
    fresh = rows[repeated:]
    known = series.known_between(rows[repeated - 1].open_ms + 1 if repeated else lo, hi, tail)
    if known and not rows:
        raise InvalidBody(BodyFault.EMPTY, f"{len(known)} rows are known there")
    newest = series.newest_known(tail) if hi == FOREVER_MS else -1
    if rows and hi == FOREVER_MS and rows[-1].open_ms < newest:
        if rows[-1].open_ms < series.newest_settled():
            raise InvalidBody(BodyFault.LAGGING, f"ends at {rows[-1].open_ms}, and later rows are settled")
        return Suspicion(f"lacks our newest row {newest}", lagging=True)
    shown = {row.open_ms: row for row in fresh} if known else {}
    lacking = [row.open_ms for row in known if row.open_ms not in shown]
    if len(lacking) > MAX_VANISHED_ROWS:
        raise InvalidBody(BodyFault.MISSING_ROWS, f"{len(lacking)} rows that are known")
    if lacking:
        return Suspicion(f"lacks {lacking[0]}", lagging=False)
    differing = [(row, shown[row.open_ms]) for row in known if shown[row.open_ms].raw != row.raw]
    fewer = [row.open_ms for row, now in differing if now.trades < row.trades]
    if fewer:
        return Suspicion(f"fewer trades in {fewer[0]}", lagging=fewer[0] == newest)
    return _find_early_end(series, rows, window, read) or _find_silence(series, rows, window, read)


def _find_shortened(series: Series, rows: list[Row], window: Window, read: ReadTime) -> Suspicion | None:
    """Return a suspicion if a page has fewer rows than fit, although there was one before its first."""
    counts_up = window.start_ms is not None and not series.endpoint.nearest_end
    if counts_up or not rows or not series.is_short(len(rows), window.limit):
        return None
    span_ms = series.endpoint.max_span_ms
    since_ms = window.start_ms or (0 if span_ms is None else max(0, read.as_of_ms - span_ms))
    before = series.blocks.last_open(since_ms, rows[0].open_ms)
    if before is None:
        return None
    first = rows[0].open_ms
    joined = not series.endpoint.nearest_end or series.interval.count(before, first) <= _JOINED_BUCKETS
    look = Window(WindowKind.RANGE, before, first if joined else before, page_limit(series.endpoint, 1))
    return Suspicion(f"short, though a row at {before} is known", lagging=False, look=look, known_ms=before)


def _find_early_end(series: Series, rows: list[Row], window: Window, read: ReadTime) -> Suspicion | None:
    """Return a suspicion if the newest rows end long ago, or there are none, and that is news."""
    if window.kind is not WindowKind.TAIL:
        return None
    newest = rows[-1].open_ms if rows else -1
    end_ms = series.next_open(newest) if rows else 0
    if read.as_of_ms - end_ms <= max(series.policy.confirm_ms, _QUIET_BUCKETS * series.interval.length_ms):
        return None
    tail = series.tail
    if tail is not None and newest == series.newest_known():
        return None
    if tail is not None and not tail.rows and newest < tail.start_ms:
        return None
    shown = series.unproven_end
    if shown is not None and shown.lo_ms > newest and read.as_of_ms - shown.as_of_ms < series.policy.confirm_ms:
        return None  # a forward read is the other witness
    span_ms = series.endpoint.max_span_ms
    start_ms = newest + 1 if span_ms is None else max(newest + 1, read.as_of_ms - span_ms)
    look = Window(WindowKind.RANGE, start_ms, read.as_of_ms, page_limit(series.endpoint, 1))
    return Suspicion(f"ends at {newest}", lagging=False, look=look)


def _find_silence(series: Series, rows: list[Row], window: Window, read: ReadTime) -> Suspicion | None:
    """Return a suspicion if a window that is answered by its newest rows has none at its end, and that is news."""
    start, end = window.start_ms, window.end_ms
    if not series.endpoint.nearest_end or start is None or end is None:
        return None
    since_ms, until_ms = (series.next_open(rows[-1].open_ms) if rows else start), min(end, read.as_of_ms)
    quiet_ms = max(series.policy.confirm_ms, _QUIET_BUCKETS * series.interval.length_ms) if rows else 0
    if until_ms < _OPENED_MS or until_ms - since_ms <= quiet_ms or not series.coverage.gaps(since_ms, until_ms + 1):
        return None
    if series.shown_empty_at(since_ms) and series.shown_empty_at(until_ms):
        return None  # this read is the other witness
    look = Window(WindowKind.RANGE, since_ms, until_ms, page_limit(series.endpoint, 1))
    return Suspicion(f"nothing in {since_ms}..{until_ms}", lagging=False, look=look)


def expected_span(series: Series, rows: Sequence[Row], window: Window) -> Span:
    """Return the span [lo, hi) in which the reply must contain every known row."""
    lo = window.start_ms or 0
    hi = FOREVER_MS if window.end_ms is None else window.end_ms + 1
    if not rows:
        return lo, hi
    if window.start_ms is None or series.endpoint.nearest_end:
        return rows[0].open_ms, hi
    return lo, rows[-1].open_ms + 1
