"""The request bodies of `/v1/admin/…`."""

from typing import Annotated, Literal

import msgspec

from mdcache.cache.audit import MAX_ROWS
from mdcache.cache.warmup import WarmupRequest
from mdcache.exchange.markets import Family, Market


class PurgeCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which series to forget: all that match what is given."""

    market: Market | None = None
    symbol: str | None = None
    interval: str | None = None


class GateCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do with a family's gate; `seconds` only for closing it."""

    family: Family
    action: Literal["open", "close"]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=31_536_000)] | None = None


_Names = Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=50)]], msgspec.Meta(min_length=1)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]  # 9999-12-31, in milliseconds


class AuditCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many settled rows to read again, of all series or those that match what is given."""

    rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 5_000
    market: Market | None = None
    symbol: str | None = None
    interval: str | None = None


class WarmupCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which series to read, from and to which open time; up to now without `until_ms`.

    `dumps`: take them from the dump files in this folder of the daemon's machine, or at this URL.
    """

    market: Market
    symbols: _Names
    intervals: _Names
    since_ms: _Milliseconds
    until_ms: _Milliseconds | None = None
    dumps: Annotated[str, msgspec.Meta(pattern=r"^(https?://|/)", max_length=1000)] | None = None

    def request(self) -> WarmupRequest:
        """Return it as the warm-up takes it."""
        symbols, intervals = tuple(self.symbols), tuple(self.intervals)
        return WarmupRequest(self.market, symbols, intervals, self.since_ms, self.until_ms, self.dumps)
