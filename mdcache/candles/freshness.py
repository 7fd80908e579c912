"""How old an answer may be (docs/design.md#freshness): the request's directives, the TTL, and the close of a candle.

An age is the difference of two readings of one clock, whose error cancels out; only closes take the error into account.
"""

from dataclasses import dataclass

from mdcache.candles.empty_ranges import trusted_for_ms
from mdcache.candles.tail import Tail
from mdcache.clock import Instant

_MAX_EMPTY_TTL_MS = 5_000  # of an empty tail: a symbol may begin to trade at any moment
_FRAME_SLACK_MS = 100  # on top of 1.25 cadences: docs/design.md#stream-fed
_MAX_AHEAD_MS = 1_000  # clocks of two replicas may differ by this much; a time further ahead is a client's mistake


@dataclass(frozen=True, slots=True)
class FreshnessDirectives:
    """A request's directives about age, in the headers' own units; `None` or false if not given."""

    max_age_s: float | None = None
    max_stale_s: float | None = None
    no_cache: bool = False
    only_if_cached: bool = False
    min_as_of_ms: int | None = None

    def wait_ms(self, now: Instant) -> int:
        """Return how long to wait until our clock reaches `min_as_of_ms`, which the client got from another replica.

        Returns:
            Milliseconds; 0 if that moment has passed, or lies further ahead than a replica's clock can be.
        """
        ahead_ms = (self.min_as_of_ms or 0) - now.ms
        return ahead_ms if 0 < ahead_ms <= _MAX_AHEAD_MS else 0

    def max_fresh_age_ms(self, ttl_ms: int) -> int:
        """Return the greatest age, in milliseconds, at which an answer needs no refresh.

        Args:
            ttl_ms: The TTL in milliseconds. A request may shorten it, never lengthen it.
        """
        if self.no_cache:
            return 0
        return ttl_ms if self.max_age_s is None else min(ttl_ms, int(self.max_age_s * 1000))

    def max_stale_age_ms(self, ttl_ms: int, max_stale_ms: int) -> int:
        """Return the greatest age, in milliseconds, of an answer while Binance can't be asked.

        Args:
            ttl_ms: The TTL in milliseconds.
            max_stale_ms: Our own limit in milliseconds; a request's `max-stale` takes its place.
        """
        if self.max_stale_s is not None:
            return self.max_fresh_age_ms(ttl_ms) + int(self.max_stale_s * 1000)
        if self.no_cache:
            return 0
        return max_stale_ms if self.max_age_s is None else min(max_stale_ms, int(self.max_age_s * 1000))


@dataclass(frozen=True, slots=True)
class TailFloor:
    """The oldest as-of with which a tail may answer one request.

    `allows_passed_close`: a tail whose newest candle was open when read and has closed since may answer, too.
    """

    as_of_ms: int
    allows_passed_close: bool = False

    def admits(self, tail: Tail, now: Instant) -> bool:
        """Return whether `tail` may answer at `now`."""
        return tail.as_of_ms >= self.as_of_ms and (self.allows_passed_close or not tail.close_passed(now.late_ms))


def tail_ttl_ms(tail: Tail | None, ttl_ms: int, now: Instant, *, trading: bool) -> int:
    """Return how long a tail is fresh, in milliseconds: one that a stream feeds, until a frame is surely overdue.

    Args:
        tail: The tail, if there is one.
        ttl_ms: The TTL of open candles in milliseconds.
        now: Exchange time now.
        trading: Whether the symbol trades. If it does not and no row follows its last settled one, the tail is an
            empty range, and trusted like one (docs/design.md#holes), but only for seconds: it may trade again before
            the list of symbols says so.
    """
    if tail is not None and tail.cadence_ms:
        return max(ttl_ms, tail.cadence_ms * 5 // 4 + _FRAME_SLACK_MS)
    if trading or tail is None or tail.rows:
        return ttl_ms
    return min(trusted_for_ms(max(0, now.ms - tail.start_ms), ttl_ms), max(ttl_ms, _MAX_EMPTY_TTL_MS))


def fresh_floor(directives: FreshnessDirectives, ttl_ms: int, arrived: Instant) -> TailFloor:
    """Return which tails answer a request as fresh.

    Args:
        directives: The request's directives about age.
        ttl_ms: The tail's TTL in milliseconds.
        arrived: Exchange time at which the request arrived. `min_as_of_ms` ahead of it can only mean now.
    """
    floor_ms = arrived.ms - directives.max_fresh_age_ms(ttl_ms)
    return TailFloor(max(floor_ms, min(directives.min_as_of_ms or 0, arrived.ms)))


def stale_floor(directives: FreshnessDirectives, ttl_ms: int, max_stale_ms: int, now: Instant) -> TailFloor:
    """Return which tails answer a request, marked as stale, while Binance can't be asked.

    Args:
        directives: The request's directives about age.
        ttl_ms: The tail's TTL in milliseconds.
        max_stale_ms: Our own limit on the age of stale answers, in milliseconds.
        now: Exchange time now. `min_as_of_ms` ahead of it can only mean now.
    """
    floor_ms = now.ms - directives.max_stale_age_ms(ttl_ms, max_stale_ms)
    return TailFloor(
        max(floor_ms, min(directives.min_as_of_ms or 0, now.ms)), allows_passed_close=directives.max_stale_s is not None
    )
