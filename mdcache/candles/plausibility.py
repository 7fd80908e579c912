"""Is this reply to be believed, held against what we have? Before a page is merged, it is doubted.

Rule: docs/design.md#tail-replacement.

Broken (`InvalidBody`): what no exchange would send, such as nothing where rows are known. Doubted (`Suspicion`): it
shows
less than we have; asked again at once, the same again is accepted, unless it looks like a replica that lags.
"""

from dataclasses import dataclass

from mdcache.candles.series import KnownRow, Series
from mdcache.candles.settling import ReadTime
from mdcache.candles.window import Window, WindowKind
from mdcache.errors import InvalidBody
from mdcache.exchange.rows import Row

LONGEST_SILENCE_MS = 3 * 86_400_000  # the longest outage known took a day and a half: 2018-02-08
MAX_VANISHED_ROWS = 10  # closed rows an exchange may take back at once; more are missing from the reply, not from it
_FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A reply shows less than we have. `lagging`: as the exchange stood before our own tail was read."""

    detail: str
    lagging: bool


def cut_at_silence(series: Series, rows: list[Row], window: Window) -> list[Row]:
    """`rows` without those before a silence longer than any outage, unless the window was aimed at it.

    A page of the newest rows has no lower end to hold its first rows against; a silence of days in it is
    read again by a window that ends just after it. `InvalidBody` if rows are known in that silence.
    """
    if window.start_ms is not None:
        return rows
    length_ms = series.interval.length_ms
    longest_ms = max(LONGEST_SILENCE_MS, 3 * length_ms) + length_ms
    for place in range(len(rows) - 1, 0, -1):
        before, after = rows[place - 1].open_ms, rows[place].open_ms
        if after - before > longest_ms and not (place == len(rows) - 1 and window.end_ms == after):
            if series.blocks.first_open(before + 1, after) is not None:
                raise InvalidBody("window", f"nothing in {before}..{after}, where rows are known")
            return rows[place:]
    return rows


def find_suspicion(series: Series, rows: list[Row], window: Window, read: ReadTime) -> Suspicion | None:
    """How the reply shows less than `series` has, if it does; `InvalidBody` where it can't be the exchange's word."""
    if read.as_of_ms < series.merged_as_of_ms:
        return None
    short = window.start_ms is None and rows and len(rows) < window.limit
    if short and series.blocks.last_open(0, rows[0].open_ms) is not None:
        return Suspicion(f"short, though rows before {rows[0].open_ms} are known", lagging=False)
    lo, hi = _expected_span(series, rows, window)
    known = series.known_between(lo, hi)
    if known and not rows:
        raise InvalidBody("empty", f"{len(known)} rows are known there")
    newest = series.newest_known() if hi == _FOREVER else -1
    if rows and hi == _FOREVER and rows[-1].open_ms < newest:
        if rows[-1].open_ms < series.newest_settled():
            raise InvalidBody("behind", f"ends at {rows[-1].open_ms}, and later rows are settled")
        return Suspicion(f"lacks our newest row {newest}", lagging=True)
    shown = {row.open_ms: row for row in rows}
    lacking = [row.open_ms for row in known if row.open_ms not in shown]
    if len(lacking) > MAX_VANISHED_ROWS:
        raise InvalidBody("lacks", f"{len(lacking)} rows that are known")
    if lacking:
        return Suspicion(f"lacks {lacking[0]}", lagging=False)
    fewer = [row.open_ms for row in known if _shows_fewer_trades(shown[row.open_ms], row)]
    return Suspicion(f"fewer trades in {fewer[0]}", lagging=fewer[0] == newest) if fewer else None


def _shows_fewer_trades(now: Row, before: KnownRow) -> bool:
    return now.raw != before.raw and now.trades < before.trades


def _expected_span(series: Series, rows: list[Row], window: Window) -> tuple[int, int]:
    """The span in which the reply should show every row we know: [lo, hi)."""
    lo = window.start_ms or 0
    hi = _FOREVER if window.end_ms is None else window.end_ms + 1
    full = len(rows) == window.limit
    if not rows:
        return lo, hi
    if window.start_ms is None or (full and window.kind is WindowKind.RANGE and series.endpoint.nearest_end):
        return rows[0].open_ms, hi
    return lo, rows[-1].open_ms + 1 if full else hi
