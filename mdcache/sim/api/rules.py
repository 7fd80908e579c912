"""What spot tells of a symbol's execution: executionRules, referencePrice and how that is calculated."""

from mdcache.sim.api.facts import Facts
from mdcache.sim.api.query import DataQuery
from mdcache.sim.api.refusals import ApiRefusal
from mdcache.sim.prices.price_history import TICK_MS
from mdcache.sim.prices.printing import Json

_BUCKETS, _BUCKET_MS = 10, 1_000  # rest-api.md, GET /api/v3/referencePrice/calculation
_NO_PRICE = ApiRefusal(-2043, "This symbol doesn't have a reference price.")


def execution_rules(_: Facts, asked: DataQuery, __: int) -> Json:
    """GET executionRules: a price range for every symbol."""
    rule = {
        "ruleType": "PRICE_RANGE",
        "bidLimitMultUp": "1.1",
        "bidLimitMultDown": "0.2",
        "askLimitMultUp": "5",
        "askLimitMultDown": "0.9",
    }
    return {"symbolRules": [{"symbol": spec.symbol, "rules": [rule]} for spec in asked.specs]}


def reference_price(facts: Facts, asked: DataQuery, at_ms: int) -> Json | ApiRefusal:
    """GET referencePrice: the last ten seconds' average, or the last price; null while nobody may trade."""
    (spec,) = asked.specs
    last = facts.last(spec, at_ms)
    if last is None:
        return _NO_PRICE
    timestamp = asked.time(at_ms - at_ms % TICK_MS)
    if spec.status_at(at_ms) != "TRADING":
        return {"symbol": spec.symbol, "referencePrice": None, "timestamp": timestamp}
    node = facts.traded(spec, at_ms + 1 - _BUCKETS * _BUCKET_MS, at_ms + 1, at_ms)
    units = facts.units(spec)
    price = units.mean(node) if node.trades else units.price(last.node.close)
    return {"symbol": spec.symbol, "referencePrice": price, "timestamp": timestamp}


def reference_calculation(facts: Facts, asked: DataQuery, at_ms: int) -> Json | ApiRefusal:
    """GET referencePrice/calculation: an arithmetic mean, where there is one."""
    (spec,) = asked.specs
    if facts.last(spec, at_ms) is None or spec.status_at(at_ms) != "TRADING":
        return _NO_PRICE
    return {
        "symbol": spec.symbol,
        "calculationType": "ARITHMETIC_MEAN",
        "bucketCount": _BUCKETS,
        "bucketWidthMs": _BUCKET_MS,
    }
