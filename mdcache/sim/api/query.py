"""Parse a query, or refuse it as Binance does (docs/binance.md#query-rules, #errors).

Pure: no prices, no weights, no clock but `at_ms`. If Binance's order of checks is unknown, it is: duplicates, empty
values, missing ones, characters, unknown parameters (spot), values, limit, time unit, contract type, symbols, window.
Spot refuses unknown parameters and caps a limit that is too high; futures ignore the former and refuse the latter.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from mdcache.sim.api import refusals
from mdcache.sim.api.parameters import FUTURES_DEPTHS, PARAMETERS, EndpointParameters
from mdcache.sim.api.refusals import ApiRefusal
from mdcache.sim.api.routes import ApiRoute
from mdcache.sim.api.symbol_choice import chosen, name_of, permissions
from mdcache.sim.config import DAY_MS, Market, SymbolSpec
from mdcache.sim.listings import Listings
from mdcache.sim.prices.grid import FUTURES_INTERVALS, SPOT_INTERVALS, zone_ms

MICROSECONDS_FROM = 10**14  # spot accepts startTime and endTime in either unit, distinguished by size (assumed)
COINM_SPAN_MS = 200 * DAY_MS  # dapi Kline page: a window has 200 days at most
PERIODS = frozenset({"5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d"})  # the pages of /futures/data
RPI_LEVELS = 1_000  # Order-Book-RPI page of fapi: no other limit
STATISTICS_SPAN_MS = 30 * DAY_MS
_AGGREGATES_SPAN_MS = 2 * DAY_MS  # fapi aggTrades, live 2026-10-07
_FAR_FUTURE_MS = 10**15
_NUMBERS = ("limit", "startTime", "endTime", "fromId")
_NUMBER = re.compile("[0-9]{1,20}")
_NUMBER_TEXT = r"^[0-9]{1,20}$"
_SYMBOL = re.compile(r"[\w\-.]{1,50}")
_SPOT_SYMBOL_TEXT = r"^[\w\-._&&[^a-z]]{1,50}$"
_FUTURES_SYMBOL_TEXT = "^[A-Z0-9-_.]{1,20}$"
_WINDOW_SIZE = re.compile(r"([1-9]|[1-5][0-9])m|([1-9]|1[0-9]|2[0-3])h|[1-7]d")  # rest-api.md, GET /api/v3/ticker
_CONTRACTS = frozenset({"PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER"})
_KLINE_CONTRACTS: dict[Market, frozenset[str]] = {"usdm": _CONTRACTS | {"TRADIFI_PERPETUAL"}, "coinm": _CONTRACTS}
_COIN_NAME = re.compile(r"[^_]*USD(_.*)?")  # BTCUSD, BTCUSD_PERP
_TIME_UNITS = {"MICROSECOND": True, "MILLISECOND": False}
_CHOICES: Mapping[str, tuple[Callable[[str], object], ApiRefusal]] = {  # spot: which values a parameter may have
    "type": ({"FULL", "MINI"}.__contains__, refusals.BAD_TICKER_TYPE),
    "symbolStatus": ({"TRADING", "HALT", "BREAK"}.__contains__, refusals.BAD_STATUS),
    "timeZone": (lambda text: zone_ms(text) is not None, refusals.INVALID.about("timeZone")),
    "windowSize": (_WINDOW_SIZE.fullmatch, refusals.INVALID.about("windowSize")),
    "showPermissionSets": ({"true", "false"}.__contains__, refusals.INVALID.about("showPermissionSets")),
    "permissions": (lambda text: permissions(text) is not None, refusals.INVALID.about("permissions")),
}


@dataclass(frozen=True, slots=True)
class Query:
    """A query that Binance would answer.

    `specs`: the symbols asked for. `single`: whether one was named by `symbol`. `name`: that symbol or the pair.
    `micros`: times are printed in microseconds (spot). `values` are the parameters as sent.
    """

    market: Market
    route: ApiRoute
    specs: tuple[SymbolSpec, ...]
    name: str
    single: bool
    limit: int
    start_ms: int | None
    end_ms: int | None
    offset_ms: int
    micros: bool
    values: Mapping[str, str]

    @property
    def endpoint(self) -> str:
        """The endpoint's name."""
        return self.route.endpoint

    def time(self, ms: int) -> int:
        """Return a moment in the unit asked for."""
        return ms * 1000 if self.micros else ms


