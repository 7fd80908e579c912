"""The paths this exchange knows (BINANCE 1.3 to 1.5) and which of them need a key."""

import re
from dataclasses import dataclass
from typing import Literal

from mdcache.sim.config import Bucket, Market

KlineKind = Literal[
    "klines", "uiKlines", "continuousKlines", "indexPriceKlines", "markPriceKlines", "premiumIndexKlines"
]
Endpoint = Literal[
    "ping", "time", "exchangeInfo", "klines",
    "depth", "rpiDepth", "trades", "historicalTrades", "aggTrades", "avgPrice",
    "ticker", "ticker/24hr", "ticker/tradingDay", "ticker/price", "ticker/bookTicker",
    "executionRules", "referencePrice", "referencePrice/calculation",
    "premiumIndex", "fundingRate", "fundingInfo", "openInterest", "indexInfo", "assetIndex", "constituents",
    "insuranceBalance", "symbolAdlRisk", "tradingSchedule",
    "openInterestHist", "topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio",
    "takerlongshortRatio", "takerBuySellVol", "basis", "delivery-price",
]  # fmt: skip
Usage = Literal["shown", "absent", "minus_one", "own"]  # what the usage header tells: BINANCE 3.3

PREFIXES: dict[Market, str] = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}
STATISTICS_PREFIX = "/futures/data/"
_COMMON: tuple[Endpoint, ...] = (
    "ping", "time", "exchangeInfo", "depth", "trades", "aggTrades", "ticker/24hr", "ticker/price", "ticker/bookTicker",
)  # fmt: skip
_FUTURES: tuple[Endpoint, ...] = ("premiumIndex", "fundingRate", "fundingInfo", "openInterest", "constituents")
_ENDPOINTS: dict[Market, tuple[Endpoint, ...]] = {
    "spot": (
        *_COMMON, "historicalTrades", "avgPrice", "ticker", "ticker/tradingDay", "executionRules", "referencePrice",
        "referencePrice/calculation",
    ),
    "usdm": (
        *_COMMON, *_FUTURES, "rpiDepth", "indexInfo", "assetIndex", "insuranceBalance", "symbolAdlRisk",
        "tradingSchedule",
    ),
    "coinm": (*_COMMON, *_FUTURES),
}  # fmt: skip
_STATISTICS: tuple[Endpoint, ...] = (
    "openInterestHist", "topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio",
    "takerlongshortRatio", "takerBuySellVol", "basis", "delivery-price",
)  # fmt: skip
_SPOT_KINDS: tuple[KlineKind, ...] = ("klines", "uiKlines")
_FUTURES_KINDS: tuple[KlineKind, ...] = (
    "klines", "continuousKlines", "indexPriceKlines", "markPriceKlines", "premiumIndexKlines",
)  # fmt: skip
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
    """A known path; `kind` is set for kline paths.

    `bucket`: its requests are counted apart; `usage`: what the usage header is worth there.
    """

    market: Market
    endpoint: Endpoint
    kind: KlineKind | None = None
    bucket: Bucket | None = None
    usage: Usage = "shown"


def _routes() -> dict[str, ApiRoute]:
    found: dict[str, ApiRoute] = {}
    for market, prefix in PREFIXES.items():
        for endpoint in _ENDPOINTS[market]:
            found[prefix + endpoint] = ApiRoute(market, endpoint)
        for kind in _SPOT_KINDS if market == "spot" else _FUTURES_KINDS:
            found[prefix + kind] = ApiRoute(market, "klines", kind)
    found["/fapi/v1/trades"] = ApiRoute("usdm", "trades", usage="minus_one")  # measured 2026-08-01
    found["/fapi/v1/ticker/bookTicker"] = ApiRoute("usdm", "ticker/bookTicker", usage="own")
    found["/fapi/v2/ticker/price"] = ApiRoute("usdm", "ticker/price", usage="own")
    for endpoint in ("fundingRate", "fundingInfo"):
        found["/fapi/v1/" + endpoint] = ApiRoute("usdm", endpoint, bucket="funding", usage="absent")
    for endpoint in _STATISTICS:
        found[STATISTICS_PREFIX + endpoint] = ApiRoute("usdm", endpoint, bucket="statistics", usage="absent")
    return found


ROUTES = _routes()


def market_of(path: str) -> Market | None:
    """The market a path belongs to, known or not."""
    if path.startswith(("/fapi/", "/futures/")):
        return "usdm"
    if path.startswith("/dapi/"):
        return "coinm"
    return "spot" if path.startswith("/api/") else None


def is_keyed(path: str) -> bool:
    """Whether a path is answered only to those who have a key."""
    return _KEYED.match(path) is not None
