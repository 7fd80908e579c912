"""The rows of a dump file's text, as REST prints them (docs/design.md#dumps). Pure.

Each row is printed as JSON and passes the checks of `exchange/rows.py`, as a reply does. A line that can't be such a
row is left out, so that its bucket stays unknown.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from mdcache.background_work import give_way
from mdcache.dumps.files import DumpFile
from mdcache.errors import InvalidBody
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from mdcache.exchange.rows import COLUMNS, ExpectedRows, Row, read_page

_LINES_AT_ONCE = 250  # about a millisecond
_PLAIN = b"0123456789.-,"
_OPEN_TIME, _CLOSE_TIME, _UNUSED = 0, 6, 11
_DECIMAL_COLUMNS = (1, 2, 3, 4, 5, 7, 9, 10)
_SPOT_DECIMALS = 8  # docs/binance.md#kline-row; futures have as many as their symbol
_MS_DIGITS, _US_DIGITS = 13, 16  # of a time from 2001 to 2286: spot's files are in microseconds since 2025
_ROW = b'[%b,"%b","%b","%b","%b","%b",%b,"%b",%b,"%b","%b","%b"]'


class CsvRows:
    """Reads the rows of one file. `refused`: how many lines so far were not whole candles."""

    def __init__(self, file: DumpFile, now_ms: int) -> None:
        start, end = file.span
        self._expected = ExpectedRows(INTERVALS[file.interval], start, end - 1, limit=0)
        self._decimals = [_SPOT_DECIMALS] * len(_DECIMAL_COLUMNS) if file.market is Market.SPOT else None
        self._newest_ms = -1
        self._closed_before_ms = file.closed_before(now_ms)
        self.refused = 0

    def read(self, pieces: Iterable[bytes]) -> Iterator[list[Row]]:
        """Yield rows by rising open time, some hundred at a time.

        Args:
            pieces: The text, in pieces of whole lines without the last line feed. The first line may be a header.
        """
        lines: list[bytes] = []
        first = True
        for piece in pieces:
            found = piece.replace(b"\r", b"").split(b"\n")
            if first and found[0].startswith(b"open_time"):
                del found[0]
            first = False
            lines += found
            while len(lines) >= _LINES_AT_ONCE:
                yield self._rows(lines[:_LINES_AT_ONCE])
                del lines[:_LINES_AT_ONCE]
        yield self._rows(lines)

    def _rows(self, lines: list[bytes]) -> list[Row]:
        """Return the rows in these lines, parsed all at once, or one by one if a line is no row."""
        give_way()
        if not lines:
            return []
        rows = self._try(lines)
        if rows is None or rows[0].open_ms <= self._newest_ms:
            rows = self._one_by_one(lines)
        while rows and rows[-1].close_ms >= self._closed_before_ms:
            rows.pop()
        if rows:
            self._newest_ms = rows[-1].open_ms
        self.refused += sum(map(bool, lines)) - len(rows)
        return rows

    def _one_by_one(self, lines: list[bytes]) -> list[Row]:
        """Return the lines that are rows and in order; of two that contradict each other, neither."""
        self._decimals = self._decimals or _usual_decimals(lines)
        kept: list[Row] = []
        doubtful: set[int] = set()
        for row in chain.from_iterable(self._try([line]) or () for line in lines):
            if row.open_ms <= self._newest_ms:
                continue
            while kept and kept[-1].open_ms > row.open_ms:
                kept.pop()
            if not kept or kept[-1].open_ms < row.open_ms:
                kept.append(row)
            elif kept[-1].raw != row.raw:
                doubtful.add(row.open_ms)
        return [row for row in kept if row.open_ms not in doubtful]

    def _try(self, lines: Sequence[bytes]) -> list[Row] | None:
        """Return the rows in these lines; `None` if not all of them are rows."""
        text, count = b",".join(lines), len(lines)
        cells = text.split(b",")
        if len(cells) != COLUMNS * count or text.translate(None, _PLAIN):
            return None
        decimals = [_decimals(cells[n::COLUMNS]) for n in _DECIMAL_COLUMNS]
        if -1 in decimals or decimals != (self._decimals or decimals) or {*cells[_UNUSED::COLUMNS]} != {b"0"}:
            return None
        for column, end in ((_OPEN_TIME, b"000"), (_CLOSE_TIME, b"999")):
            times = _in_ms(cells[column::COLUMNS], end)
            if times is None:
                return None
            cells[column::COLUMNS] = times
        body = b"[%b]" % b",".join([_ROW] * count) % tuple(cells)
        try:
            rows = read_page(body, replace(self._expected, limit=count)).rows
        except InvalidBody:
            return None
        self._decimals = decimals
        return rows


def _usual_decimals(lines: Iterable[bytes]) -> list[int] | None:
    """Return how many decimals each number mostly has: the others lack zeros, or are none."""
    rows = [cells for line in lines if len(cells := line.split(b",")) == COLUMNS]
    columns = [[_decimals(row[n : n + 1]) for row in rows] for n in _DECIMAL_COLUMNS]
    return [max(sorted({*each}, reverse=True), key=each.count) for each in columns] if rows else None


def _decimals(cells: Sequence[bytes]) -> int:
    """Return how many decimals all these numbers have; -1 if they differ, as REST never prints them."""
    point = cells[0].rfind(b".")
    dots = b",".join(cells).count(b".")
    if point < 0:
        return 0 if not dots else -1
    end = len(cells[0]) - point
    same = dots == len(cells) and {cell[-end : 1 - end] for cell in cells} == {b"."}
    return end - 1 if same and end > 1 else -1


def _in_ms(times: list[bytes], end: bytes) -> list[bytes] | None:
    """Return times, in milliseconds or microseconds by their digits, in milliseconds; `None` if they are neither."""
    lengths = {*map(len, times)}
    if lengths == {_MS_DIGITS}:
        return times
    if lengths != {_US_DIGITS} or {each[-3:] for each in times} != {end}:
        return None
    return [each[:-3] for each in times]