def parse(query: str) -> list[tuple[str, str]]:
    """Return the parameters of a query string in order, including empty ones."""
    return parse_qsl(query, keep_blank_values=True, errors="replace")


def is_coin_name(values: Mapping[str, str]) -> bool:
    """Return whether a query on `/futures/data/` is coinm's, by the form of its pair or symbol."""
    name = values.get("pair") or values.get("symbol") or ""
    return _COIN_NAME.fullmatch(name.upper()) is not None


def read(route: ApiRoute, query: str, headers: Mapping[str, str], listings: Listings, at_ms: int) -> Query | ApiRefusal:
    """Parse a query as of a moment.

    Args:
        route: The path's.
        query: The raw query string.
        headers: Those of the request; `X-MBX-TIME-UNIT` and `Accept` count.
        listings: The symbols that are known.
        at_ms: The moment, in milliseconds since the Unix epoch.

    Returns:
        What is asked for, or Binance's refusal.
    """
    sent = parse(query)
    market: Market = "coinm" if route.is_statistics and is_coin_name(dict(sent)) else route.market
    spot = market == "spot"
    takes = PARAMETERS[market][route.endpoint]
    parameters = sent if spot else [one for one in sent if one[0] in takes.accepted]
    values = dict(parameters)
    micros = _micros(headers) if spot else False
    limit = int(values["limit"]) if _NUMBER.fullmatch(values.get("limit", "")) else takes.limit
    refusal = (
        (_binary_only(headers) if spot else None)
        or _repeated(parameters)
        or _absent(takes, values)
        or _characters(values, spot=spot)
        or (_spot_values(route.endpoint, takes, values) if spot else None)
        or _interval(values, spot=spot)
        or (
            refusals.INVALID.about("limit") if takes.most and (not limit or (not spot and limit > takes.most)) else None
        )
        or (micros if isinstance(micros, ApiRefusal) else None)
        or _contract(market, route.endpoint, values)
    )
    if refusal is not None:
        return refusal
    specs = chosen(market, route.endpoint, values, tuple(listings.visible(market, at_ms)), at_ms)
    if isinstance(specs, ApiRefusal):
        return specs
    found = Query(
        market,
        route,
        specs,
        name=name_of(values, spot=spot),
        single="symbol" in values,
        limit=min(limit, takes.most),
        start_ms=_time(values.get("startTime"), spot=spot, up=True),
        end_ms=_time(values.get("endTime"), spot=spot, up=False),
        offset_ms=zone_ms(values.get("timeZone", "0")) or 0,
        micros=bool(micros),
        values=values,
    )
    return _window(found, at_ms) or found


def _micros(headers: Mapping[str, str]) -> bool | ApiRefusal:
    """Return whether `X-MBX-TIME-UNIT` asks for microseconds (spot)."""
    sent = next((value for name, value in headers.items() if name.lower() == "x-mbx-time-unit"), "MILLISECOND")
    return _TIME_UNITS.get(sent.upper(), refusals.BAD_TIME_UNIT)


def _binary_only(headers: Mapping[str, str]) -> ApiRefusal | None:
    """Refuse a client that accepts SBE and not JSON: SBE is off here."""
    accepted = next((value.lower() for name, value in headers.items() if name.lower() == "accept"), "")
    only = "application/sbe" in accepted and "json" not in accepted and "*" not in accepted
    return refusals.SBE_DISABLED if only else None


def _repeated(parameters: list[tuple[str, str]]) -> ApiRefusal | None:
    """Refuse a name that occurs twice, or an empty value."""
    names = [name for name, _ in parameters]
    if len(set(names)) < len(names):
        return refusals.DUPLICATE
    return next((refusals.EMPTY.about(name) for name, value in parameters if not value), None)


def _absent(takes: EndpointParameters, values: Mapping[str, str]) -> ApiRefusal | None:
    """Refuse a query that lacks a mandatory parameter, or has parameters that exclude each other."""
    for name in takes.required:
        if name not in values:
            return refusals.MISSING.about(name)
    sent = [name for name in takes.one_of if name in values]
    if len(sent) > 1:
        return refusals.NOT_BOTH
    return refusals.MISSING_BOTH.about(*takes.one_of) if takes.one_needed and not sent else None


