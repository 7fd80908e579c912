"""`Caller` and `Answer`: the types that all kinds of questions to the cache share."""

from dataclasses import dataclass, field
from enum import StrEnum

from mdcache.clock import Instant
from mdcache.upstream.priority import Lane, Priority


class CacheStatus(StrEnum):
    """How an answer was obtained. Except for `HIT`, the values are RFC 9211's reasons for forwarding a request."""

    MISS = "uri-miss"
    PARTIAL = "partial"
    REFRESHED = "stale"
    REQUESTED = "request"
    HIT = "hit"


@dataclass(frozen=True, slots=True)
class Caller:
    """The client that asks: its name from the configured list (or empty), its lane, and its address."""

    name: str = ""
    lane: Lane = Lane.NORMAL
    address: str = ""

    def priority(self, deadline_s: float, *, close_passed: bool = False, paced: bool = False) -> Priority:
        """Return the priority of a read for it."""
        return Priority(self.lane, deadline_s, self.name, close_passed, paced, self.address)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and how long it is good for.

    `as_of_ms`: exchange time. `lifetime_s`: counted from the as-of. `valid_until_ms`: exchange time after which it may
    not be served again as it is. `settled`: no row of it comes from a tail, so that it is as of now whenever it is
    served. `stale`: past its TTL. `collapsed`: another request had started the read. `derived`: its open candle was
    derived from a shorter series.
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
    derived: bool = field(default=False, kw_only=True)

    def is_valid(self, now: Instant) -> bool:
        """Return whether it may still be served unchanged."""
        return now.late_ms <= self.valid_until_ms and self.is_current()

    def is_current(self) -> bool:
        """Return whether what it was built from is unchanged."""
        return True
