"""The table of served paths: what each is, and how it is answered.

Sources: docs/binance.md#spot-endpoints, #usdm-endpoints, #coinm-endpoints.
"""

from dataclasses import dataclass
from enum import StrEnum

from mdcache.exchange.endpoints import ENDPOINTS, Endpoint
from mdcache.exchange.exchange_info import EXCHANGE_INFO_ENDPOINTS
from mdcache.exchange.markets import KLINE_ENDPOINTS, KlineEndpoint, Market


class PathKind(StrEnum):
    """How a path is handled."""

    KLINES = "klines"
    TIME = "time"
    PING = "ping"
    KEYED = "keyed"
    SNAPSHOT = "snapshot"
    EXCHANGE_INFO = "info"
    OPS = "ops"
    EVENTS = "events"
    NATIVE = "native"
    NOT_SERVED = "not-served"  # public at Binance, but not part of what is cached here
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Route:
    """A path's kind, its market if it has one, and its endpoint if it is one of Binance's public reads."""

    kind: PathKind
    market: Market | None = None
    rule: KlineEndpoint | Endpoint | None = None


STREAM_PATH = "/v1/stream"
CANDLES_PATH, CANDLES_CSV_PATH, CANDLES_ARROW_PATH = "/v1/candles", "/v1/candles.csv", "/v1/candles.arrow"
PRICE_PATH = "/v1/price"
UDF_PATHS = tuple(f"/udf/{name}" for name in ("config", "symbols", "search", "history", "time"))
NATIVE_PATHS = (CANDLES_PATH, CANDLES_CSV_PATH, CANDLES_ARROW_PATH, PRICE_PATH, *UDF_PATHS)
# loaded by the pages /docs, /chart and /
DOCS_FILES = ("docs.css", "docs.js", "favicon-32x32.png", "swagger-ui.css", "swagger-ui-bundle.js")
CHART_FILES = ("candles.js", "chart.css", "chart.js", "drawing.js", "feed.js", "lightweight-charts.js")
PAGE_FILES = ("answers.js", "elements.js", "icon.svg", "status.css", "status.js")
RUNBOOK = "runbook.html"
ADMIN_PATHS = ("/v1/admin/purge", "/v1/admin/gate", "/v1/admin/warm", "/v1/admin/audit")
OPS_PATHS = frozenset(
    {
        "/",
        *(f"/page/{name}" for name in (*PAGE_FILES, RUNBOOK)),
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/series",
        "/v1/status",
        *ADMIN_PATHS,
        "/openapi.json",
        "/docs",
        *(f"/docs/{name}" for name in DOCS_FILES),
        "/chart",
        *(f"/chart/{name}" for name in CHART_FILES),
    }
)

_MARKET_OF = {
    "/api/": Market.SPOT,
    "/sapi/": Market.SPOT,
    "/wapi/": Market.SPOT,
    "/fapi/": Market.USDM,
    "/dapi/": Market.COINM,
    "/futures/data/": Market.USDM,
}

# First part of a keyed or signed path's tail, in any version (`order`, `order/test`, …), in lower case.
_KEYED_HEADS = """
account accountconfig adlquantile algoopenorders algoorder allalgoorders allopenorders allorderlist allorders
apireferral apitradingstatus asset balance batchorders commission commissionrate convert
countdowncancelall feeburn forceorder forceorders historicalblocktrades income leverage leveragebracket
listenkey margintype multiassetsmargin myallocations myfilters mypreventedmatches mytrades openalgoorders
openorder openorderlist openorders order orderamendment orderamendments orderlist orders pmaccountinfo
pmexchangeinfo positionmargin positionrisk positionside ratelimit sor symbolconfig userdatastream usertrades
"""
_KEYED_NAMES = frozenset(_KEYED_HEADS.split())
_KEYED_PATHS = frozenset({"/fapi/v1/historicaltrades", "/dapi/v1/historicaltrades"})  # keyless: 401 -2014, live
_KEYED_PREFIXES = ("/sapi/", "/wapi/", "/papi/", "/eapi/")
# What needs no key below these prefixes (docs/binance.md#other-apis): the market data of options, and two more.
_OPTIONS_DATA = frozenset(
    {"blocktrades", "depth", "exchangeinfo", "exercisehistory", "index", "klines"}
    | {"mark", "openinterest", "ping", "ticker", "time", "trades"}
)
_OTHER_PUBLIC_PATHS = frozenset({"/papi/v1/ping", "/sapi/v1/convert/exchangeinfo"})

ROUTES: dict[str, Route] = {
    **{path: Route(PathKind.KLINES, rule.market, rule) for path, rule in KLINE_ENDPOINTS.items()},
    **{f"{market.prefix}time": Route(PathKind.TIME, market) for market in Market},
    **{f"{market.prefix}ping": Route(PathKind.PING, market) for market in Market},
    **{path: Route(PathKind.SNAPSHOT, found[0].market, found[0]) for path, found in ENDPOINTS.items()},
    **{found.path: Route(PathKind.EXCHANGE_INFO, found.market, found) for found in EXCHANGE_INFO_ENDPOINTS},
    **{path: Route(PathKind.OPS) for path in sorted(OPS_PATHS)},
    STREAM_PATH: Route(PathKind.EVENTS),
    **{path: Route(PathKind.NATIVE) for path in NATIVE_PATHS},
}


def route(path: str) -> Route:
    """Return the route of the decoded `path`; never raise."""
    found = ROUTES.get(path)
    if found is not None:
        return found
    lower = path.lower()
    market = next((m for prefix, m in _MARKET_OF.items() if lower.startswith(prefix)), None)
    parts = lower.split("/")  # "", "fapi", "v1", head, …
    head = next(iter(parts[3:]), "")
    if lower in _OTHER_PUBLIC_PATHS or (lower.startswith("/eapi/") and head in _OPTIONS_DATA):
        return Route(PathKind.NOT_SERVED)
    if lower.startswith(_KEYED_PREFIXES) or lower in _KEYED_PATHS:
        return Route(PathKind.KEYED, market)
    if market is not None and head in _KEYED_NAMES:
        return Route(PathKind.KEYED, market)
    return Route(PathKind.UNKNOWN, market)
