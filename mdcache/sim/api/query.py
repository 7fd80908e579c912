"""A market-data query as Binance reads it: either what is asked or the refusal it gets (BINANCE 1.2, 4).

Pure: no prices and no clock but the `at_ms` it is handed. The order of checks is that of `questions.py`.
Spot counts unknown parameters against the asker and cuts a limit that is too high; futures ignore the ones
and refuse the other.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mdcache.sim.api.kline_query import (
    FUTURES_SYMBOL_TEXT,
    NUMBER_TEXT,
    SPOT_SYMBOL,
    SPOT_SYMBOL_TEXT,
    parse,
    read_time,
    repeated,
    time_unit,
)
from mdcache.sim.api.parameters import PARAMETERS, EndpointParameters
from mdcache.sim.api.refusals import (
    BAD_STATUS,
    BAD_SYMBOL,
    NOT_BOTH,
    START_AFTER_END,
    ApiRefusal,
    bad_pair,
    illegal,
    invalid,
    missing,
    missing_both,
    too_many_parameters,
    unread,
)
from mdcache.sim.api.routes import ApiRoute, Endpoint
from mdcache.sim.api.weights import coin_name
from mdcache.sim.config import Market, SymbolSpec
from mdcache.sim.listings import Listings
from mdcache.sim.prices.grid import zone_ms

MOST_SYMBOLS = 100  # rest-api.md, GET /api/v3/ticker and /api/v3/ticker/tradingDay
SPOT_STATUSES = frozenset({"TRADING", "HALT", "BREAK"})
_NUMBERS = ("limit", "startTime", "endTime", "fromId")
_NUMBER = re.compile("[0-9]{1,20}")
_WINDOW = re.compile(r"([1-9]|[1-5][0-9])m|([1-9]|1[0-9]|2[0-3])h|[1-7]d")  # rest-api.md, GET /api/v3/ticker
_WRONG_STATUS = ApiRefusal(-1220, "The symbol's status does not match the requested symbolStatus.")
_BAD_LIST = ApiRefusal(-1135, "JSON sent for parameter 'symbols' is not valid")
_FREE_NAMES: frozenset[tuple[Market, Endpoint]] = frozenset(  # their `symbol` is no symbol of the market
    {("usdm", "assetIndex"), ("usdm", "indexInfo"), ("coinm", "constituents")}
)


@dataclass(frozen=True, slots=True)
class DataQuery:
    """A query that Binance would answer. `specs`: the symbols meant; `single`: asked by one symbol's name.

    `name` is the symbol or pair as sent; `micros`: times are printed in microseconds (spot).
    """

    market: Market
    endpoint: Endpoint
    specs: tuple[SymbolSpec, ...]
    single: bool
    name: str | None
    limit: int
    start_ms: int | None = None
    end_ms: int | None = None
    from_id: int | None = None
    contract_type: str = ""
    period: str = ""
    window_size: str = "1d"
    offset_ms: int = 0
    mini: bool = False
    micros: bool = False

    def time(self, ms: int) -> int:
        """A moment in the unit asked for."""
        return ms * 1000 if self.micros else ms


def read(
    route: ApiRoute, query: str, headers: Mapping[str, str], listings: Listings, at_ms: int
) -> DataQuery | ApiRefusal:
    """Read a market-data query as of a moment."""
    sent = parse(query)
    market: Market = route.market
    if route.bucket == "statistics" and coin_name(dict(sent)):
        market = "coinm"
    spot = market == "spot"
    form = PARAMETERS[market][route.endpoint]
    parameters = sent if spot else [one for one in sent if one[0] in form.accepted]
    values = dict(parameters)
    refusal = repeated(parameters) or _sent(form, values) or _characters(values, spot=spot)
    if refusal is None and spot:
        refusal = _spot_values(form, values)
    if refusal is not None:
        return refusal
    limit = _limit(form, values, spot=spot)
    micros = time_unit(headers) if spot else False
    chosen = _chosen(market, route.endpoint, values, listings, at_ms)
    start, end = (read_time(values.get(name), spot=spot, up=name == "startTime") for name in ("startTime", "endTime"))
    if isinstance(limit, ApiRefusal):
        return limit
    if isinstance(micros, ApiRefusal):
        return micros
    if isinstance(chosen, ApiRefusal):
        return chosen
    if not spot and start is not None and end is not None and start > end:
        return START_AFTER_END
    return DataQuery(
        market,
        route.endpoint,
        chosen,
        single="symbol" in values,
        name=_name(values, spot=spot),
        limit=limit,
        start_ms=start,
        end_ms=end,
        from_id=int(values["fromId"]) if "fromId" in values else None,
        contract_type=values.get("contractType", ""),
        period=values.get("period", ""),
        window_size=values.get("windowSize", "1d"),
        offset_ms=zone_ms(values.get("timeZone", "0")) or 0,
        mini=values.get("type") == "MINI",
        micros=micros,
    )


def _name(values: Mapping[str, str], *, spot: bool) -> str | None:
    """The symbol or pair, in the market's own spelling."""
    sent = values.get("symbol") or values.get("pair")
    return sent if spot or sent is None else sent.upper()


