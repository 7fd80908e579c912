"""Dump files: their names, the spans they cover, and which of them a span of a series needs. Pure.

Names and dates: docs/binance.md#dumps.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market

_FOLDERS = {Market.SPOT: "spot", Market.USDM: "futures/um", Market.COINM: "futures/cm"}
_NAMES = {"1M": "1mo"}  # intervals that have another name there
_MONTHLY_ONLY = frozenset({"3d", "1w", "1M"})  # their daily files are abandoned
_SYMBOL = re.compile(r"\w{1,50}")  # of any language; no name leads out of its folder
Span = tuple[int, int]  # [start, end) in milliseconds
_DAY = timedelta(days=1)
_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)
_OPENED = date(2017, 7, 1)  # Binance opened two weeks later
_PUBLISHED_AFTER_MS = _DAY_MS  # freqtrade, too, asks for no day before the next one has ended
_OVERDUE_MS = 45 * _DAY_MS  # a month's file comes within a week, and some days' files two weeks late
_ROW_BYTES = 256  # a printed row takes at most 170
_ZIP_SLACK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class DumpFile:
    """The klines of one symbol and interval, of the month that begins with `first`, or of that day (`daily`)."""

    market: Market
    symbol: str
    interval: str
    first: date
    daily: bool

    @property
    def name(self) -> str:
        """Its name, without folders."""
        period = self.first.isoformat() if self.daily else f"{self.first:%Y-%m}"
        return f"{self.symbol}-{self._interval_name}-{period}.zip"

    @property
    def path(self) -> str:
        """Its path on the dump host, without a slash in front."""
        period = "daily" if self.daily else "monthly"
        return f"data/{_FOLDERS[self.market]}/{period}/klines/{self.symbol}/{self._interval_name}/{self.name}"

    @property
    def span(self) -> Span:
        """The span [start, end) of its rows' open times, in milliseconds."""
        end = self.first + _DAY if self.daily else _next_month(self.first)
        return _ms(self.first), _ms(end)

    def closed_before(self, now_ms: int) -> int:
        """Return the moment before which a candle must have closed to be complete in the file, even past its span.

        A month's file is made on the first Monday of the next month, at the soonest.
        """
        end = self.first + _DAY if self.daily else _next_month(self.first)
        made = end if self.daily else end + timedelta(days=-end.weekday() % 7)
        return min(_ms(made), now_ms - _PUBLISHED_AFTER_MS)

    @property
    def max_rows(self) -> int:
        """The most rows it can have."""
        start, end = self.span
        return INTERVALS[self.interval].count(start, end - 1)

    @property
    def max_bytes(self) -> int:
        """The most bytes it can have, also inflated: no file that inflates without end is read to its end."""
        return self.max_rows * _ROW_BYTES + _ZIP_SLACK_BYTES

    @property
    def _interval_name(self) -> str:
        return _NAMES.get(self.interval, self.interval)

    def days(self) -> list["DumpFile"]:
        """Return the daily files of the same rows; none if there are no such files."""
        if self.daily or self.interval in _MONTHLY_ONLY:
            return []
        count = (_next_month(self.first) - self.first).days
        return [self._of_day(self.first + n * _DAY) for n in range(count)]

    def _of_day(self, day: date) -> "DumpFile":
        return DumpFile(self.market, self.symbol, self.interval, day, daily=True)


def is_symbol(text: str) -> bool:
    """Return whether `text` can be a symbol in a file's name."""
    return _SYMBOL.fullmatch(text) is not None


def is_overdue(file: DumpFile, now_ms: int) -> bool:
    """Return whether a missing file would have been published by now: the symbol had no candles then."""
    return file.span[1] < now_ms - _OVERDUE_MS


def files_for(
    market: Market, symbol: str, interval: str, since_ms: int, until_ms: int, now_ms: int
) -> Iterator[DumpFile]:
    """Yield the files that a span of one series needs, oldest first: of whole months, and then of days.

    Args:
        market: Where the symbol is traded.
        symbol: In upper case.
        interval: As in requests.
        since_ms: First open time.
        until_ms: Last open time.
        now_ms: Files of days that ended less than a day before are not expected yet.
    """
    last_ms = min(until_ms, now_ms - _PUBLISHED_AFTER_MS)
    month = max(_OPENED, _date(max(0, since_ms)).replace(day=1))
    while _ms(month) <= last_ms:
        file = DumpFile(market, symbol, interval, month, daily=False)
        if file.span[1] + _PUBLISHED_AFTER_MS <= now_ms:
            yield file
        else:
            for day in file.days():
                start, end = day.span
                if end > since_ms and start <= last_ms and end + _PUBLISHED_AFTER_MS <= now_ms:
                    yield day
        month = _next_month(month)


def _next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)


def _ms(day: date) -> int:
    return (day - _EPOCH).days * _DAY_MS


def _date(ms: int) -> date:
    return datetime.fromtimestamp(ms / 1000, UTC).date()
