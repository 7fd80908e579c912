"""What the admin token may order: the bodies of `/v1/admin/…`. Shapes only."""

from typing import Annotated, Literal

import msgspec

from mdcache.cache.warming import Order
from mdcache.exchange.markets import Family, Market


class Purge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which series to forget: all that match what is given."""

    market: Market | None = None
    symbol: str | None = None
    interval: str | None = None


class GateOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do with a family's gate; `seconds` only for closing it."""

    family: Family
    action: Literal["open", "close"]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=31_536_000)] | None = None


_Names = Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=50)]], msgspec.Meta(min_length=1)]
_Moment = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]  # 9999-12-31, in milliseconds


class WarmOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which series to read whole, by open time; up to now without `until_ms`."""

    market: Market
    symbols: _Names
    intervals: _Names
    since_ms: _Moment
    until_ms: _Moment | None = None

    def order(self) -> Order:
        """As the job takes it."""
        return Order(self.market, tuple(self.symbols), tuple(self.intervals), self.since_ms, self.until_ms)
