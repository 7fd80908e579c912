"""What usdm (and for constituents coinm) tells of indices, funds, risks and sessions."""

from mdcache.sim.api.facts import Facts
from mdcache.sim.api.query import DataQuery
from mdcache.sim.api.refusals import BAD_SYMBOL, ApiRefusal
from mdcache.sim.config import DAY_MS, SymbolSpec
from mdcache.sim.default_symbols import base_and_quote
from mdcache.sim.prices.node import DRAW
from mdcache.sim.prices.printing import Json, decimals

COMPOSITE = "DEFIUSDT"  # the one composite index; not a symbol that trades here
_EXCHANGES = (
    ("binance", "{base}{quote}", "0.5"),
    ("coinbase", "{base}-{quote}", "0.3"),
    ("bybit", "{base}{quote}", "0.2"),
)
_COIN_EXCHANGES = (("bitstamp", "{base}{quote}"), ("coinbase", "{base}-{quote}"), ("kraken", "{base}/{quote}"))
_MAJORS = frozenset({"BTC", "ETH", "BNB"})
_HALF_HOUR_MS = 1_800_000
_HOUR_MS = 3_600_000
_RISKS = ("low", "low", "medium", "high")
_SESSIONS = ((0, 8, "OVERNIGHT"), (8, 13.5, "PRE_MARKET"), (13.5, 20, "REGULAR"), (20, 24, "AFTER_MARKET"))
_WEEKEND = (2, 3)  # days since the epoch, modulo 7: Saturday and Sunday
_EIGHT = decimals(8, 8)


def index_info(_: Facts, asked: DataQuery, at_ms: int) -> list[Json] | ApiRefusal:
    """GET indexInfo: what the composite index is made of."""
    if asked.name not in {None, COMPOSITE}:
        return BAD_SYMBOL
    bases = sorted({base_and_quote(spec)[0] for spec in asked.specs if spec.listed_ms <= at_ms})
    share = _EIGHT(10**8 // max(1, len(bases)))
    assets = [
        {"baseAsset": base, "quoteAsset": "USDT", "weightInQuantity": "1.00000000", "weightInPercentage": share}
        for base in bases
    ]
    return [{"symbol": COMPOSITE, "time": at_ms, "component": "baseAsset", "baseAssetList": assets}]


def asset_index(facts: Facts, asked: DataQuery, at_ms: int) -> Json | list[Json] | ApiRefusal:
    """GET assetIndex: what each asset is worth as margin."""
    specs = {f"{base_and_quote(spec)[0]}USD": spec for spec in asked.specs if spec.symbol == spec.pair}
    if asked.name is None:
        return [_asset_index(facts, name, spec, at_ms) for name, spec in specs.items()]
    if asked.name not in specs:
        return BAD_SYMBOL
    return _asset_index(facts, asked.name, specs[asked.name], at_ms)


def constituents(facts: Facts, asked: DataQuery, at_ms: int) -> Json | ApiRefusal:
    """GET constituents: where an index price comes from; coinm asks by pair."""
    spec = next((one for one in asked.specs if asked.name in {one.symbol, one.pair}), None)
    if spec is None:
        return BAD_SYMBOL
    base, quote = base_and_quote(spec)
    body: Json = {"symbol": spec.pair, "time": at_ms}
    if asked.market == "coinm":
        found = [
            {"exchange": exchange, "symbol": form.format(base=base, quote=quote)} for exchange, form in _COIN_EXCHANGES
        ]
        return body | {"constituents": found}
    index = facts.sample(spec, "index", at_ms)
    draws = facts.draws(len(_EXCHANGES), spec.symbol, "constituents", at_ms // 1000)
    prices = [
        {
            "exchange": exchange,
            "symbol": form.format(base=base, quote=quote),
            "price": _EIGHT(index + index * (draw - DRAW // 2) // (DRAW * 1000)),
            "weight": f"{float(weight):.8f}",
        }
        for (exchange, form, weight), draw in zip(_EXCHANGES, draws, strict=True)
    ]
    return body | {"constituents": prices}


def insurance(facts: Facts, asked: DataQuery, at_ms: int) -> Json | list[Json]:
    """GET insuranceBalance: the fund of a symbol's group, or all."""
    groups = ([spec for spec in asked.specs if _is_major(spec) is major] for major in (True, False))
    found = [
        (_fund(facts, group, at_ms), any(spec.symbol == asked.name for spec in group)) for group in groups if group
    ]
    return next(fund for fund, has in found if has) if asked.single else [fund for fund, _ in found]


def adl_risk(facts: Facts, _: DataQuery, spec: SymbolSpec, at_ms: int) -> Json:
    """The risk of a symbol's positions being closed, rated every half hour."""
    rated_ms = at_ms - at_ms % _HALF_HOUR_MS
    (draw,) = facts.draws(1, spec.symbol, "adl", rated_ms)
    return {"symbol": spec.symbol, "adlRisk": _RISKS[draw * len(_RISKS) // DRAW], "updateTime": rated_ms}


def schedule(_: Facts, __: DataQuery, at_ms: int) -> Json:
    """GET tradingSchedule: a week from yesterday on."""
    today = at_ms // DAY_MS
    days = range(today - 1, today + 6)
    equity = [session for day in days for session in _day(day, _SESSIONS)]
    commodity = [session for day in days for session in _day(day, ((0, 24, "REGULAR"),))]
    return {
        "updateTime": at_ms - at_ms % _HOUR_MS,
        "marketSchedules": {"EQUITY": {"sessions": equity}, "COMMODITY": {"sessions": commodity}},
    }


def _day(day: int, sessions: tuple[tuple[float, float, str], ...]) -> list[Json]:
    if day % 7 in _WEEKEND:
        sessions = ((0, 24, "NO_TRADING"),)
    start = day * DAY_MS
    return [
        {"startTime": start + int(opened * _HOUR_MS), "endTime": start + int(closed * _HOUR_MS), "type": kind}
        for opened, closed, kind in sessions
    ]


def _asset_index(facts: Facts, name: str, spec: SymbolSpec, at_ms: int) -> Json:
    index = facts.sample(spec, "index", at_ms)
    buffer, exchange = "0.10000000", "0.05000000"
    return {
        "symbol": name,
        "time": at_ms,
        "index": _EIGHT(index),
        "bidBuffer": buffer,
        "askBuffer": buffer,
        "bidRate": _EIGHT(index * 90 // 100),
        "askRate": _EIGHT(index * 110 // 100),
        "autoExchangeBidBuffer": exchange,
        "autoExchangeAskBuffer": exchange,
        "autoExchangeBidRate": _EIGHT(index * 95 // 100),
        "autoExchangeAskRate": _EIGHT(index * 105 // 100),
    }


def _is_major(spec: SymbolSpec) -> bool:
    return base_and_quote(spec)[0] in _MAJORS


def _fund(facts: Facts, specs: list[SymbolSpec], at_ms: int) -> Json:
    shown_ms = at_ms - at_ms % DAY_MS
    assets = []
    for asset in sorted({base_and_quote(spec)[1] for spec in specs}):
        (draw,) = facts.draws(1, "fund", asset, _is_major(specs[0]), shown_ms)
        assets.append({"asset": asset, "marginBalance": _EIGHT(draw * 10**12), "updateTime": shown_ms})
    return {"symbols": sorted(spec.symbol for spec in specs), "assets": assets}
