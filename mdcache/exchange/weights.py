"""The documented weight of a call, also where Binance was seen to charge less."""

from mdcache.exchange.markets import Family, KlineEndpoint
from mdcache.exchange.rate_limits import RequestBucket

SPOT_KLINES = 2  # weight 2 whatever the limit: Binance rest-api.md, GET /api/v3/klines
# limit below 100, 500, 1001 and up: docs/binance.md#kline-weights; measured 2026-10 one step cheaper at 100 and 500
FUTURES_KLINES = ((99, 1), (499, 2), (1000, 5), (1500, 10))
EXCHANGE_INFO = {Family.SPOT: 20, Family.FUTURES: 1}  # rest-api.md; docs/binance.md#futures-weights
TIME = 1  # rest-api.md, docs/binance.md#futures-weights

SPOT_OVERLAP = 100  # rows of a tail read; the weight is the same for any number
FUTURES_OVERLAP = 99  # the most rows for weight 1


def kline_steps(endpoint: KlineEndpoint) -> tuple[tuple[int, int], ...]:
    """Return a path's weights: up to this `limit`, this weight; the documented ones unless more was measured."""
    if endpoint.weights:
        return endpoint.weights
    return ((endpoint.max_limit, SPOT_KLINES),) if endpoint.market.family is Family.SPOT else FUTURES_KLINES


def klines_weight(endpoint: KlineEndpoint, limit: int) -> int:
    """Return the weight of one kline call that asks for `limit` rows."""
    steps = kline_steps(endpoint)
    return next((weight for top, weight in steps if limit <= top), steps[-1][1])


def page_limit(endpoint: KlineEndpoint, rows: int) -> int:
    """Return the largest `limit` with the same weight as `rows` rows, at most the path's maximum."""
    return min(endpoint.max_limit, next((top for top, _ in kline_steps(endpoint) if rows <= top), endpoint.max_limit))


def tail_limit(endpoint: KlineEndpoint, rows: int) -> int:
    """Return the `limit` that reads the newest `rows` rows: at least the overlap, else a full page of that weight."""
    overlap = SPOT_OVERLAP if endpoint.market.family is Family.SPOT else FUTURES_OVERLAP
    return overlap if rows <= overlap else page_limit(endpoint, rows)


# one question that is asked all the time may spend a tenth of the allowed weight: docs/design.md#settings
_SHARE_DIVISOR = 10


def ttl_by_weight_s(weight: int, allowed: int) -> float:
    """Return the TTL in seconds at which one question of this weight spends a tenth of `allowed` per minute."""
    return weight * 60 * _SHARE_DIVISOR / max(1, allowed)


def ttl_by_requests_s(bucket: RequestBucket, share: float) -> float:
    """Return the same for a path with a limit on requests."""
    return bucket.window_s * _SHARE_DIVISOR / max(1.0, share * bucket.requests)
