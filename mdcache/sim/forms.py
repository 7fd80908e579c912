"""Which parameters each market-data path takes besides the klines' (BINANCE 1.3 to 1.5)."""

from collections.abc import Mapping
from dataclasses import dataclass

from mdcache.sim.config import Market
from mdcache.sim.routes import Endpoint


@dataclass(frozen=True, slots=True)
class Form:
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
_SPOT: dict[Endpoint, Form] = {  # rest-api.md
    "depth": Form(_SYMBOL, ("symbolStatus",), limit=100, most=5_000),
    "trades": Form(_SYMBOL, limit=500, most=1_000),
    "historicalTrades": Form(_SYMBOL, ("fromId",), limit=500, most=1_000),
    "aggTrades": Form(_SYMBOL, ("fromId", *_TIMES), limit=500, most=1_000),
    "avgPrice": Form(_SYMBOL),
    "ticker/24hr": Form(optional=("type", "symbolStatus"), one_of=_SYMBOLS),
    "ticker/tradingDay": Form(optional=("timeZone", "type", "symbolStatus"), one_of=_SYMBOLS, must=True),
    "ticker": Form(optional=("windowSize", "type", "symbolStatus"), one_of=_SYMBOLS, must=True),
    "ticker/price": Form(optional=("symbolStatus",), one_of=_SYMBOLS),
    "ticker/bookTicker": Form(optional=("symbolStatus",), one_of=_SYMBOLS),
    "executionRules": Form(one_of=(*_SYMBOLS, "symbolStatus")),
    "referencePrice": Form(_SYMBOL),
    "referencePrice/calculation": Form(_SYMBOL, ("symbolStatus",)),
}
_FUTURES: dict[Endpoint, Form] = {  # the pages of fapi and dapi
    "depth": Form(_SYMBOL, limit=500, most=1_000),
    "trades": Form(_SYMBOL, limit=500, most=1_000),
    "aggTrades": Form(_SYMBOL, ("fromId", *_TIMES), limit=500, most=1_000),
    "fundingInfo": Form(),
    "openInterest": Form(_SYMBOL),
    "constituents": Form(_SYMBOL),
}
_BY_SYMBOL: tuple[Endpoint, ...] = (
    "premiumIndex", "ticker/24hr", "ticker/price", "ticker/bookTicker", "indexInfo", "assetIndex",
    "insuranceBalance", "symbolAdlRisk",
)  # fmt: skip
_BY_PAIR: tuple[Endpoint, ...] = ("premiumIndex", "ticker/24hr", "ticker/price", "ticker/bookTicker")
_USDM: dict[Endpoint, Form] = {
    **_FUTURES,
    **dict.fromkeys(_BY_SYMBOL, Form(optional=_SYMBOL)),
    "rpiDepth": Form(_SYMBOL, limit=1_000, most=1_000),
    "fundingRate": Form(optional=("symbol", *_TIMES), limit=100, most=1_000),
    "tradingSchedule": Form(),
}
_COINM: dict[Endpoint, Form] = {
    **_FUTURES,
    **dict.fromkeys(_BY_PAIR, Form(one_of=_PAIRS)),
    "fundingRate": Form(_SYMBOL, _TIMES, limit=100, most=1_000),
}
_RATIOS: tuple[Endpoint, ...] = (
    "topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio",
)  # fmt: skip
_OF_SYMBOL = Form(("symbol", "period"), _TIMES, limit=30, most=500)
_OF_CONTRACTS = Form(("pair", "contractType", "period"), _TIMES, limit=30, most=500)
_STATISTICS: dict[Endpoint, Form] = {
    "takerlongshortRatio": _OF_SYMBOL,
    "takerBuySellVol": _OF_CONTRACTS,
    "basis": _OF_CONTRACTS,
    "delivery-price": Form(("pair",)),
}
_USDM_STATISTICS: dict[Endpoint, Form] = {
    **_STATISTICS,
    **dict.fromkeys(_RATIOS, _OF_SYMBOL),
    "openInterestHist": _OF_SYMBOL,
}
_COINM_STATISTICS: dict[Endpoint, Form] = {
    **_STATISTICS,
    # the page of topLongShortAccountRatio says `symbol`, its answer and the SDK `pair`: either does
    **dict.fromkeys(_RATIOS, Form(("period",), _TIMES, one_of=_PAIRS, must=True, limit=30, most=500)),
    "openInterestHist": _OF_CONTRACTS,
}
FORMS: Mapping[Market, Mapping[Endpoint, Form]] = {
    "spot": _SPOT,
    "usdm": _USDM | _USDM_STATISTICS,
    "coinm": _COINM | _COINM_STATISTICS,
}
