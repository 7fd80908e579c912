"""The grid of buckets: intervals, time zones, Mondays, calendar months and the phase of `3d`.

Pure arithmetic on milliseconds since the Unix epoch (docs/binance.md#intervals, #alignment, #time-zone).
"""

import re
from dataclasses import dataclass
from datetime import date

from mdcache.sim.config import DAY_MS

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
LENGTHS_MS = {
    "1s": 1_000,
    **{f"{count}m": count * _MINUTE_MS for count in (1, 3, 5, 15, 30)},
    **{f"{count}h": count * _HOUR_MS for count in (1, 2, 4, 6, 8, 12)},
    **{f"{count}d": count * DAY_MS for count in (1, 3)},
    "1w": 7 * DAY_MS,
}
SPOT_INTERVALS = frozenset({*LENGTHS_MS, "1M"})
FUTURES_INTERVALS = SPOT_INTERVALS - {"1s"}  # measured four times in 2026: docs/binance.md#intervals
_MONDAY_MS = 4 * DAY_MS  # 1970-01-05
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_MINUTES_AN_HOUR = 60
_ZONE = re.compile(r"([+-]?)([0-9]{1,2})(?::([0-9]{2}))?")
_ZONE_RANGE_MS = (-12 * _HOUR_MS, 14 * _HOUR_MS)  # rest-api.md, GET /api/v3/klines: timeZone


@dataclass(frozen=True, slots=True)
class Grid:
    """Numbered buckets: `open_ms(index)` and, the other way, `index(ms)`.

    `length_ms` is `None` for months. `anchor_ms` is one bucket's open in local time; local time is UTC
    plus `offset_ms`.
    """

    length_ms: int | None
    anchor_ms: int
    offset_ms: int

    def index(self, ms: int) -> int:
        """Return the bucket that contains a moment."""
        local = ms + self.offset_ms
        if self.length_ms is not None:
            return (local - self.anchor_ms) // self.length_ms
        day = date.fromordinal(local // DAY_MS + _EPOCH_ORDINAL)
        return day.year * 12 + day.month - 1

    def open_ms(self, index: int) -> int:
        """Return a bucket's first millisecond."""
        if self.length_ms is not None:
            return self.anchor_ms + index * self.length_ms - self.offset_ms
        year, month = divmod(index, 12)
        return (date(year, month + 1, 1).toordinal() - _EPOCH_ORDINAL) * DAY_MS - self.offset_ms


def grid(interval: str, *, offset_ms: int = 0, listed_ms: int = 0) -> Grid:
    """Return the grid of an interval; only `3d` depends on the listing: it starts on the listing's local day."""
    if interval == "1M":
        return Grid(None, 0, offset_ms)
    anchor = 0
    if interval == "1w":
        anchor = _MONDAY_MS
    elif interval == "3d":
        anchor = (listed_ms + offset_ms) // DAY_MS * DAY_MS
    return Grid(LENGTHS_MS[interval], anchor, offset_ms)


def zone_ms(text: str) -> int | None:
    """Return a `timeZone` parameter as milliseconds east of UTC; `None` if Binance would refuse it."""
    match = _ZONE.fullmatch(text)
    if match is None:
        return None
    sign, hours, minutes = match.group(1), int(match.group(2)), int(match.group(3) or 0)
    offset = hours * _HOUR_MS + minutes * _MINUTE_MS
    if sign == "-":
        offset = -offset
    low, high = _ZONE_RANGE_MS
    return offset if minutes < _MINUTES_AN_HOUR and low <= offset <= high else None
