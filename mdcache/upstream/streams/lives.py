"""When a connection is replaced before Binance ends it. Pure."""

import random
from dataclasses import dataclass

from mdcache.upstream.streams.limits import LONGEST_LIFE_S, SHORTEST_LIFE_S

# Candles close at full minutes, and every reader waits for them then: a replacement begins in the middle of a minute
# and is over before its end.
_FROM_MS, _TO_MS = 28_000, 32_000
_MINUTE_MS = 60_000
_SHUTDOWN_SPREAD_S = 2.0  # all clients of a server that stops are told in one moment


@dataclass(frozen=True, slots=True)
class Life:
    """How long a connection lives before it is replaced, and how long after its end was announced."""

    replaced_after_s: float
    leaves_after_s: float


def draw_life(rng: random.Random) -> Life:
    """Return a life: all differ, so that connections never end together, nor come back together."""
    return Life(rng.uniform(SHORTEST_LIFE_S, LONGEST_LIFE_S), rng.uniform(0, _SHUTDOWN_SPREAD_S))


def may_replace(wall_ms: int) -> bool:
    """Return whether a planned replacement may begin at this time of the minute."""
    return _FROM_MS <= wall_ms % _MINUTE_MS < _TO_MS
