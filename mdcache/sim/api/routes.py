"""The paths of this exchange, and those for which it wants a key (docs/binance.md)."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from mdcache.sim.config import Bucket, Market

Klines = Literal["klines", "uiKlines", "continuousKlines", "indexPriceKlines", "markPriceKlines", "premiumIndexKlines"]
Statistics = Literal[
    "openInterestHist", "topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio",
    "takerlongshortRatio", "takerBuySellVol", "basis", "delivery-price",
]  # fmt: skip
Endpoint = (
    Klines
    | Statistics
    | Literal[
        "ping", "time", "exchangeInfo",
        "depth", "rpiDepth", "trades", "historicalTrades", "aggTrades", "avgPrice",
        "ticker", "ticker/24hr", "ticker/tradingDay", "ticker/price", "ticker/bookTicker",
        "executionRules", "referencePrice", "referencePrice/calculation",
        "premiumIndex", "fundingRate", "fundingInfo", "openInterest", "indexInfo", "assetIndex", "constituents",
        "insuranceBalance", "symbolAdlRisk", "tradingSchedule",
    ]
)  # fmt: skip
Usage = Literal["shown", "absent", "minus_one", "own"]  # what the usage header of a path is worth

KLINES: tuple[Klines, ...] = get_args(Klines)
STATISTICS: tuple[Statistics, ...] = get_args(Statistics)
PREFIXES: dict[Market, str] = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}
STATISTICS_PREFIX = "/futures/data/"
_COMMON: tuple[Endpoint, ...] = (
    "ping", "time", "exchangeInfo", "depth", "trades", "aggTrades", "ticker/24hr", "ticker/price", "ticker/bookTicker",
)  # fmt: skip
_FUTURES: tuple[Endpoint, ...] = (
    *_COMMON, *(one for one in KLINES if one != "uiKlines"), "premiumIndex", "fundingRate", "fundingInfo",
    "openInterest", "constituents",
)  # fmt: skip
_ENDPOINTS: dict[Market, tuple[Endpoint, ...]] = {
    "spot": (
        *_COMMON, "klines", "uiKlines", "historicalTrades", "avgPrice", "ticker", "ticker/tradingDay",
        "executionRules", "referencePrice", "referencePrice/calculation",
    ),
    "usdm": (
        *_FUTURES, "rpiDepth", "indexInfo", "assetIndex", "insuranceBalance", "symbolAdlRisk", "tradingSchedule",
    ),
    "coinm": _FUTURES,
}  # fmt: skip
# Paths that ask for a key or a signature; the heads of what rest-api.md and the fapi and dapi pages list.
_KEYED = re.compile(
    r"/api/v3/(account|allOrder|allOrders|allOrderList|cancelReplace|historicalBlockTrades|my[A-Z]|openOrder|order"
    r"|rateLimit/order|sor/|userDataStream|userListenToken)"
    r"|/[fd]api/v[1-3]/(account|adlQuantile|algo|allOrders|apiReferral|apiTradingStatus|assetTransfer|balance"
    r"|batchOrders|commissionRate|countdownCancelAll|forceOrders|historicalTrades|income|leverage|listenKey"
    r"|marginType|multiAssetsMargin|openAlgoOrders|openOrder|openOrders|order|pmAccountInfo|pmExchangeInfo|position"
    r"|rateLimit|symbolConfig|trade/|userTrades)"
)


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """A known path. `bucket`: its requests are counted apart; `usage`: what the usage header says there."""

    market: Market
    endpoint: Endpoint
    bucket: Bucket | None = None
    usage: Usage = "shown"

    @property
    def is_klines(self) -> bool:
        """Tell whether the path answers with candles."""
        return self.endpoint in KLINES


def _routes() -> dict[str, ApiRoute]:
    found = {
        PREFIXES[market] + endpoint: ApiRoute(market, endpoint)
        for market, endpoints in _ENDPOINTS.items()
        for endpoint in endpoints
    }
    found["/fapi/v1/trades"] = ApiRoute("usdm", "trades", usage="minus_one")  # measured 2026-08-01
    found["/fapi/v1/ticker/bookTicker"] = ApiRoute("usdm", "ticker/bookTicker", usage="own")
    found["/fapi/v2/ticker/price"] = ApiRoute("usdm", "ticker/price", usage="own")
    found["/fapi/v1/fundingRate"] = ApiRoute("usdm", "fundingRate", bucket="funding", usage="absent")
    found["/fapi/v1/fundingInfo"] = ApiRoute("usdm", "fundingInfo", bucket="funding", usage="absent")
    for endpoint in STATISTICS:
        found[STATISTICS_PREFIX + endpoint] = ApiRoute("usdm", endpoint, bucket="statistics", usage="absent")
    return found


ROUTES = _routes()


def market_of(path: str) -> Market | None:
    """Return the market to which a path belongs, known or not."""
    if path.startswith(("/fapi/", "/futures/")):
        return "usdm"
    if path.startswith("/dapi/"):
        return "coinm"
    return "spot" if path.startswith("/api/") else None


def is_keyed(path: str) -> bool:
    """Tell whether a path is answered only to clients with a key."""
    return _KEYED.match(path) is not None
