"""The parameters of each path (docs/binance.md#query-rules, rest-api.md and the pages of fapi and dapi)."""

from collections.abc import Mapping
from dataclasses import dataclass

from mdcache.sim.config import Market


@dataclass(frozen=True, slots=True)
class EndpointParameters:
    """The parameters of a path: those it needs, those it may have, and its limit's default and maximum.

    `one_of`: these exclude each other; `one_needed`: one of them has to be sent. `statistics`: the path is one of
    `/futures/data/`.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    one_needed: bool = False
    limit: int = 0
    most: int = 0
    statistics: bool = False

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every parameter that the path reads."""
        return (*self.required, *self.optional, *self.one_of, *(("limit",) if self.most else ()))


FUTURES_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)  # Order-Book pages of fapi and dapi
_P = EndpointParameters
_SYMBOL = ("symbol",)
_SYMBOLS = ("symbol", "symbols")
_PAIRS = ("symbol", "pair")
_TIMES = ("startTime", "endTime")
_CANDLES = ("symbol", "interval")
_TRADES = _P(_SYMBOL, limit=500, most=1_000)
_AGGREGATES = _P(_SYMBOL, ("fromId", *_TIMES), limit=500, most=1_000)
_SPOT_KLINES = _P(_CANDLES, (*_TIMES, "timeZone"), limit=500, most=1_000)
_FUTURES_KLINES = _P(_CANDLES, _TIMES, limit=500, most=1_500)
_SPOT: dict[str, EndpointParameters] = {
    "ping": _P(),
    "time": _P(),
    "exchangeInfo": _P(optional=("permissions", "showPermissionSets", "symbolStatus"), one_of=_SYMBOLS),
    "klines": _SPOT_KLINES,
    "uiKlines": _SPOT_KLINES,
    "depth": _P(_SYMBOL, ("symbolStatus",), limit=100, most=5_000),
    "trades": _TRADES,
    "historicalTrades": _P(_SYMBOL, ("fromId",), limit=500, most=1_000),
    "aggTrades": _AGGREGATES,
    "avgPrice": _P(_SYMBOL),
    "ticker/24hr": _P(optional=("type", "symbolStatus"), one_of=_SYMBOLS),
    "ticker/tradingDay": _P(optional=("timeZone", "type", "symbolStatus"), one_of=_SYMBOLS, one_needed=True),
    "ticker": _P(optional=("windowSize", "type", "symbolStatus"), one_of=_SYMBOLS, one_needed=True),
    "ticker/price": _P(optional=("symbolStatus",), one_of=_SYMBOLS),
    "ticker/bookTicker": _P(optional=("symbolStatus",), one_of=_SYMBOLS),
    "executionRules": _P(one_of=(*_SYMBOLS, "symbolStatus")),
    "referencePrice": _P(_SYMBOL),
    "referencePrice/calculation": _P(_SYMBOL, ("symbolStatus",)),
    "system/status": _P(),
}
_BY_SYMBOL = _P(optional=_SYMBOL)
_OF_SYMBOL = _P(("symbol", "period"), _TIMES, limit=30, most=500, statistics=True)
_OF_CONTRACTS = _P(("pair", "contractType", "period"), _TIMES, limit=30, most=500, statistics=True)
_FUTURES: dict[str, EndpointParameters] = {
    "ping": _P(),
    "time": _P(),
    "exchangeInfo": _P(),
    "klines": _FUTURES_KLINES,
    "continuousKlines": _P(("pair", "contractType", "interval"), _TIMES, limit=500, most=1_500),
    "indexPriceKlines": _P(("pair", "interval"), _TIMES, limit=500, most=1_500),
    "markPriceKlines": _FUTURES_KLINES,
    "premiumIndexKlines": _FUTURES_KLINES,
    "depth": _P(_SYMBOL, limit=500, most=1_000),
    "trades": _TRADES,
    "aggTrades": _AGGREGATES,
    "fundingInfo": _P(),
    "openInterest": _P(_SYMBOL),
    "constituents": _P(_SYMBOL),
    "takerlongshortRatio": _OF_SYMBOL,
    "takerBuySellVol": _OF_CONTRACTS,
    "basis": _OF_CONTRACTS,
    "delivery-price": _P(("pair",), statistics=True),
}
_USDM: dict[str, EndpointParameters] = {
    "premiumIndex": _BY_SYMBOL,
    "ticker/24hr": _BY_SYMBOL,
    "ticker/price": _BY_SYMBOL,
    "ticker/bookTicker": _BY_SYMBOL,
    "indexInfo": _BY_SYMBOL,
    "assetIndex": _BY_SYMBOL,
    "insuranceBalance": _BY_SYMBOL,
    "symbolAdlRisk": _BY_SYMBOL,
    "rpiDepth": _P(_SYMBOL, limit=1_000, most=1_000),
    "fundingRate": _P(optional=("symbol", *_TIMES), limit=100, most=1_000),
    "tradingSchedule": _P(),
    "convert/exchangeInfo": _P(optional=("fromAsset", "toAsset")),
    "openInterestHist": _OF_SYMBOL,
    "topLongShortAccountRatio": _OF_SYMBOL,
    "topLongShortPositionRatio": _OF_SYMBOL,
    "globalLongShortAccountRatio": _OF_SYMBOL,
}
_BY_PAIR = _P(one_of=_PAIRS)
# the page of topLongShortAccountRatio says `symbol`, its answer and the SDK `pair`: both are accepted
_RATIO = _P(("period",), _TIMES, one_of=_PAIRS, one_needed=True, limit=30, most=500, statistics=True)
_COINM: dict[str, EndpointParameters] = {
    "premiumIndex": _BY_PAIR,
    "ticker/24hr": _BY_PAIR,
    "ticker/price": _BY_PAIR,
    "ticker/bookTicker": _BY_PAIR,
    "fundingRate": _P(_SYMBOL, _TIMES, limit=100, most=1_000),
    "openInterestHist": _OF_CONTRACTS,
    "topLongShortAccountRatio": _RATIO,
    "topLongShortPositionRatio": _RATIO,
    "globalLongShortAccountRatio": _RATIO,
}
PARAMETERS: Mapping[Market, Mapping[str, EndpointParameters]] = {
    "spot": _SPOT,
    "usdm": _FUTURES | _USDM,
    "coinm": _FUTURES | _COINM,
}
