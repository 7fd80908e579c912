"""A family's clock: the exchange time by which its minutes are counted, measured here or by another replica.

`exchange_clock` measures.
"""

import math
from collections import deque

from mdcache.clock import Clock, Instant
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.budget import Moment
from mdcache.upstream.exchange_clock import ExchangeClocks

SURE_MS = 10_000  # with a larger error, a replica uses the time of others
DRIFT = 10_000  # a machine's clock may gain or lose one part in so many
_STATED_ERROR_MS = 50  # two servers' clocks drift by less than this between two heartbeats
_ROUND_TRIPS = 128
_LONGEST_TRIP_MS = 10_000  # docs/design.md#reservation: what took longer was found after a sleep of ours


class FamilyClock:
    """The exchange's time for one family's budget, with its error and the round trip time."""

    def __init__(self, family: Family, clocks: ExchangeClocks, clock: Clock) -> None:
        self._family = family
        self._clocks = clocks
        self._clock = clock
        self._stated: tuple[float, Instant] | None = None
        self._round_trips_ms: deque[int] = deque(maxlen=_ROUND_TRIPS)
        self._round_trip_ms = 0

    def now(self) -> Moment:
        """Return now, with the 99th percentile of the last round trips; as it was stated, if unmeasured here."""
        utc, now_s = self.measured(), self._clock.now()
        if self._stated is not None and utc.error_ms > SURE_MS:
            since_s, stated = self._stated
            since_ms = int((now_s - since_s) * 1000)
            utc = Instant(stated.ms + since_ms, stated.error_ms + since_ms // DRIFT)
        return Moment(utc.ms, utc.error_ms, self._round_trip_ms, now_s)

    def measured(self) -> Instant:
        """Return now, by our own measurement only; unclamped."""
        return self._clocks.family_now(self._family)

    def measure_in_background(self) -> None:
        """Measure the clock of one of the family's markets, though no read needs it yet."""
        self._clocks.measure_in_background(next(market for market in Market if market.family is self._family))

    def adopt(self, time_ms: int, error_ms: int, sent_s: float) -> None:
        """Use the time of another replica, or process, until it is measured here; it was asked for at `sent_s`."""
        now_s = self._clock.now()
        trip_ms = math.ceil((now_s - sent_s) * 1000)
        self._stated = now_s, Instant(time_ms + trip_ms // 2, error_ms + trip_ms + _STATED_ERROR_MS)
        self._clocks.assume(self._family, time_ms + trip_ms // 2)

    def record_round_trip(self, round_trip_s: float) -> None:
        """Record the time from a read's send to the head of its reply."""
        self._round_trips_ms.append(min(_LONGEST_TRIP_MS, math.ceil(round_trip_s * 1000)))
        self._round_trip_ms = sorted(self._round_trips_ms)[len(self._round_trips_ms) * 99 // 100]
