"""Build answers to kline questions, with their lifetimes (docs/design.md#as-of, #freshness, #holes). Pure."""

from dataclasses import dataclass, field

from mdcache.cache.answers import Answer
from mdcache.candles.plan import Serve
from mdcache.candles.series import Series
from mdcache.candles.tail import Tail
from mdcache.clock import Instant
from mdcache.exchange.klines import KlineQuestion

_DAY_MS = 86_400_000
_SETTLED_LIFETIME_S = 3_600  # settled rows are final, but a revision may come
_IMMUTABLE_LIFETIME_S = 31_536_000


@dataclass(frozen=True, slots=True)
class KlineAnswer(Answer):
    """Rows of a series, valid while the series has the `versions` it was built from.

    `newest_open`: its last row is that of a candle that was open at the as-of.
    """

    rows: int
    series: Series
    versions: tuple[int, int]
    newest_open: bool = field(default=False, kw_only=True)

    def is_current(self) -> bool:
        """Return whether what it was built from is unchanged."""
        settled, tail = self.versions
        series = self.series
        return series.settled_version == settled and (self.settled or series.tail_version == tail)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The lifetime of an answer; the fields are those of `Answer`."""

    as_of_ms: int
    lifetime_s: float
    valid_until_ms: int
    immutable: bool = False


def versions(series: Series, *, settled: bool) -> tuple[int, int]:
    """Return the versions of what an answer is built from; settled rows do not depend on the tail."""
    return series.settled_version, 0 if settled else series.tail_version


def tail_lifetime(tail: Tail, ttl_ms: int) -> Lifetime:
    """Return the lifetime of an answer whose range reaches the tail.

    Args:
        tail: The tail, whose as-of is the answer's.
        ttl_ms: How long the tail is fresh, in milliseconds.
    """
    ends_ms = [tail.as_of_ms + ttl_ms, tail.open_until_ms]
    return Lifetime(tail.as_of_ms, ttl_ms / 1000, min(each for each in ends_ms if each is not None))


def settled_lifetime(
    question: KlineQuestion, served: Serve, series: Series, as_of_ms: int, now: Instant, ttl_ms: int
) -> Lifetime:
    """Return the lifetime of an answer that consists of settled rows.

    It is immutable if both ends are given, all rows are over a day old, and no empty range among them may still fill.
    Otherwise it lasts an hour, or until an empty range is due for a re-check.

    Args:
        question: What was asked.
        served: What answers it.
        series: What is known.
        as_of_ms: The answer's as-of: now.
        now: Exchange time now.
        ttl_ms: The TTL of empty ranges in milliseconds.
    """
    until_ms = series.empty_ranges.trusted_until_ms(served.lo_ms, served.hi_ms, ttl_ms)
    old = question.end_ms is not None and question.end_ms + question.interval.length_ms + _DAY_MS <= now.early_ms
    if question.bounded and old and until_ms is None:
        lifetime_s, immutable = float(_IMMUTABLE_LIFETIME_S), True
    else:
        if served.hi_ms >= served.lo_ms > now.ms:  # all of it lies ahead
            until_ms = served.lo_ms - 1
        left_s = _SETTLED_LIFETIME_S if until_ms is None else max(0, until_ms - now.late_ms) / 1000
        lifetime_s, immutable = min(_SETTLED_LIFETIME_S, left_s), False
    # settled rows are as of now whenever they are served; an empty range that is due sooner is not
    valid_until_ms = now.ms + _SETTLED_LIFETIME_S * 1000 if lifetime_s >= _SETTLED_LIFETIME_S else -1
    return Lifetime(as_of_ms, lifetime_s, valid_until_ms, immutable)


def is_independent_of_now(question: KlineQuestion, served: Serve, now: Instant) -> bool:
    """Return whether the answer does not depend on the current time: it ends in the past, or is full from its start."""
    if question.end_ms is not None and question.end_ms < now.early_ms:
        return not served.reaches_tail
    return question.start_ms is not None and not question.endpoint.nearest_end and served.rows == question.limit
