"""Names of dump files, and when each is published (docs/sim.md#dump-files). Pure.

`data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip`, and beside it the same name with `.CHECKSUM`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from mdcache.sim.config import DAY_MS, Market
from mdcache.sim.prices.grid import FUTURES_INTERVALS, SPOT_INTERVALS

CHECKSUM = ".CHECKSUM"
MONTH_INTERVAL = "1mo"  # REST: 1M
_HOUR_MS = DAY_MS // 24
_PUBLISHED_HOUR_MS = 4 * _HOUR_MS  # "several hours" after a day's end, as freqtrade's users saw
_MONTHLY_ONLY = frozenset({"3d", "1w", "1M"})
_FOLDERS: dict[str, Market] = {"spot": "spot", "futures/um": "usdm", "futures/cm": "coinm"}
_KINDS = frozenset({"klines", "indexPriceKlines", "markPriceKlines", "premiumIndexKlines"})
_PATH = re.compile(
    r"data/(?P<folder>spot|futures/um|futures/cm)/(?P<period>daily|monthly)/(?P<kind>\w+)/(?P<symbol>\w+)/(?P<size>\w+)"
    r"/(?P=symbol)-(?P=size)-(?P<year>[0-9]{4})-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2}))?\.zip"
)


@dataclass(frozen=True, slots=True)
class DumpName:
    """One file: the candles that opened in [start_ms, end_ms). `stem`: its name without `.zip`."""

    stem: str
    market: Market
    kind: str
    symbol: str
    interval: str
    start_ms: int
    end_ms: int
    published_ms: int


def parse(path: str) -> DumpName | None:
    """Return the file of a path that begins with `data/`, or nothing if no such file can ever exist."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    market, size = _FOLDERS[found["folder"]], found["size"]
    interval = {MONTH_INTERVAL: "1M", "1M": ""}.get(size, size)
    monthly, day = found["period"] == "monthly", found["day"]
    known = SPOT_INTERVALS if market == "spot" else FUTURES_INTERVALS
    kinds = {"klines"} if market == "spot" else _KINDS
    if interval not in known or found["kind"] not in kinds or monthly == bool(day):
        return None
    if not monthly and interval in _MONTHLY_ONLY:
        return None
    try:
        first = date(int(found["year"]), int(found["month"]), int(day or 1))
    except ValueError:
        return None
    end = _next_month(first) if monthly else first + timedelta(days=1)
    stem = f"{found['symbol']}-{size}-{path[-11:-4] if monthly else path[-14:-4]}"
    published_ms = _ms(_first_monday(end) if monthly else end) + _PUBLISHED_HOUR_MS
    if interval == "3d":  # the last candle may end after that
        published_ms = max(published_ms, _ms(end) + 3 * DAY_MS)
    return DumpName(stem, market, found["kind"], found["symbol"], interval, _ms(first), _ms(end), published_ms)


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _first_monday(month: date) -> date:
    """Return the day on which the files of the month before are published: README of binance-public-data."""
    return month + timedelta(days=-month.weekday() % 7)


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
