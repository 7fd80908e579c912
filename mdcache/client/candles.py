"""What the client returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mdcache.client import frames
from mdcache.client.errors import ClientError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class Candle(NamedTuple):
    """One candle. Times are milliseconds; numbers that Binance sends as text stay text."""

    market: str
    symbol: str
    interval: str
    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: int
    quote_volume: str
    trades: int
    taker_buy_volume: str
    taker_buy_quote_volume: str
    closed: bool

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What names it: two signals with the same key are one."""
        return self.market, self.symbol, self.interval, self.open_time


@dataclass(frozen=True, slots=True)
class Series:
    """The candles of one series. `as_of`: exchange time in milliseconds; `stale`: Binance can't be asked now."""

    market: str
    symbol: str
    interval: str
    as_of: int
    stale: bool
    etag: str
    rows: list[Candle]


@dataclass(frozen=True, slots=True)
class Candles:
    """An answer. `token`: to ask for what changed since; `errors`: by symbol and interval, of a partial one."""

    token: str
    series: tuple[Series, ...]
    errors: Mapping[tuple[str, str], ClientError]

    @property
    def rows(self) -> list[Candle]:
        """The candles of all series."""
        return [row for each in self.series for row in each.rows]

    def to_arrow(self, *, exact: bool = False) -> "pa.Table":
        """Return the rows as a table of Arrow: times in UTC, numbers as floats, or `exact` as `decimal128`."""
        return frames.to_arrow(self._columns(), exact=exact)

    def to_polars(self, *, exact: bool = False) -> "pl.DataFrame":
        """Return the rows as a frame of Polars: times in UTC, numbers as floats, or `exact` as `Decimal`."""
        return frames.to_polars(self._columns(), exact=exact)

    def to_pandas(self, *, exact: bool = False) -> "pd.DataFrame":
        """Return the rows as a frame of pandas: times in UTC, numbers as floats, or `exact` as `decimal.Decimal`."""
        return frames.to_pandas(self._columns(), exact=exact)

    def _columns(self) -> dict[str, list[Any]]:
        rows = self.rows
        return {name: [row[place] for row in rows] for place, name in enumerate(Candle._fields)}


@dataclass(frozen=True, slots=True)
class Price:
    """A price, as text, and the candle that it comes from."""

    price: str
    candle: Candle


@dataclass(frozen=True, slots=True)
class Event:
    """An event of `/v1/stream`: `candle`, `closed`, `revised`, `stale` or `fresh`.

    `candle`: `None` of the last two. `position`: after it.
    """

    name: str
    market: str
    symbol: str
    interval: str
    as_of: int
    candle: Candle | None
    position: str
