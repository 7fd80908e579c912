"""Order books and best prices: depth, rpiDepth, ticker/bookTicker, ticker/price."""

from mdcache.sim.api.facts import Facts, Level
from mdcache.sim.api.query import DataQuery
from mdcache.sim.api.refusals import ApiRefusal
from mdcache.sim.api.weights import FUTURES_DEPTH
from mdcache.sim.config import SymbolSpec
from mdcache.sim.prices.price_history import TICK_MS
from mdcache.sim.prices.printing import Json

_FIRST_UPDATE = 1_027_024
_RPI_LEVELS = 1_000  # Order-Instruments-RPI page of fapi: no other limit


def depth(facts: Facts, asked: DataQuery, at_ms: int) -> Json | ApiRefusal:
    """GET depth and rpiDepth: levels of price and quantity, the best first."""
    valid = {_RPI_LEVELS} if asked.endpoint == "rpiDepth" else FUTURES_DEPTH.keys()
    if asked.market != "spot" and asked.limit not in valid:
        return ApiRefusal(-4021, f"{asked.limit} is not valid depth limit")
    (spec,) = asked.specs
    bids, asks = ([_level(facts, spec, one) for one in side] for side in facts.sides(spec, at_ms, asked.limit))
    body: Json = {"lastUpdateId": _update(spec, at_ms)}
    if asked.market == "coinm":
        body |= {"symbol": spec.symbol, "pair": spec.pair}
    if asked.market != "spot":
        body |= {"E": at_ms, "T": at_ms // TICK_MS * TICK_MS}
    return body | {"bids": bids, "asks": asks}


def book_ticker(facts: Facts, spec: SymbolSpec, at_ms: int) -> Json:
    """The best bid and ask of a symbol; zeros where it has none."""
    units = facts.units(spec)
    (bid_price, bid), (ask_price, ask) = best(facts, spec, at_ms)
    body: Json = {"symbol": spec.symbol}
    if spec.market == "coinm":
        body = {"lastUpdateId": _update(spec, at_ms), **body, "pair": spec.pair}
    body |= {
        "bidPrice": units.price(bid_price),
        "bidQty": units.quantity(bid),
        "askPrice": units.price(ask_price),
        "askQty": units.quantity(ask),
    }
    return body if spec.market == "spot" else body | {"time": at_ms // TICK_MS * TICK_MS}


def price_ticker(facts: Facts, spec: SymbolSpec, at_ms: int) -> Json:
    """The last price of a symbol, and on futures when it was paid; zeros before the first trade."""
    last = facts.last(spec, at_ms)
    body: Json = {"symbol": spec.symbol}
    if spec.market == "coinm":
        body["ps"] = spec.pair
    body["price"] = facts.units(spec).price(last.node.close if last else 0)
    if spec.market != "spot":
        body["time"] = last.time_ms if last else 0
    return body


def best(facts: Facts, spec: SymbolSpec, at_ms: int) -> tuple[Level, Level]:
    """The best bid and the best ask; (0, 0) for none."""
    bids, asks = facts.sides(spec, at_ms, 1)
    return bids[0] if bids else (0, 0), asks[0] if asks else (0, 0)


def _level(facts: Facts, spec: SymbolSpec, level: Level) -> list[str]:
    units = facts.units(spec)
    return [units.price(level[0]), units.quantity(level[1])]


def _update(spec: SymbolSpec, at_ms: int) -> int:
    return _FIRST_UPDATE + max(0, at_ms - spec.listed_ms) // TICK_MS
