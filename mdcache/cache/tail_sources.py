"""What feeds the tails in use: reads, streams or derivation."""

from collections.abc import Callable, Iterable
from enum import StrEnum

from mdcache.candles.series import Series
from mdcache.clock import Instant
from mdcache.exchange.markets import Market

_IN_USE_MS = 60_000  # longer than any default TTL; an older tail is one that nobody asks for


class TailSource(StrEnum):
    """What a tail owes its as-of to."""

    REST = "rest"
    STREAM = "stream"
    DERIVED = "derived"


def tail_source(series: Series) -> TailSource | None:
    """Return what a series' tail owes its as-of to, as it was shown last; `None` without a tail."""
    if series.tail is None:
        return None
    if series.last_shown_tail is not None and series.last_shown_tail.derived:
        return TailSource.DERIVED
    return TailSource.REST if series.last_shown_tail is series.tail else TailSource.STREAM


def count_tails(listed: Iterable[Series], exchange_now: Callable[[Market], Instant]) -> dict[str, dict[str, int]]:
    """Count the tails in use by market and source: those that are at most a minute old."""
    counts = {market.value: {source.value: 0 for source in TailSource} for market in Market}
    since_ms = {market: exchange_now(market).ms - _IN_USE_MS for market in Market}
    for series in listed:
        tail, source, market = series.last_shown_tail, tail_source(series), series.key.market
        if tail is not None and source is not None and tail.as_of_ms >= since_ms[market]:
            counts[market.value][source.value] += 1
    return counts
