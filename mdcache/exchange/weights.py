"""What a call costs, by Binance's documents (the safe side where a measurement says less)."""

from mdcache.exchange.limits import RequestBucket
from mdcache.exchange.markets import Family, KlinePath

SPOT_KLINES = 2  # weight 2 whatever the limit: Binance rest-api.md, GET /api/v3/klines
# limit below 100, 500, 1001 and up: U-Kline-Candlestick-Data; measured 2026-10 one step cheaper at 100 and 500
FUTURES_KLINES = ((99, 1), (499, 2), (1000, 5), (1500, 10))
EXCHANGE_INFO = {Family.SPOT: 20, Family.FUTURES: 1}  # rest-api.md; U-/C-Exchange-Information
TIME = 1  # rest-api.md, U-/C-Check-Server-Time

SPOT_OVERLAP = 100  # rows of a tail read: 100 cost what 1 costs
FUTURES_OVERLAP = 99  # the most rows for weight 1


def klines_weight(rule: KlinePath, limit: int) -> int:
    """Weight of one kline call that asks for `limit` rows."""
    if rule.market.family is Family.SPOT:
        return SPOT_KLINES
    return next(weight for top, weight in FUTURES_KLINES if limit <= top)


def page_limit(rule: KlinePath, rows: int) -> int:
    """The largest `limit` that costs no more than `rows` rows cost, at most the path's maximum."""
    if rule.market.family is Family.SPOT:
        return rule.max_limit
    return next((top for top, _ in FUTURES_KLINES if rows <= top), rule.max_limit)


def tail_limit(rule: KlinePath, rows: int) -> int:
    """`limit` for reading the newest `rows` rows: at least the overlap, else a full page of that price."""
    overlap = SPOT_OVERLAP if rule.market.family is Family.SPOT else FUTURES_OVERLAP
    return overlap if rows <= overlap else page_limit(rule, rows)


_PART = 10  # one question that is asked all the time may spend a tenth of what is allowed: DESIGN 3, SNAPSHOT_TTLS


def ttl_by_weight_s(weight: int, allowed: int) -> float:
    """Seconds a question of this weight is to live, so that it spends a tenth of `allowed` weight a minute."""
    return weight * 60 * _PART / max(1, allowed)


def ttl_by_requests_s(bucket: RequestBucket, share: float) -> float:
    """The same for a path whose requests are counted."""
    return bucket.window_s * _PART / max(1.0, share * bucket.requests)
