"""The weight charged for a request, from the path and the query as sent, valid or not.

For sources see docs/binance.md#spot-endpoints, #usdm-endpoints and #coinm-endpoints; where these contradict what was
measured, the documented weight counts.
"""

import json
from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from types import MappingProxyType

from mdcache.sim.api.query import is_coin_name, parse
from mdcache.sim.api.routes import ApiRoute

Ladder = tuple[tuple[int, int], ...]  # (limits below, weight), rising

KLINES: Ladder = ((100, 1), (500, 2), (1001, 5))  # Kline-Candlestick-Data pages of fapi and dapi
KLINES_TOP, KLINES_WITHOUT_LIMIT = 10, 5
DEFAULT_ROWS = 500
SPOT_DEPTH: Ladder = ((101, 5), (501, 25), (1001, 50))  # rest-api.md, GET /api/v3/depth
SPOT_DEPTH_TOP = 250
FUTURES_DEPTH = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}  # Order-Book pages of fapi and dapi
DEPTH_REFUSED = 1  # limit=7 cost 1 on fapi, measured 2026-10-07
SPOT_WEIGHTS: Mapping[str, int] = {  # rest-api.md, where the weight does not depend on the query
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
    "system/status": 1,
}
FUTURES_WEIGHTS: Mapping[str, tuple[int, int]] = {  # with a symbol, without: pages of fapi and dapi
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
    "convert/exchangeInfo": (20, 20),
}
COINM_WEIGHTS: Mapping[str, tuple[int, int]] = {"premiumIndex": (10, 10), "constituents": (1, 1)}
UNKNOWN_FUTURES_WEIGHT = 1  # the weight of a path that does not exist or needs a key (assumed)
_MANY = 101  # from this many symbols on, ticker/24hr costs as much as for all
_SOME = 21


def weight(route: ApiRoute, query: str, seen: Mapping[str, int] = MappingProxyType({})) -> int:
    """Return the weight of a request; `seen`: weights of some limits, which are played."""
    values = dict(parse(query))
    limit = _number(values.get("limit"))
    if seen:
        own = {int(each): weight(route, f"limit={each}") for each in seen}
        return _played(DEFAULT_ROWS if limit is None else limit, weight(route, query), seen, own)
    if route.market == "spot":
        return _spot(route.endpoint, values, limit)
    if route.is_statistics:
        return int(is_coin_name(values))  # 1 on coinm, 0 on usdm: Open-Interest-Statistics pages
    if route.bucket == "funding":
        return 0  # Get-Funding-Rate-Info page; its bucket counts instead
    if route.is_klines:
        return KLINES_WITHOUT_LIMIT if limit is None else _step(limit, KLINES, KLINES_TOP)
    if route.endpoint == "depth":
        return FUTURES_DEPTH.get(500 if "limit" not in values else limit or 0, DEPTH_REFUSED)
    found = FUTURES_WEIGHTS.get(route.endpoint, (1, 1))
    if route.market == "coinm":
        found = COINM_WEIGHTS.get(route.endpoint, found)
    return found[0] if values.get("symbol") else found[1]


def _played(limit: int, usual: int, seen: Mapping[str, int], own: Mapping[int, int]) -> int:
    """Return the weight of a limit, given those of some.

    Between two of them it lies between theirs, and exceeds the usual one as much as they do.
    """
    known = sorted((int(each), cost) for each, cost in seen.items())
    below = [each for each in known if each[0] <= limit][-1:]
    above = [each for each in known if each[0] >= limit][:1]
    more = max(Fraction(1), *(Fraction(cost, own[each]) for each, cost in (*below, *above)))
    low, high = (each[0][1] if each else None for each in (below, above))
    cost = ceil(usual * more)
    return max(low or 0, cost if high is None else min(high, cost))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _step(limit: int, ladder: Ladder, top: int) -> int:
    return next((cost for below, cost in ladder if limit < below), top)


def _spot(endpoint: str, values: Mapping[str, str], limit: int | None) -> int:
    count = 1 if "symbol" in values else _count(values.get("symbols"))
    match endpoint:
        case "depth":
            return _step(100 if limit is None else limit, SPOT_DEPTH, SPOT_DEPTH_TOP)
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
    """Count the symbols in a JSON list; 0 if it is empty or invalid."""
    try:
        names = json.loads(symbols or "[]")
    except (ValueError, RecursionError):
        return 0
    return len(names) if isinstance(names, list) else 0
