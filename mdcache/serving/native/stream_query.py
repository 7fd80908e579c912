"""Parse the query of `/v1/stream`, or raise a refusal in Binance's form."""

from collections.abc import Mapping
from dataclasses import dataclass

from mdcache.errors import Refusal
from mdcache.exchange import refusals
from mdcache.exchange.intervals import INTERVALS, SPOT_ONLY
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.parameters import read_parameters, symbol_name

MAX_SERIES = 1_000
SERIES_PARAMETERS = frozenset({"market", "symbols", "intervals"})
_KNOWN = SERIES_PARAMETERS | {"closed"}
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class SeriesChoice:
    """The series of a question: each symbol in each interval."""

    market: Market
    symbols: tuple[str, ...]
    intervals: tuple[str, ...]

    def key(self, interval: int, symbol: int) -> SeriesKey:
        """Return the series at these places."""
        return SeriesKey(self.market, "klines", self.symbols[symbol], "", self.intervals[interval])


@dataclass(frozen=True, slots=True)
class StreamQuery(SeriesChoice):
    """Which series are listened to; `closed`: only closed candles of them."""

    closed: bool


def parse_stream_query(query: str) -> StreamQuery:
    """Return what a raw query asks for; names that come twice count once. Raise `Refusal`."""
    sent = read_parameters(query, None)
    choice = parse_series(sent, _KNOWN)
    return StreamQuery(choice.market, choice.symbols, choice.intervals, parse_flag(sent, "closed"))


def parse_series(sent: Mapping[str, str], known: frozenset[str]) -> SeriesChoice:
    """Return the series that parameters name. Raise `Refusal`, also of parameters that are not `known`."""
    for name in ("market", "symbols", "intervals"):
        if name not in sent:
            raise refusals.missing(name)
    if unknown := sent.keys() - known:
        raise Refusal(400, -1104, f"Unknown parameter '{min(unknown)[:50]}'.")
    market = parse_market(sent)
    symbols = _names(sent["symbols"])
    intervals = _names(sent["intervals"])
    if len(symbols) * len(intervals) > MAX_SERIES:
        text = f"{len(symbols) * len(intervals)} series are more than {MAX_SERIES}: ask for some at a time."
        raise Refusal(400, -1130, text)
    served = [each for each in INTERVALS if market is Market.SPOT or each not in SPOT_ONLY]
    if invalid := [each for each in intervals if each not in served]:
        raise Refusal(400, -1120, f"Invalid interval '{invalid[0][:10]}': {market} has {', '.join(served)}.")
    upper = dict.fromkeys(symbol_name(each, "symbols", spot=market is Market.SPOT) for each in symbols)
    return SeriesChoice(market, tuple(upper), intervals)


def parse_market(sent: Mapping[str, str]) -> Market:
    """Return the market that parameters name. Raise `Refusal`."""
    if sent["market"] not in set(Market):
        raise Refusal(400, -1130, "'market' must be spot, usdm or coinm.")
    return Market(sent["market"])


def parse_flag(sent: Mapping[str, str], name: str) -> bool:
    """Return a parameter that is true or false; false if it was not sent. Raise `Refusal`."""
    flag = _FLAGS.get(sent.get(name, "false"))
    if flag is None:
        raise Refusal(400, -1130, f"'{name}' must be true or false.")
    return flag


def _names(value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value.split(",")))
