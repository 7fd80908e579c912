"""The sixteen intervals: their lengths, nominal closes, and how many buckets fit into a span.

This module never computes where a row opens. Rows are found by the open time Binance printed, because old rows lie off
the grid and `3d` has a different phase for each symbol (docs/binance.md#three-day-phase).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_SECOND = 1_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_SHORTEST_MONTH = 28 * _DAY
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAR_MS = 253_370_764_800_000  # 9999-01-01: months from here on end beyond datetime's range


@dataclass(frozen=True, slots=True)
class Interval:
    """One interval. `length_ms` is exact except for `1M` (`months` = 1), where it is that of the shortest month."""

    name: str
    length_ms: int
    months: int = 0

    def next_open(self, open_ms: int, zone_ms: int = 0) -> int:
        """Return the nominal exclusive end of the bucket that opened at `open_ms`.

        `zone_ms`: the time zone's offset, which moves the calendar's months.
        """
        if not self.months or not 0 <= open_ms < _FAR_MS:
            return open_ms + self.length_ms
        local = _EPOCH + timedelta(milliseconds=open_ms + zone_ms)
        first = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        into_month = local - first
        following = (first + timedelta(days=32)).replace(day=1)
        return (following + into_month - _EPOCH) // timedelta(milliseconds=1) - zone_ms

    def count(self, from_ms: int, to_ms: int) -> int:
        """Return the greatest number of buckets that can open in `from_ms`..`to_ms` (inclusive), on any grid."""
        return 0 if to_ms < from_ms else (to_ms - from_ms) // self.length_ms + 1


INTERVALS: dict[str, Interval] = {  # Binance rest-api.md, "Kline/Candlestick chart intervals"
    name: Interval(name, length)
    for name, length in (
        ("1s", _SECOND),
        ("1m", _MINUTE),
        ("3m", 3 * _MINUTE),
        ("5m", 5 * _MINUTE),
        ("15m", 15 * _MINUTE),
        ("30m", 30 * _MINUTE),
        ("1h", _HOUR),
        ("2h", 2 * _HOUR),
        ("4h", 4 * _HOUR),
        ("6h", 6 * _HOUR),
        ("8h", 8 * _HOUR),
        ("12h", 12 * _HOUR),
        ("1d", _DAY),
        ("3d", 3 * _DAY),
        ("1w", 7 * _DAY),
    )
} | {"1M": Interval("1M", _SHORTEST_MONTH, months=1)}

SPOT_ONLY = frozenset({"1s"})  # fapi refuses it although one page lists it: four live tests, 2026-08 to 10
