"""A kline query as Binance reads it: either a question or the refusal it gets (BINANCE 2.2 to 2.6, 4).

Pure: no rows, no weights, no clock but the `at_ms` it is handed. Where Binance's order of checks is unknown,
it is: duplicates, empty values, missing ones, illegal characters, unknown parameters (spot), interval, limit,
time zone and time unit, contract type, symbol or pair, window.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from mdcache.sim.api.refusals import (
    BAD_SYMBOL,
    START_AFTER_END,
    ApiRefusal,
    bad_pair,
    duplicate,
    empty,
    illegal,
    invalid,
    missing,
    unread,
)
from mdcache.sim.api.routes import ApiRoute, KlineKind
from mdcache.sim.config import DAY_MS, Market
from mdcache.sim.prices.grid import FUTURES_INTERVALS, SPOT_INTERVALS, zone_ms
from mdcache.sim.prices.series import RowWindow

DEFAULT_LIMIT = 500
SPOT_LIMIT_CAP = 1_000  # more is cut to this, silently: BINANCE 2.2
FUTURES_LIMIT_MAX = 1_500  # more is refused: BINANCE 2.2
COINM_SPAN_MS = 200 * DAY_MS  # dapi Kline page: a window has 200 days at most
MICROSECONDS_FROM = 10**14  # spot takes startTime and endTime in either unit; told apart by size (assumed)
_FAR_FUTURE_MS = 10**15
NUMBER_TEXT = r"^[0-9]{1,20}$"
SPOT_SYMBOL = re.compile(r"[\w\-.]{1,50}")
SPOT_SYMBOL_TEXT = r"^[\w\-._&&[^a-z]]{1,50}$"
FUTURES_SYMBOL_TEXT = "^[A-Z0-9-_.]{1,20}$"
_TIMES = ("startTime", "endTime", "limit")
CONTRACT_TYPES: dict[Market, frozenset[str]] = {
    "usdm": frozenset({"PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "TRADIFI_PERPETUAL"}),
    "coinm": frozenset({"PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER"}),
}
TIME_UNITS = {"MICROSECOND": True, "MILLISECOND": False}


@dataclass(frozen=True, slots=True)
class KlineQuery:
    """A kline query that Binance would answer; `micros`: times are printed in microseconds."""

    market: Market
    kind: KlineKind
    name: str
    contract_type: str | None
    interval: str
    window: RowWindow
    offset_ms: int = 0
    micros: bool = False


def parse(query: str) -> list[tuple[str, str]]:
    """The parameters of a query string in order, empty ones too."""
    return parse_qsl(query, keep_blank_values=True, errors="replace")


def repeated(parameters: list[tuple[str, str]]) -> ApiRefusal | None:
    """The refusal of a list with a name twice or with an empty value."""
    names = [name for name, _ in parameters]
    if len(set(names)) < len(names):
        return duplicate()
    return next((empty(name) for name, value in parameters if not value), None)


def time_unit(headers: Mapping[str, str]) -> bool | ApiRefusal:
    """Whether `X-MBX-TIME-UNIT` asks for microseconds (spot)."""
    sent = next((value for name, value in headers.items() if name.lower() == "x-mbx-time-unit"), None)
    if sent is None:
        return False
    micros = TIME_UNITS.get(sent.upper())
    if micros is None:
        return ApiRefusal(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return micros


def read(
    route: ApiRoute,
    kind: KlineKind,
    query: str,
    headers: Mapping[str, str],
    known: Callable[[str], bool],
    at_ms: int,
) -> KlineQuery | ApiRefusal:
    """Read a kline query. `known` tells whether the market has a symbol (or pair, where it asks for one)."""
    spot = route.market == "spot"
    wanted = _mandatory(kind)
    accepted = {*wanted, *_TIMES, *(("timeZone",) if spot else ())}
    sent = parse(query)
    parameters = sent if spot else [one for one in sent if one[0] in accepted]
    values = dict(parameters)
    refusal = (
        repeated(parameters)
        or next((missing(name) for name in wanted if name not in values), None)
        or _characters(values, wanted[0], spot=spot)
        or (_unread(values, accepted) if spot else None)
    )
    if refusal is not None:
        return refusal
    if values["interval"] not in (SPOT_INTERVALS if spot else FUTURES_INTERVALS):
        return ApiRefusal(-1120, "Invalid interval.")
    limit = int(values.get("limit", DEFAULT_LIMIT))
    if limit == 0 or (not spot and limit > FUTURES_LIMIT_MAX):
        return invalid("limit")
    offset = zone_ms(values.get("timeZone", "0"))
    if offset is None:
        return invalid("timeZone")
    micros = time_unit(headers) if spot else False
    if isinstance(micros, ApiRefusal):
        return micros
    contract = values.get("contractType")
    if contract is not None and kind == "continuousKlines" and contract not in CONTRACT_TYPES[route.market]:
        return ApiRefusal(-4104, "Invalid contract type")
    name = values[wanted[0]] if spot else values[wanted[0]].upper()
    if not known(name):
        return bad_pair(route.market) if wanted[0] == "pair" else BAD_SYMBOL
    start, end = (read_time(values.get(name), spot=spot, up=name == "startTime") for name in _TIMES[:2])
    window = _window(route.market, kind, start, end, min(limit, SPOT_LIMIT_CAP) if spot else limit, at_ms)
    if isinstance(window, ApiRefusal):
        return window
    return KlineQuery(route.market, kind, name, contract, values["interval"], window, offset, micros)


def _mandatory(kind: KlineKind) -> tuple[str, ...]:
    if kind == "continuousKlines":
        return ("pair", "contractType", "interval")
    return ("pair" if kind == "indexPriceKlines" else "symbol", "interval")


def _characters(values: Mapping[str, str], name: str, *, spot: bool) -> ApiRefusal | None:
    symbol = values[name]
    if SPOT_SYMBOL.fullmatch(symbol) is None or (spot and re.search("[a-z]", symbol)):
        return illegal(name, SPOT_SYMBOL_TEXT if spot else FUTURES_SYMBOL_TEXT)
    for number in _TIMES:
        if number in values and re.fullmatch("[0-9]{1,20}", values[number]) is None:
            return illegal(number, NUMBER_TEXT)
    return None


def _unread(values: Mapping[str, str], accepted: set[str]) -> ApiRefusal | None:
    read_ = sum(name in accepted for name in values)
    return unread(read_, len(values)) if read_ < len(values) else None


def read_time(text: str | None, *, spot: bool, up: bool) -> int | None:
    """A time parameter in milliseconds; microseconds are rounded into the window."""
    if text is None:
        return None
    value = int(text)
    if spot and value >= MICROSECONDS_FROM:
        value = -(-value // 1000) if up else value // 1000
    return min(value, _FAR_FUTURE_MS)


def _window(
    market: Market, kind: KlineKind, start: int | None, end: int | None, limit: int, at_ms: int
) -> RowWindow | ApiRefusal:
    """Which rows are meant (BINANCE 2.5): coinm counts back from the window's end, the others forward."""
    if start is not None and end is not None and start > end and market != "spot":
        return START_AFTER_END
    if market != "coinm" or kind == "premiumIndexKlines":
        return RowWindow(start, end, limit, newest=start is None)
    if start is None:
        end = at_ms if end is None else end
        start = end - COINM_SPAN_MS
    elif end is None:
        end = min(start + COINM_SPAN_MS, at_ms)
    elif end - start > COINM_SPAN_MS:
        return ApiRefusal(-4088, "Invalid time interval; Maximum time interval is 200 days.")
    return RowWindow(start, end, limit, newest=True)
