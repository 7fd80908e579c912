"""The paths of the exchange, and which of them need a key (docs/binance.md#endpoints)."""

import re
from dataclasses import dataclass, replace
from typing import Literal

from mdcache.sim.api.parameters import PARAMETERS
from mdcache.sim.config import Bucket, Market

Usage = Literal["shown", "absent", "minus_one", "own"]  # what the usage header of a path reports

PREFIXES: dict[Market, str] = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}
STATISTICS_PREFIX = "/futures/data/"
# Paths that need a key or a signature: the first parts of those on rest-api.md and the fapi and dapi pages.
_KEYED = re.compile(
    r"/api/v3/(account|allOrder|allOrders|allOrderList|cancelReplace|historicalBlockTrades|my[A-Z]|openOrder|order"
    r"|rateLimit/order|sor/|userDataStream|userListenToken)"
    r"|/[fd]api/v[1-3]/(account|adlQuantile|algo|allOrders|apiReferral|apiTradingStatus|assetTransfer|balance"
    r"|batchOrders|commissionRate|countdownCancelAll|forceOrders|historicalTrades|income|leverage|listenKey"
    r"|marginType|multiAssetsMargin|openAlgoOrders|openOrder|openOrders|order|pmAccountInfo|pmExchangeInfo|position"
    r"|rateLimit|symbolConfig|trade/|userTrades)|/sapi/"
)


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """A known path. `endpoint`: the path without the prefix of its market.

    `bucket`: its requests are counted separately; `usage`: what its usage header reports.
    """

    market: Market
    endpoint: str
    bucket: Bucket | None = None
    usage: Usage = "shown"

    @property
    def is_klines(self) -> bool:
        """Return whether the path answers with candles."""
        return self.endpoint.lower().endswith("klines")

    @property
    def is_statistics(self) -> bool:
        """Return whether both futures markets answer on this path."""
        return self.bucket == "statistics"


def _routes() -> dict[str, ApiRoute]:
    found: dict[str, ApiRoute] = {}
    for market, endpoints in PARAMETERS.items():
        for endpoint, takes in endpoints.items():
            if takes.statistics:
                found[STATISTICS_PREFIX + endpoint] = ApiRoute("usdm", endpoint, bucket="statistics", usage="absent")
            else:
                found[PREFIXES[market] + endpoint] = ApiRoute(market, endpoint)
    found["/sapi/v1/system/status"] = replace(found.pop("/api/v3/system/status"), usage="absent")
    found["/fapi/v1/trades"] = ApiRoute("usdm", "trades", usage="minus_one")  # measured 2026-08-01
    found["/fapi/v1/ticker/bookTicker"] = ApiRoute("usdm", "ticker/bookTicker", usage="own")
    found["/fapi/v2/ticker/price"] = ApiRoute("usdm", "ticker/price", usage="own")
    found["/fapi/v1/fundingRate"] = ApiRoute("usdm", "fundingRate", bucket="funding", usage="absent")
    found["/fapi/v1/fundingInfo"] = ApiRoute("usdm", "fundingInfo", bucket="funding", usage="absent")
    return found


ROUTES = _routes()


def market_of(path: str) -> Market | None:
    """Return the market of a path, known or not."""
    if path.startswith(("/fapi/", "/futures/")):
        return "usdm"
    if path.startswith("/dapi/"):
        return "coinm"
    return "spot" if path.startswith(("/api/", "/sapi/")) else None


def is_keyed(path: str) -> bool:
    """Return whether a path needs a key."""
    return _KEYED.match(path) is not None
