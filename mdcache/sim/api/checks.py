"""Check a query as Binance does, one check after the other (docs/binance.md#query-rules, #errors).

Pure: no prices, no weights, no clock but `at_ms`. If Binance's order of checks is unknown, it is that of `_CHECKS`; a
played profile may state another. Spot refuses unknown parameters and caps a limit that is too high; futures ignore the
former and refuse the latter. A check that is played as `accepted` drops what was wrong.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mdcache.sim.api import refusals
from mdcache.sim.api.parameters import FUTURES_DEPTHS, PARAMETERS, EndpointParameters
from mdcache.sim.api.refusals import ApiRefusal
from mdcache.sim.api.routes import ApiRoute
from mdcache.sim.api.symbol_choice import chosen, permissions
from mdcache.sim.config import DAY_MS, Market, SymbolSpec
from mdcache.sim.listings import Listings
from mdcache.sim.played_facts import PlayedFacts
from mdcache.sim.prices.grid import FUTURES_INTERVALS, SPOT_INTERVALS, zone_ms

COINM_DAYS = 200  # dapi Kline page: a window has 200 days at most
PERIODS = frozenset({"5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d"})  # the pages of /futures/data
RPI_LEVELS = 1_000  # Order-Book-RPI page of fapi: no other limit
STATISTICS_SPAN_MS = 30 * DAY_MS
_MICROSECONDS_FROM = 10**14  # spot accepts startTime and endTime in either unit, distinguished by size (assumed)
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
_TIME_UNITS = {"MICROSECOND": True, "MILLISECOND": False}
_CHOICES: Mapping[str, tuple[Callable[[str], object], ApiRefusal]] = {  # spot: which values a parameter may have
    "type": ({"FULL", "MINI"}.__contains__, refusals.BAD_TICKER_TYPE),
    "symbolStatus": ({"TRADING", "HALT", "BREAK"}.__contains__, refusals.BAD_STATUS),
    "timeZone": (lambda text: zone_ms(text) is not None, refusals.INVALID.about("timeZone")),
    "windowSize": (_WINDOW_SIZE.fullmatch, refusals.INVALID.about("windowSize")),
    "showPermissionSets": ({"true", "false"}.__contains__, refusals.INVALID.about("showPermissionSets")),
    "permissions": (lambda text: permissions(text) is not None, refusals.INVALID.about("permissions")),
}


@dataclass(slots=True)
class Asked:
    """A query on its way through the checks, which fill in the lower half. `values`: what still counts of `sent`."""

    market: Market
    route: ApiRoute
    sent: list[tuple[str, str]]
    headers: Mapping[str, str]
    listings: Listings
    at_ms: int
    facts: PlayedFacts
    takes: EndpointParameters = field(init=False)
    values: dict[str, str] = field(init=False)
    specs: tuple[SymbolSpec, ...] = ()
    micros: bool = False

    def __post_init__(self) -> None:
        """Leave out what futures ignore."""
        takes = PARAMETERS[self.market][self.route.endpoint]
        if self.route.is_klines:
            takes = replace(takes, most=self.facts.number(self.market, "klines_cap", takes.most))
        if not self.spot and not self._refuses_unknown:
            self.sent = [one for one in self.sent if one[0] in takes.accepted]
        self.takes, self.values = takes, dict(self.sent)

    @property
    def spot(self) -> bool:
        """Whether it is spot's."""
        return self.market == "spot"

    @property
    def _refuses_unknown(self) -> bool:
        return self.route.is_klines and self.facts.text(self.market, "answer_to_unknown_parameter") not in {
            "",
            "accepted",
        }

    @property
    def limit(self) -> int:
        """The limit asked for, or the path's default."""
        sent = self.values.get("limit", "")
        return int(sent) if _NUMBER.fullmatch(sent) else min(self.takes.limit, self.takes.most)

    @property
    def start_ms(self) -> int | None:
        """The start asked for, in milliseconds; microseconds are rounded into the window."""
        return self._time("startTime", up=True)

    @property
    def end_ms(self) -> int | None:
        """The end asked for, in milliseconds."""
        return self._time("endTime", up=False)

    def _time(self, name: str, *, up: bool) -> int | None:
        if not self.values.get(
            name, ""
        ).isdecimal():  # in a played order, it may be looked at before its characters are
            return None
        value = int(self.values[name])
        if self.spot and value >= _MICROSECONDS_FROM and self.facts.flag("spot", "micros_start_accepted", usual=True):
            value = -(-value // 1000) if up else value // 1000
        return min(value, _FAR_FUTURE_MS)

    def answer(self, name: str, own: ApiRefusal | None, drop: str = "") -> ApiRefusal | None:
        """Return the refusal of something wrong: the simulator's own, or the one played; `drop`: if it is accepted."""
        played = self.facts.text(self.market, name) if self.route.is_klines else ""
        if not played:
            return own
        if played == "accepted":
            self.values.pop(drop, None)
            return None
        code, _, message = played.partition(" ")
        return ApiRefusal(int(code), message)


def first_refusal(asked: Asked) -> ApiRefusal | None:
    """Return the first refusal of a query, if there is one."""
    order = iter(asked.facts.text(asked.market, "check_order").split()) if asked.route.is_klines else iter(())
    named = list(order)
    rest = iter([*named, *(name for name in _ORDERED if name not in named)])
    for name, check in _CHECKS:
        refusal = _BY_NAME[next(rest)](asked) if name in _ORDERED else check(asked)
        if refusal is not None:
            return refusal
    return None


def _binary_only(asked: Asked) -> ApiRefusal | None:
    """Refuse a client that accepts SBE and not JSON: SBE is off here."""
    accepted = _header(asked.headers, "accept").lower() if asked.spot else ""
    only = "application/sbe" in accepted and "json" not in accepted and "*" not in accepted
    return refusals.SBE_DISABLED if only else None


def _doubled(asked: Asked) -> ApiRefusal | None:
    names = [name for name, _ in asked.sent]
    return asked.answer("answer_to_doubled_limit", refusals.DUPLICATE) if len(set(names)) < len(names) else None


def _empty(asked: Asked) -> ApiRefusal | None:
    for name, value in list(asked.values.items()):
        if not value:
            refusal = asked.answer("answer_to_empty_start", refusals.EMPTY.about(name), drop=name)
            if refusal is not None:
                return refusal
    return None


def _absent(asked: Asked) -> ApiRefusal | None:
    """Refuse a query that lacks a mandatory parameter, or has parameters that exclude each other."""
    takes, values = asked.takes, asked.values
    for name in takes.required:
        if name not in values:
            own = refusals.MISSING.about(name)
            refusal = asked.answer("answer_to_missing_symbol", own) if name == "symbol" else own
            if refusal is not None:
                return refusal
            values["symbol"] = asked.listings.visible(asked.market, asked.at_ms)[0].symbol
    sent = [name for name in takes.one_of if name in values]
    if len(sent) > 1:
        return refusals.NOT_BOTH
    return refusals.MISSING_BOTH.about(*takes.one_of) if takes.one_needed and not sent else None


def _characters(asked: Asked) -> ApiRefusal | None:
    values, spot = asked.values, asked.spot
    refusal: ApiRefusal | None = None
    for name in ("symbol", "pair"):
        if name in values and (_SYMBOL.fullmatch(values[name]) is None or (spot and re.search("[a-z]", values[name]))):
            own = refusals.ILLEGAL.about(name, _SPOT_SYMBOL_TEXT if spot else _FUTURES_SYMBOL_TEXT)
            refusal = refusal or asked.answer("answer_to_symbol_characters", own)
    for name in _NUMBERS:
        if name in values and _NUMBER.fullmatch(values[name]) is None:
            own = refusals.ILLEGAL.about(name, _NUMBER_TEXT)
            refusal = refusal or asked.answer("answer_to_limit_characters", own, drop=name)
    return refusal


def _unknown(asked: Asked) -> ApiRefusal | None:
    """Refuse unknown parameters."""
    unknown = [name for name in asked.values if name not in asked.takes.accepted]
    if not unknown:
        return None
    sent = len(asked.values)
    own = refusals.UNREAD.about(sent - len(unknown), sent)
    played = asked.answer("answer_to_unknown_parameter", own)
    if played is None:
        for name in unknown:
            del asked.values[name]
    return own if played == refusals.UNREAD.about(2, 3) else played


def _choices(asked: Asked) -> ApiRefusal | None:
    """Refuse values and combinations that only spot has."""
    if not asked.spot:
        return None
    values = asked.values
    for name, (accepts, own) in _CHOICES.items():
        if name in values and not accepts(values[name]):
            refusal = asked.answer("answer_to_time_zone", own, drop=name) if name == "timeZone" else own
            if refusal is not None:
                return refusal
    by_name = asked.route.endpoint == "exchangeInfo" and {"symbol", "symbols"} & values.keys()
    if by_name and {"permissions", "symbolStatus"} & values.keys():
        return refusals.NOT_BOTH
    return refusals.NOT_BOTH if "fromId" in values and {"startTime", "endTime"} & values.keys() else None


def _interval(asked: Asked) -> ApiRefusal | None:
    known = SPOT_INTERVALS if asked.spot else FUTURES_INTERVALS
    if asked.values.get("interval", "1m") in known:
        return None
    refusal = asked.answer("answer_to_interval", refusals.BAD_INTERVAL)
    if refusal is None:
        asked.values["interval"] = "1m"
    return refusal


def _limit(asked: Asked) -> ApiRefusal | None:
    own = refusals.INVALID.about("limit")
    if not asked.takes.most:
        return None
    if not asked.limit:
        return asked.answer("answer_to_limit_zero", own, drop="limit")
    if asked.limit > asked.takes.most:
        return asked.answer("answer_to_over_cap", None if asked.spot else own)
    return None


def _unit(asked: Asked) -> ApiRefusal | None:
    """Read from `X-MBX-TIME-UNIT` whether microseconds are asked for (spot)."""
    sent = (_header(asked.headers, "x-mbx-time-unit") or "MILLISECOND").upper() if asked.spot else "MILLISECOND"
    asked.micros = _TIME_UNITS.get(sent, False)
    return None if sent in _TIME_UNITS else asked.answer("answer_to_time_unit", refusals.BAD_TIME_UNIT)


def _contract(asked: Asked) -> ApiRefusal | None:
    """Refuse periods and types of contracts that do not exist."""
    market, endpoint, values = asked.market, asked.route.endpoint, asked.values
    if values.get("period", "5m") not in PERIODS:
        return refusals.INVALID.about("period")
    contract = values.get("contractType", "PERPETUAL")
    if endpoint == "continuousKlines":
        known = contract in _KLINE_CONTRACTS[market]
        return None if known else asked.answer("answer_to_contract_type", refusals.BAD_CONTRACT)
    takes_all = market == "coinm" and endpoint in {"openInterestHist", "takerBuySellVol"}
    known = contract in _CONTRACTS or (takes_all and contract == "ALL")
    return None if known else refusals.INVALID.about("contractType")


def _symbol(asked: Asked) -> ApiRefusal | None:
    """Find the symbols that are asked for."""
    visible = asked.listings.visible(asked.market, asked.at_ms)
    if asked.route.is_klines and asked.facts.text(asked.market, "untraded_symbol_rows") == "refused":
        visible = [spec for spec in visible if spec.status_at(asked.at_ms) == "TRADING"]
    found = chosen(asked.market, asked.route.endpoint, asked.values, tuple(visible), asked.at_ms)
    if not isinstance(found, ApiRefusal):
        asked.specs = found
        return None
    if found == refusals.BAD_SYMBOL:
        return asked.answer("answer_to_symbol", found)
    return asked.answer("answer_to_pair", found) if found == refusals.bad_pair(asked.market) else found


def _start_after_end(asked: Asked) -> ApiRefusal | None:
    start_ms, end_ms = asked.start_ms, asked.end_ms
    if start_ms is None or end_ms is None or start_ms <= end_ms:
        return None
    return asked.answer("answer_to_start_after_end", None if asked.spot else refusals.START_AFTER_END)


def _reach(asked: Asked) -> ApiRefusal | None:
    """Refuse windows, depths and reference prices that are not available."""
    start_ms, endpoint, at_ms = asked.start_ms, asked.route.endpoint, asked.at_ms
    if endpoint.startswith("referencePrice"):
        (spec,) = asked.specs
        halted = endpoint.endswith("calculation") and spec.status_at(at_ms) != "TRADING"
        return refusals.NO_REFERENCE_PRICE if halted or at_ms < spec.listed_ms else None
    if asked.route.is_klines:
        return _range(asked)
    if asked.spot:
        return None
    if endpoint in {"depth", "rpiDepth"}:
        levels = {RPI_LEVELS} if endpoint == "rpiDepth" else FUTURES_DEPTHS
        return None if asked.limit in levels else refusals.INVALID_DEPTH.about(asked.limit)
    if start_ms is None:
        return None
    if endpoint == "aggTrades" and start_ms < at_ms - _AGGREGATES_SPAN_MS:
        return refusals.TOO_OLD
    old = asked.route.is_statistics and start_ms < at_ms - STATISTICS_SPAN_MS
    return ApiRefusal(-1130, "parameter 'startTime' is invalid.") if old else None


def _range(asked: Asked) -> ApiRefusal | None:
    """Refuse candles of windows that are too long, or in the future."""
    start_ms, end_ms = asked.start_ms, asked.end_ms
    days = range_days(asked.facts, asked.market, asked.route.endpoint)
    if days and start_ms is not None and end_ms is not None and end_ms - start_ms > days * DAY_MS:
        own = replace(refusals.TOO_LONG, message=refusals.TOO_LONG.message.replace("200", str(days)))
        refusal = asked.answer("answer_to_over_range", own)
        if refusal is not None:
            return refusal
    if start_ms is not None and start_ms > asked.at_ms:
        return asked.answer("future_range", None)
    return asked.answer("future_end", None) if end_ms is not None and end_ms > asked.at_ms else None


def range_days(facts: PlayedFacts, market: Market, endpoint: str) -> int:
    """Return how many days a window of candles has at most; 0: any number."""
    usual = COINM_DAYS if market == "coinm" else 0
    return 0 if endpoint == "premiumIndexKlines" else facts.number(market, "range_days_cap", usual)


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for each, value in headers.items() if each.lower() == name), "")


_Check = Callable[[Asked], ApiRefusal | None]
_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("binary", _binary_only),
    ("doubled", _doubled),
    ("empty", _empty),
    ("missing", _absent),
    ("characters", _characters),
    ("unknown", _unknown),
    ("choices", _choices),
    ("interval", _interval),
    ("limit", _limit),
    ("unit", _unit),
    ("contract", _contract),
    ("symbol", _symbol),
    ("window", _start_after_end),
    ("reach", _reach),
)
_ORDERED = ("empty", "characters", "unknown", "interval", "limit", "symbol", "window")  # of which a profile may tell
_BY_NAME = dict(_CHECKS)
