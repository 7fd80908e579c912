"""How old an answer may be: the caller's wishes, the TTL, and whether a tail may be shown.

Rule: docs/design.md#freshness.
"""

from dataclasses import dataclass

from mdcache.candles.empty_ranges import trusted_for_ms
from mdcache.candles.tail import Tail
from mdcache.clock import Instant

_MAX_AHEAD_MS = 1_000  # a clock that saw a moment so far ahead of ours may be another replica's


@dataclass(frozen=True, slots=True)
class FreshnessDirectives:
    """What the caller said about age. Seconds and milliseconds as in the headers; `None`: nothing said."""

    max_age_s: float | None = None
    max_stale_s: float | None = None
    no_cache: bool = False
    only_if_cached: bool = False
    min_as_of_ms: int | None = None

    def wait_ms(self, now: Instant) -> int:
        """How long until our clock is where the caller saw another replica's; 0 where it is, or that can't be."""
        ahead_ms = (self.min_as_of_ms or 0) - now.ms
        return ahead_ms if 0 < ahead_ms <= _MAX_AHEAD_MS else 0

    def max_fresh_age_ms(self, ttl_ms: int) -> int:
        """The most age at which an answer needs no refresh."""
        if self.no_cache:
            return 0
        return ttl_ms if self.max_age_s is None else min(ttl_ms, int(self.max_age_s * 1000))

    def max_stale_age_ms(self, ttl_ms: int, max_stale_ms: int) -> int:
        """The most age of an answer where Binance can't be asked."""
        if self.max_stale_s is not None:
            return self.max_fresh_age_ms(ttl_ms) + int(self.max_stale_s * 1000)
        if self.no_cache:
            return 0
        return max_stale_ms if self.max_age_s is None else min(max_stale_ms, int(self.max_age_s * 1000))


@dataclass(frozen=True, slots=True)
class TailFloor:
    """Least as-of a tail must have for one question, fixed when it arrived; `crossing`: past its close is fine."""

    as_of_ms: int
    allows_passed_close: bool = False

    def admits(self, tail: Tail, now: Instant) -> bool:
        """Whether `tail` may be shown at `now`."""
        return tail.as_of_ms >= self.as_of_ms and (self.allows_passed_close or not tail.close_passed(now.late_ms))


def tail_ttl_ms(tail: Tail | None, ttl_ms: int, now: Instant, *, trading: bool) -> int:
    """How long a tail is fresh: the TTL; where nothing follows the last row of a halted symbol, its belief."""
    if trading or tail is None or tail.rows:
        return ttl_ms
    return trusted_for_ms(max(0, now.ms - tail.start_ms), ttl_ms)


def fresh_floor(directives: FreshnessDirectives, ttl_ms: int, arrived: Instant) -> TailFloor:
    """What a tail must be to answer without the mark.

    Both moments are of one clock, whose error cancels out of an age; only closes are judged by its edges.
    """
    floor = arrived.ms - directives.max_fresh_age_ms(ttl_ms)
    return TailFloor(max(floor, directives.min_as_of_ms or 0))


def stale_floor(directives: FreshnessDirectives, ttl_ms: int, max_stale_ms: int, now: Instant) -> TailFloor:
    """What a tail must be to answer, marked, where Binance can't be asked."""
    floor = now.ms - directives.max_stale_age_ms(ttl_ms, max_stale_ms)
    return TailFloor(max(floor, directives.min_as_of_ms or 0), allows_passed_close=directives.max_stale_s is not None)
