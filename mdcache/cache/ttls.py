"""The TTLs of snapshots: as set, else longer for heavier ones (SNAPSHOT_TTLS, docs/design.md#settings)."""

from collections.abc import Mapping
from dataclasses import dataclass

from mdcache.exchange.endpoints import ENDPOINTS, Endpoint
from mdcache.exchange.rate_limits import DEFAULT_LIMIT, request_bucket
from mdcache.exchange.weights import ttl_by_requests_s, ttl_by_weight_s


@dataclass(frozen=True, slots=True)
class SnapshotTtls:
    """The settings: the least TTL, and TTLs by short path, all in seconds."""

    min_s: float
    by_tail_s: Mapping[str, float]

    def ttl_s(self, endpoint: Endpoint, weight: int, allowed: int, share: float) -> float:
        """Return how long an answer is fresh, in seconds.

        Args:
            endpoint: What is asked.
            weight: What the question costs.
            allowed: The weight per minute that this daemon may use.
            share: The part of every limit that this daemon may use.
        """
        fixed = self.by_tail_s.get(endpoint.short_path)
        if fixed is not None:
            return fixed
        bucket = request_bucket(endpoint.path)
        by_requests_s = ttl_by_requests_s(bucket, share) if bucket is not None else 0.0
        return max(self.min_s, ttl_by_weight_s(weight, allowed), by_requests_s)


@dataclass(frozen=True, slots=True)
class EndpointTtls:
    """An endpoint with its weight in words, and the TTLs of its cheapest and most expensive question, in seconds."""

    endpoint: Endpoint
    weight: str
    min_s: float
    max_s: float


def ttl_table(ttls: SnapshotTtls, share: float) -> list[EndpointTtls]:
    """Return every endpoint with its TTLs at this share of Binance's documented limits."""
    found = []
    for endpoint in (each for listed in ENDPOINTS.values() for each in listed):
        allowed = int(DEFAULT_LIMIT[endpoint.market.family] * share)
        least_s, most_s = (ttls.ttl_s(endpoint, weight, allowed, share) for weight in endpoint.weight.bounds)
        bucket = request_bucket(endpoint.path)
        counted = f", {bucket.requests} requests in {bucket.window_s // 60} min" if bucket is not None else ""
        found.append(EndpointTtls(endpoint, f"{endpoint.weight}{counted}", least_s, most_s))
    return found