def _sent(form: EndpointParameters, values: Mapping[str, str]) -> ApiRefusal | None:
    """Whether all is there that must be, and nothing that excludes another."""
    for name in form.required:
        if name not in values:
            return missing(name)
    sent = [name for name in form.one_of if name in values]
    if len(sent) > 1:
        return NOT_BOTH
    return missing_both(*form.one_of) if form.must and not sent else None


def _characters(values: Mapping[str, str], *, spot: bool) -> ApiRefusal | None:
    for name in ("symbol", "pair"):
        if name in values and (
            SPOT_SYMBOL.fullmatch(values[name]) is None or (spot and re.search("[a-z]", values[name]))
        ):
            return illegal(name, SPOT_SYMBOL_TEXT if spot else FUTURES_SYMBOL_TEXT)
    for name in _NUMBERS:
        if name in values and _NUMBER.fullmatch(values[name]) is None:
            return illegal(name, NUMBER_TEXT)
    return None


def _spot_values(form: EndpointParameters, values: Mapping[str, str]) -> ApiRefusal | None:
    """Parameters that only spot has; unknown ones first."""
    read_ = sum(name in form.accepted for name in values)
    if read_ < len(values):
        return unread(read_, len(values))
    if values.get("type", "FULL") not in {"FULL", "MINI"}:
        return ApiRefusal(-1139, "Invalid ticker type.")
    if values.get("symbolStatus", "TRADING") not in SPOT_STATUSES:
        return BAD_STATUS
    if zone_ms(values.get("timeZone", "0")) is None:
        return invalid("timeZone")
    if _WINDOW.fullmatch(values.get("windowSize", "1d")) is None:
        return invalid("windowSize")
    if "fromId" in values and ("startTime" in values or "endTime" in values):
        return NOT_BOTH
    return None


def _limit(form: EndpointParameters, values: Mapping[str, str], *, spot: bool) -> int | ApiRefusal:
    """The limit that counts: spot cuts it silently, futures refuse it."""
    limit = int(values.get("limit", form.limit))
    if form.most and (limit == 0 or (not spot and limit > form.most)):
        return invalid("limit")
    return min(limit, form.most)


def _chosen(
    market: Market, endpoint: Endpoint, values: Mapping[str, str], listings: Listings, at_ms: int
) -> tuple[SymbolSpec, ...] | ApiRefusal:
    """The symbols meant: one by its name, some, those of a pair, or all."""
    visible = tuple(listings.visible(market, at_ms))
    name = _name(values, spot=market == "spot")
    if (market, endpoint) in _FREE_NAMES:
        return visible
    if "symbol" in values and name is not None:
        spec = listings.find(market, name, at_ms)
        if spec is None and market == "coinm" and endpoint.endswith("Ratio"):
            return _of_pair(market, visible, name)  # these take a pair by either name
        if spec is None:
            return BAD_SYMBOL
        if endpoint == "insuranceBalance":
            return visible  # the fund is one for many symbols
        status = values.get("symbolStatus")
        return (spec,) if status in {None, spec.status_at(at_ms)} else _WRONG_STATUS
    if name is not None:
        return _of_pair(market, visible, name)
    if "symbols" in values:
        some = several(values["symbols"], visible, most=MOST_SYMBOLS if PARAMETERS[market][endpoint].must else None)
        if isinstance(some, ApiRefusal):
            return some
        visible = some
    wanted = values.get("symbolStatus")
    return tuple(spec for spec in visible if wanted in {None, spec.status_at(at_ms)})


def _of_pair(market: Market, visible: tuple[SymbolSpec, ...], pair: str) -> tuple[SymbolSpec, ...] | ApiRefusal:
    return tuple(spec for spec in visible if spec.pair == pair) or bad_pair(market)


def several(
    text: str, visible: tuple[SymbolSpec, ...], *, most: int | None = None
) -> tuple[SymbolSpec, ...] | ApiRefusal:
    """The symbols of a `symbols` parameter, a JSON list of names, in its order."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        return _BAD_LIST
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return _BAD_LIST
    if most is not None and len(names) > most:
        return too_many_parameters(most, len(names))
    if len(set(names)) < len(names):
        return ApiRefusal(-1151, "Symbol is present multiple times in the list.")
    by_name = {spec.symbol: spec for spec in visible}
    if not by_name.keys() >= set(names):
        return BAD_SYMBOL
    return tuple(by_name[name] for name in names)
