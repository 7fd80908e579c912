"""Lists of trades: trades, historicalTrades, aggTrades.

An aggregate here is always one trade and has its number: so `fromId` means the same on all three paths.
"""

from mdcache.sim.api.facts import Facts
from mdcache.sim.api.query import DataQuery
from mdcache.sim.api.refusals import ApiRefusal
from mdcache.sim.api.trades import Trade
from mdcache.sim.config import DAY_MS, SymbolSpec
from mdcache.sim.prices.printing import Json
from mdcache.sim.prices.units import Units

_LOOK_BACK_MS = 2 * DAY_MS  # fapi aggTrades, live 2026-10-07
_TOO_OLD = ApiRefusal(-4166, "Search window is restricted to recent 2 days only.")


def trades(facts: Facts, asked: DataQuery, at_ms: int) -> list[Json]:
    """GET trades and historicalTrades: the newest, or those from a number on."""
    (spec,) = asked.specs
    source = facts.trades(spec)
    if asked.from_id is None:
        found = source.newest(asked.limit, at_ms)
    else:
        found = source.numbered(asked.from_id, asked.limit, at_ms)
    return [_trade(asked, spec, facts.units(spec), one) for one in found]


def aggregates(facts: Facts, asked: DataQuery, at_ms: int) -> list[Json] | ApiRefusal:
    """GET aggTrades: by number, by time (as klines: the oldest from a start, the newest without), or the newest."""
    (spec,) = asked.specs
    start_ms, end_ms, limit = asked.start_ms, asked.end_ms, asked.limit
    if asked.market != "spot" and start_ms is not None and start_ms < at_ms - _LOOK_BACK_MS:
        return _TOO_OLD
    source = facts.trades(spec)
    if asked.from_id is not None:
        found = source.numbered(asked.from_id, limit, at_ms)
    elif start_ms is not None:
        found = source.since(start_ms, end_ms, limit, at_ms)
    else:
        found = source.newest(limit, at_ms, end_ms)
    return [_aggregate(asked, facts.units(spec), one) for one in found]


def _trade(asked: DataQuery, spec: SymbolSpec, units: Units, trade: Trade) -> Json:
    node = trade.node
    body: Json = {
        "id": trade.number,
        "price": units.price(node.close),
        "qty": units.quantity(node.taker + node.maker),
        "baseQty" if spec.market == "coinm" else "quoteQty": units.turnover(node.taker_quote + node.maker_quote),
        "time": asked.time(trade.time_ms),
        "isBuyerMaker": trade.buyer_maker,
    }
    if spec.market == "spot":
        body["isBestMatch"] = True
    elif spec.market == "usdm":
        body["isRPITrade"] = False
    return body


def _aggregate(asked: DataQuery, units: Units, trade: Trade) -> Json:
    node = trade.node
    body: Json = {
        "a": trade.number,
        "p": units.price(node.close),
        "q": units.quantity(node.taker + node.maker),
        "f": trade.number,
        "l": trade.number,
        "T": asked.time(trade.time_ms),
        "m": trade.buyer_maker,
    }
    return body | {"M": True} if asked.market == "spot" else body
