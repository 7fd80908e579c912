"""Parse the query of `/v1/stream`, or raise a refusal in Binance's form."""

from dataclasses import dataclass

from mdcache.errors import Refusal
from mdcache.exchange import refusals
from mdcache.exchange.intervals import INTERVALS, SPOT_ONLY
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.parameters import read_parameters, symbol_name

MAX_SERIES = 1_000
_KNOWN = frozenset({"market", "symbols", "intervals", "closed"})
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class StreamQuery:
    """Which series are listened to: each symbol in each interval; `closed`: only closed candles of them."""

    market: Market
    symbols: tuple[str, ...]
    intervals: tuple[str, ...]
    closed: bool

    def key(self, interval: int, symbol: int) -> SeriesKey:
        """Return the series at these places."""
        return SeriesKey(self.market, "klines", self.symbols[symbol], "", self.intervals[interval])


def parse_stream_query(query: str) -> StreamQuery:
    """Return what a raw query asks for; names that come twice count once. Raise `Refusal`."""
    sent = read_parameters(query, None)
    for name in ("market", "symbols", "intervals"):
        if name not in sent:
            raise refusals.missing(name)
    if unknown := sent.keys() - _KNOWN:
        raise Refusal(400, -1104, f"Unknown parameter '{min(unknown)[:50]}'.")
    if sent["market"] not in set(Market):
        raise Refusal(400, -1130, "'market' must be spot, usdm or coinm.")
    market = Market(sent["market"])
    symbols = _names(sent["symbols"])
    intervals = _names(sent["intervals"])
    if len(symbols) * len(intervals) > MAX_SERIES:
        raise Refusal(400, -1130, f"{len(symbols) * len(intervals)} series are more than {MAX_SERIES}.")
    for interval in intervals:
        if interval not in INTERVALS or (interval in SPOT_ONLY and market is not Market.SPOT):
            raise Refusal(400, -1120, f"Invalid interval '{interval[:10]}'.")
    upper = dict.fromkeys(symbol_name(each, "symbols", spot=market is Market.SPOT) for each in symbols)
    closed = _FLAGS.get(sent.get("closed", "false"))
    if closed is None:
        raise Refusal(400, -1130, "'closed' must be true or false.")
    return StreamQuery(market, tuple(upper), intervals, closed)


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.split(",")))
