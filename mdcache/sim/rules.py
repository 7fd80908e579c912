"""What spot tells of a symbol's execution: executionRules, referencePrice and how that is calculated."""

from mdcache.sim.asking import Asked
from mdcache.sim.desk import Desk
from mdcache.sim.printing import Json
from mdcache.sim.refusals import Refusal
from mdcache.sim.tape import TICK_MS

_BUCKETS, _BUCKET_MS = 10, 1_000  # rest-api.md, GET /api/v3/referencePrice/calculation
_NO_PRICE = Refusal(-2043, "This symbol doesn't have a reference price.")


def execution_rules(_: Desk, asked: Asked, __: int) -> Json:
    """GET executionRules: a price range for every symbol."""
    rule = {
        "ruleType": "PRICE_RANGE",
        "bidLimitMultUp": "1.1",
        "bidLimitMultDown": "0.2",
        "askLimitMultUp": "5",
        "askLimitMultDown": "0.9",
    }
    return {"symbolRules": [{"symbol": spec.symbol, "rules": [rule]} for spec in asked.specs]}


def reference_price(desk: Desk, asked: Asked, at_ms: int) -> Json | Refusal:
    """GET referencePrice: the last ten seconds' average, or the last price; null while nobody may trade."""
    (spec,) = asked.specs
    last = desk.last(spec, at_ms)
    if last is None:
        return _NO_PRICE
    timestamp = asked.time(at_ms - at_ms % TICK_MS)
    if spec.status_at(at_ms) != "TRADING":
        return {"symbol": spec.symbol, "referencePrice": None, "timestamp": timestamp}
    node = desk.traded(spec, at_ms + 1 - _BUCKETS * _BUCKET_MS, at_ms + 1, at_ms)
    units = desk.units(spec)
    price = units.mean(node) if node.trades else units.price(last.node.close)
    return {"symbol": spec.symbol, "referencePrice": price, "timestamp": timestamp}


def reference_calculation(desk: Desk, asked: Asked, at_ms: int) -> Json | Refusal:
    """GET referencePrice/calculation: an arithmetic mean, where there is one."""
    (spec,) = asked.specs
    if desk.last(spec, at_ms) is None or spec.status_at(at_ms) != "TRADING":
        return _NO_PRICE
    return {
        "symbol": spec.symbol,
        "calculationType": "ARITHMETIC_MEAN",
        "bucketCount": _BUCKETS,
        "bucketWidthMs": _BUCKET_MS,
    }
