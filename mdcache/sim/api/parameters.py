"""Which parameters each market-data path takes besides the klines' (BINANCE 1.3 to 1.5)."""

from collections.abc import Mapping
from dataclasses import dataclass

from mdcache.sim.api.routes import Endpoint
from mdcache.sim.config import Market


@dataclass(frozen=True, slots=True)
class EndpointParameters:
    """The parameters of a path: those it needs, those it may have, and its limit's default and maximum.

    `one_of`: these exclude each other; `must`: one of them has to be sent.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    must: bool = False
    limit: int = 0
    most: int = 0

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every parameter the path reads."""
        return (*self.required, *self.optional, *self.one_of, *(("limit",) if self.most else ()))


_SYMBOL = ("symbol",)
_SYMBOLS = ("symbol", "symbols")
_PAIRS = ("symbol", "pair")
_TIMES = ("startTime", "endTime")
_SPOT: dict[Endpoint, EndpointParameters] = {  # rest-api.md
    "depth": EndpointParameters(_SYMBOL, ("symbolStatus",), limit=100, most=5_000),
    "trades": EndpointParameters(_SYMBOL, limit=500, most=1_000),
    "historicalTrades": EndpointParameters(_SYMBOL, ("fromId",), limit=500, most=1_000),
    "aggTrades": EndpointParameters(_SYMBOL, ("fromId", *_TIMES), limit=500, most=1_000),
    "avgPrice": EndpointParameters(_SYMBOL),
    "ticker/24hr": EndpointParameters(optional=("type", "symbolStatus"), one_of=_SYMBOLS),
    "ticker/tradingDay": EndpointParameters(optional=("timeZone", "type", "symbolStatus"), one_of=_SYMBOLS, must=True),
    "ticker": EndpointParameters(optional=("windowSize", "type", "symbolStatus"), one_of=_SYMBOLS, must=True),
    "ticker/price": EndpointParameters(optional=("symbolStatus",), one_of=_SYMBOLS),
    "ticker/bookTicker": EndpointParameters(optional=("symbolStatus",), one_of=_SYMBOLS),
    "executionRules": EndpointParameters(one_of=(*_SYMBOLS, "symbolStatus")),
    "referencePrice": EndpointParameters(_SYMBOL),
    "referencePrice/calculation": EndpointParameters(_SYMBOL, ("symbolStatus",)),
}
_FUTURES: dict[Endpoint, EndpointParameters] = {  # the pages of fapi and dapi
    "depth": EndpointParameters(_SYMBOL, limit=500, most=1_000),
    "trades": EndpointParameters(_SYMBOL, limit=500, most=1_000),
    "aggTrades": EndpointParameters(_SYMBOL, ("fromId", *_TIMES), limit=500, most=1_000),
    "fundingInfo": EndpointParameters(),
    "openInterest": EndpointParameters(_SYMBOL),
    "constituents": EndpointParameters(_SYMBOL),
}
_BY_SYMBOL: tuple[Endpoint, ...] = (
    "premiumIndex", "ticker/24hr", "ticker/price", "ticker/bookTicker", "indexInfo", "assetIndex",
    "insuranceBalance", "symbolAdlRisk",
)  # fmt: skip
_BY_PAIR: tuple[Endpoint, ...] = ("premiumIndex", "ticker/24hr", "ticker/price", "ticker/bookTicker")
_USDM: dict[Endpoint, EndpointParameters] = {
    **_FUTURES,
    **dict.fromkeys(_BY_SYMBOL, EndpointParameters(optional=_SYMBOL)),
    "rpiDepth": EndpointParameters(_SYMBOL, limit=1_000, most=1_000),
    "fundingRate": EndpointParameters(optional=("symbol", *_TIMES), limit=100, most=1_000),
    "tradingSchedule": EndpointParameters(),
}
_COINM: dict[Endpoint, EndpointParameters] = {
    **_FUTURES,
    **dict.fromkeys(_BY_PAIR, EndpointParameters(one_of=_PAIRS)),
    "fundingRate": EndpointParameters(_SYMBOL, _TIMES, limit=100, most=1_000),
}
_RATIOS: tuple[Endpoint, ...] = (
    "topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio",
)  # fmt: skip
_OF_SYMBOL = EndpointParameters(("symbol", "period"), _TIMES, limit=30, most=500)
_OF_CONTRACTS = EndpointParameters(("pair", "contractType", "period"), _TIMES, limit=30, most=500)
_STATISTICS: dict[Endpoint, EndpointParameters] = {
    "takerlongshortRatio": _OF_SYMBOL,
    "takerBuySellVol": _OF_CONTRACTS,
    "basis": _OF_CONTRACTS,
    "delivery-price": EndpointParameters(("pair",)),
}
_USDM_STATISTICS: dict[Endpoint, EndpointParameters] = {
    **_STATISTICS,
    **dict.fromkeys(_RATIOS, _OF_SYMBOL),
    "openInterestHist": _OF_SYMBOL,
}
_COINM_STATISTICS: dict[Endpoint, EndpointParameters] = {
    **_STATISTICS,
    # the page of topLongShortAccountRatio says `symbol`, its answer and the SDK `pair`: either does
    **dict.fromkeys(_RATIOS, EndpointParameters(("period",), _TIMES, one_of=_PAIRS, must=True, limit=30, most=500)),
    "openInterestHist": _OF_CONTRACTS,
}
PARAMETERS: Mapping[Market, Mapping[Endpoint, EndpointParameters]] = {
    "spot": _SPOT,
    "usdm": _USDM | _USDM_STATISTICS,
    "coinm": _COINM | _COINM_STATISTICS,
}
