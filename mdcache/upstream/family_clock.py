"""A family's clock: what time the exchange's minutes are counted by, as measured here or as others told it.

The measuring is `clocksync`'s.
"""

import math
from collections import deque

from mdcache.clock import Clock
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.budget import Moment
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.models import Instant
from mdcache.upstream.replicas.protocol import SURE_MS

_DRIFT = 10_000  # a machine's clock may be off by one in so many, and that clock is not measured again
_TOLD_ERROR_MS = 50  # two servers' clocks drift apart by less in the second between two beats
_ROUND_TRIPS = 128


class FamilyClock:
    """The exchange's time for one family's budget, with its error and with what a trip takes."""

    def __init__(self, family: Family, clocks: ExchangeClocks, clock: Clock) -> None:
        self._family = family
        self._clocks = clocks
        self._clock = clock
        self._told: tuple[float, Instant] | None = None
        self._round_trips_ms: deque[int] = deque(maxlen=_ROUND_TRIPS)
        self._round_trip_ms = 0

    def now(self) -> Moment:
        """Now, with the 99th percentile of the last trips; as others told it where they know it and we don't."""
        utc = self.measured()
        if self._told is not None and utc.error_ms > SURE_MS:
            since_s, told = self._told
            since_ms = int((self._clock.now() - since_s) * 1000)
            utc = Instant(told.ms + since_ms, told.error_ms + since_ms // _DRIFT)
        return Moment(utc.ms, utc.error_ms, self._round_trip_ms)

    def measured(self) -> Instant:
        """Now, by our own measurement only; unclamped."""
        return self._clocks.family_now(self._family)

    def measure(self) -> None:
        """Have it measured, behind."""
        self._clocks.measure_in_background(next(market for market in Market if market.family is self._family))

    def hear(self, time_ms: int, error_ms: int, sent_s: float) -> None:
        """Go by what another replica measured, until it is measured here; the question left at `sent_s`."""
        now_s = self._clock.now()
        trip_ms = math.ceil((now_s - sent_s) * 1000)
        self._told = now_s, Instant(time_ms + trip_ms // 2, error_ms + trip_ms + _TOLD_ERROR_MS)

    def record_round_trip(self, round_trip_s: float) -> None:
        """A read's head came so long after its send."""
        self._round_trips_ms.append(math.ceil(round_trip_s * 1000))
        self._round_trip_ms = sorted(self._round_trips_ms)[len(self._round_trips_ms) * 99 // 100]
