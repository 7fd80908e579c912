"""A family's clock: what time the exchange's minutes are counted by, as measured here or as another replica stated it.

`exchange_clock` measures.
"""

import math
from collections import deque

from mdcache.clock import Clock
from mdcache.exchange.markets import Family
from mdcache.upstream.budget import Moment
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.models import Instant

SURE_MS = 10_000  # one that may be further off than this does not know the time, and goes by the others'
_DRIFT = 10_000  # a machine's clock may be off by one in so many, and that clock is not measured again
_STATED_ERROR_MS = 50  # two servers' clocks drift apart by less in the second between two beats
_ROUND_TRIPS = 128


class FamilyClock:
    """The exchange's time for one family's budget, with its error and with what a trip takes."""

    def __init__(self, family: Family, clocks: ExchangeClocks, clock: Clock) -> None:
        self._family = family
        self._clocks = clocks
        self._clock = clock
        self._stated: tuple[float, Instant] | None = None
        self._round_trips_ms: deque[int] = deque(maxlen=_ROUND_TRIPS)
        self._round_trip_ms = 0

    def now(self) -> Moment:
        """Return now, with the 99th percentile of the last round trips; as others state it where only they know it."""
        utc, now_s = self.measured(), self._clock.now()
        if self._stated is not None and utc.error_ms > SURE_MS:
            since_s, stated = self._stated
            since_ms = int((now_s - since_s) * 1000)
            utc = Instant(stated.ms + since_ms, stated.error_ms + since_ms // _DRIFT)
        return Moment(utc.ms, utc.error_ms, self._round_trip_ms, now_s)

    def measured(self) -> Instant:
        """Return now, by our own measurement only; unclamped."""
        return self._clocks.family_now(self._family)

    def adopt(self, time_ms: int, error_ms: int, sent_s: float) -> None:
        """Go by what another replica measured, until it is measured here; the question left at `sent_s`."""
        now_s = self._clock.now()
        trip_ms = math.ceil((now_s - sent_s) * 1000)
        self._stated = now_s, Instant(time_ms + trip_ms // 2, error_ms + trip_ms + _STATED_ERROR_MS)

    def record_round_trip(self, round_trip_s: float) -> None:
        """Note how long after its send a read's head came."""
        self._round_trips_ms.append(math.ceil(round_trip_s * 1000))
        self._round_trip_ms = sorted(self._round_trips_ms)[len(self._round_trips_ms) * 99 // 100]
