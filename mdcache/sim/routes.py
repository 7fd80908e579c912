"""The paths this exchange knows and what each costs (BINANCE 1.3 to 1.5)."""

from dataclasses import dataclass
from typing import Literal

from mdcache.sim.config import Market

Endpoint = Literal["ping", "time", "exchangeInfo", "klines"]
KlineKind = Literal[
    "klines", "uiKlines", "continuousKlines", "indexPriceKlines", "markPriceKlines", "premiumIndexKlines"
]
PREFIXES: dict[Market, str] = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}
_FUTURES_KINDS: tuple[KlineKind, ...] = (
    "klines", "continuousKlines", "indexPriceKlines", "markPriceKlines", "premiumIndexKlines",
)  # fmt: skip
_SPOT_KINDS: tuple[KlineKind, ...] = ("klines", "uiKlines")

SPOT_WEIGHTS: dict[Endpoint, int] = {
    "ping": 1,  # weight 1: Binance rest-api.md, GET /api/v3/ping
    "time": 1,  # weight 1: Binance rest-api.md, GET /api/v3/time
    "exchangeInfo": 20,  # weight 20: Binance rest-api.md, GET /api/v3/exchangeInfo
    "klines": 2,  # weight 2, whatever the limit: Binance rest-api.md, GET /api/v3/klines
}
# (limits below, weight): Kline-Candlestick-Data pages of fapi and dapi: [1,100) [100,500) [500,1000] >1000
DOCUMENTED_LADDER = ((100, 1), (500, 2), (1001, 5))
# the same ladder as measured on fapi, 2026-10-07: <=100, <=500, <=1000, more
MEASURED_LADDER = ((101, 1), (501, 2), (1001, 5))
LADDER_TOP = 10
ABSENT_LIMIT_WEIGHT = 5  # documented by the default of 500, and measured on fapi 2026-10-07


@dataclass(frozen=True, slots=True)
class Route:
    """A known path; `kind` is set for kline paths."""

    market: Market
    endpoint: Endpoint
    kind: KlineKind | None = None


def _routes() -> dict[str, Route]:
    found: dict[str, Route] = {}
    for market, prefix in PREFIXES.items():
        found[prefix + "ping"] = Route(market, "ping")
        found[prefix + "time"] = Route(market, "time")
        found[prefix + "exchangeInfo"] = Route(market, "exchangeInfo")
        for kind in _SPOT_KINDS if market == "spot" else _FUTURES_KINDS:
            found[prefix + kind] = Route(market, "klines", kind)
    return found


ROUTES = _routes()


def market_of(path: str) -> Market | None:
    """The market a path belongs to, known or not."""
    if path.startswith(("/fapi/", "/futures/")):
        return "usdm"
    if path.startswith("/dapi/"):
        return "coinm"
    return "spot" if path.startswith("/api/") else None


def weight(route: Route, limit: str | None, table: Literal["documented", "measured"]) -> int:
    """What a request costs; `limit` is the parameter as sent, right or wrong."""
    if route.market == "spot":
        return SPOT_WEIGHTS[route.endpoint]
    if route.endpoint != "klines":
        return 1  # weight 1: Binance fapi and dapi pages of ping, time and exchangeInfo
    if limit is None or not (limit.isascii() and limit.isdigit()):
        return ABSENT_LIMIT_WEIGHT
    for below, cost in DOCUMENTED_LADDER if table == "documented" else MEASURED_LADDER:
        if int(limit) < below:
            return cost
    return LADDER_TOP
