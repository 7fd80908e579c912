"""What every question to the cache has in common: who asks, and what an answer tells of itself."""

from dataclasses import dataclass
from enum import StrEnum

from mdcache.clock import Instant
from mdcache.upstream.governor import Lane


class CacheStatus(StrEnum):
    """How an answer came about; the first four are RFC 9211's words for why something was forwarded."""

    MISS = "uri-miss"
    PARTIAL = "partial"
    REFRESHED = "stale"
    REQUESTED = "request"
    HIT = "hit"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: its name from the configured list (or empty), and its lane."""

    name: str = ""
    lane: Lane = Lane.NORMAL


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and where it comes from.

    `as_of_ms`: exchange time. `lifetime_s`: from the as-of. `stands_until_ms`: exchange time after which it may
    not be shown again without another look. `settled`: its as-of is now whenever it is shown, since no row of it
    comes from a tail. `marked`: past its TTL.
    """

    body: bytes
    as_of_ms: int
    lifetime_s: float
    valid_until_ms: int
    cache_status: CacheStatus
    collapsed: bool
    stale: bool
    settled: bool
    immutable: bool

    def is_valid(self, now: Instant) -> bool:
        """Whether it may be shown again as it is."""
        return now.late_ms <= self.valid_until_ms
