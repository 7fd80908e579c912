"""The weight of each request, from its path and its query as sent, right or wrong.

For sources see docs/binance.md#spot-endpoints, #usdm-endpoints and #coinm-endpoints.
"""

import json
from collections.abc import Mapping
from typing import Literal

from mdcache.sim.api.query import is_coin_name, parse
from mdcache.sim.api.routes import ApiRoute, Endpoint

Table = Literal["documented", "measured"]
Ladder = tuple[tuple[int, int], ...]  # (limits below, weight), rising

# (limits below, weight): Kline-Candlestick-Data pages of fapi and dapi: [1,100) [100,500) [500,1000] >1000
DOCUMENTED_LADDER: Ladder = ((100, 1), (500, 2), (1001, 5))
# the same ladder as measured on fapi, 2026-10-07: <=100, <=500, <=1000, more
MEASURED_LADDER: Ladder = ((101, 1), (501, 2), (1001, 5))
LADDER_TOP = 10
ABSENT_LIMIT_WEIGHT = 5  # documented by the default of 500, and measured on fapi 2026-10-07

SPOT_DEPTH: Ladder = ((101, 5), (501, 25), (1001, 50))  # rest-api.md, GET /api/v3/depth
SPOT_DEPTH_TOP = 250
FUTURES_DEPTH = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}  # Order-Book pages of fapi and dapi
DEPTH_REFUSED = 1  # limit=7 cost 1 on fapi, measured 2026-10-07; so did no limit at all
SPOT_WEIGHTS: Mapping[Endpoint, int] = {  # rest-api.md, where the weight does not depend on the query
    "ping": 1,
    "time": 1,
    "exchangeInfo": 20,
    "klines": 2,
    "uiKlines": 2,
    "trades": 25,
    "historicalTrades": 25,
    "aggTrades": 4,
    "avgPrice": 2,
    "referencePrice": 2,
    "referencePrice/calculation": 2,
}
FUTURES_WEIGHTS: Mapping[Endpoint, tuple[int, int]] = {  # with a symbol, without: pages of fapi and dapi
    "rpiDepth": (20, 20),
    "trades": (5, 5),
    "aggTrades": (20, 20),
    "premiumIndex": (1, 10),
    "ticker/24hr": (1, 40),
    "ticker/price": (1, 2),
    "ticker/bookTicker": (2, 5),
    "assetIndex": (1, 10),
    "constituents": (2, 2),
    "tradingSchedule": (5, 5),
}
COINM_WEIGHTS: Mapping[Endpoint, tuple[int, int]] = {"premiumIndex": (10, 10), "constituents": (1, 1)}
MEASURED_WEIGHTS: Mapping[Endpoint, tuple[int, int]] = {  # fapi, 2026-08-01, where it was not as documented
    "indexInfo": (1, 10),
    "constituents": (1, 1),
    "insuranceBalance": (1, 40),
}
UNKNOWN_FUTURES_WEIGHT = 1  # of a path that does not exist or needs a key (assumed)
_MANY = 101  # symbols from which ticker/24hr costs as much as all
_SOME = 21


def weight(route: ApiRoute, query: str, table: Table) -> int:
    """Return the weight of a request; `table` chooses between the documented and the measured one on futures."""
    values = dict(parse(query))
    if route.market == "spot":
        return _spot(route.endpoint, values)
    if route.bucket == "statistics":
        return int(is_coin_name(values))  # 1 on coinm, 0 on usdm: Open-Interest-Statistics pages
    if route.bucket == "funding":
        return 0  # Get-Funding-Rate-Info page; its bucket counts instead
    limit = values.get("limit")
    if route.is_klines:
        return _klines(limit, table)
    if route.endpoint == "depth":
        return _futures_depth(limit, table)
    found = FUTURES_WEIGHTS.get(route.endpoint, (1, 1))
    if route.market == "coinm":
        found = COINM_WEIGHTS.get(route.endpoint, found)
    elif table == "measured":
        found = MEASURED_WEIGHTS.get(route.endpoint, found)
    return found[0] if values.get("symbol") else found[1]


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _step(limit: int, ladder: Ladder, top: int) -> int:
    return next((cost for below, cost in ladder if limit < below), top)


def _klines(limit: str | None, table: Table) -> int:
    asked = _number(limit)
    if asked is None:
        return ABSENT_LIMIT_WEIGHT
    return _step(asked, DOCUMENTED_LADDER if table == "documented" else MEASURED_LADDER, LADDER_TOP)


def _futures_depth(limit: str | None, table: Table) -> int:
    if limit is None:
        return FUTURES_DEPTH[500] if table == "documented" else DEPTH_REFUSED
    return FUTURES_DEPTH.get(_number(limit) or 0, DEPTH_REFUSED)


def _spot(endpoint: Endpoint, values: Mapping[str, str]) -> int:
    count = 1 if "symbol" in values else _count(values.get("symbols"))
    match endpoint:
        case "depth":
            asked = _number(values.get("limit"))
            return _step(100 if asked is None else asked, SPOT_DEPTH, SPOT_DEPTH_TOP)
        case "ticker" | "ticker/tradingDay":
            return min(4 * max(1, count), 200)
        case "ticker/price" | "ticker/bookTicker":
            return 2 if "symbol" in values else 4
        case "ticker/24hr":
            if not 0 < count < _MANY:
                return 80
            return 2 if count < _SOME else 40
        case "executionRules":
            return min(2 * count, 40) if count else 40
        case _:
            return SPOT_WEIGHTS[endpoint]


def _count(symbols: str | None) -> int:
    """Count the symbols in a JSON list; 0 for none and for nonsense."""
    try:
        names = json.loads(symbols or "[]")
    except (ValueError, RecursionError):
        return 0
    return len(names) if isinstance(names, list) else 0