def _characters(values: Mapping[str, str], *, spot: bool) -> ApiRefusal | None:
    for name in ("symbol", "pair"):
        if name in values and (_SYMBOL.fullmatch(values[name]) is None or (spot and re.search("[a-z]", values[name]))):
            return refusals.ILLEGAL.about(name, _SPOT_SYMBOL_TEXT if spot else _FUTURES_SYMBOL_TEXT)
    for name in _NUMBERS:
        if name in values and _NUMBER.fullmatch(values[name]) is None:
            return refusals.ILLEGAL.about(name, _NUMBER_TEXT)
    return None


def _spot_values(endpoint: str, takes: EndpointParameters, values: Mapping[str, str]) -> ApiRefusal | None:
    """Refuse unknown parameters, and values and combinations that only spot has."""
    known = sum(name in takes.accepted for name in values)
    if known < len(values):
        return refusals.UNREAD.about(known, len(values))
    for name, (accepts, refusal) in _CHOICES.items():
        if name in values and not accepts(values[name]):
            return refusal
    by_name = endpoint == "exchangeInfo" and {"symbol", "symbols"} & values.keys()
    if by_name and {"permissions", "symbolStatus"} & values.keys():
        return refusals.NOT_BOTH
    return refusals.NOT_BOTH if "fromId" in values and {"startTime", "endTime"} & values.keys() else None


def _interval(values: Mapping[str, str], *, spot: bool) -> ApiRefusal | None:
    known = SPOT_INTERVALS if spot else FUTURES_INTERVALS
    return refusals.BAD_INTERVAL if values.get("interval", "1m") not in known else None


def _contract(market: Market, endpoint: str, values: Mapping[str, str]) -> ApiRefusal | None:
    """Refuse periods and types of contracts that do not exist."""
    if values.get("period", "5m") not in PERIODS:
        return refusals.INVALID.about("period")
    contract = values.get("contractType", "PERPETUAL")
    if endpoint == "continuousKlines":
        return None if contract in _KLINE_CONTRACTS[market] else refusals.BAD_CONTRACT
    takes_all = market == "coinm" and endpoint in {"openInterestHist", "takerBuySellVol"}
    return (
        None if contract in _CONTRACTS or (takes_all and contract == "ALL") else refusals.INVALID.about("contractType")
    )


def _time(text: str | None, *, spot: bool, up: bool) -> int | None:
    """Return a time parameter in milliseconds; microseconds are rounded into the window."""
    if text is None:
        return None
    value = int(text)
    if spot and value >= MICROSECONDS_FROM:
        value = -(-value // 1000) if up else value // 1000
    return min(value, _FAR_FUTURE_MS)


def _window(query: Query, at_ms: int) -> ApiRefusal | None:
    """Refuse windows, depths and reference prices that are not available."""
    start_ms, endpoint = query.start_ms, query.endpoint
    if endpoint.startswith("referencePrice"):
        (spec,) = query.specs
        halted = endpoint.endswith("calculation") and spec.status_at(at_ms) != "TRADING"
        return refusals.NO_REFERENCE_PRICE if halted or at_ms < spec.listed_ms else None
    if query.market == "spot":
        return None
    if endpoint in {"depth", "rpiDepth"}:
        levels = {RPI_LEVELS} if endpoint == "rpiDepth" else FUTURES_DEPTHS
        return None if query.limit in levels else refusals.INVALID_DEPTH.about(query.limit)
    if start_ms is None:
        return None
    if query.end_ms is not None and start_ms > query.end_ms:
        return refusals.START_AFTER_END
    capped = query.market == "coinm" and query.route.is_klines and endpoint != "premiumIndexKlines"
    if capped and query.end_ms is not None and query.end_ms - start_ms > COINM_SPAN_MS:
        return refusals.TOO_LONG
    if endpoint == "aggTrades" and start_ms < at_ms - _AGGREGATES_SPAN_MS:
        return refusals.TOO_OLD
    old = query.route.is_statistics and start_ms < at_ms - STATISTICS_SPAN_MS
    return ApiRefusal(-1130, "parameter 'startTime' is invalid.") if old else None
