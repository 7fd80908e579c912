"""What the admin token may order: the bodies of `/v1/admin/…`. Shapes only."""

from typing import Annotated, Literal

import msgspec

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
