"""Settle the rows that streams brought, by few reads of many rows each (docs/design.md#stream-settling)."""

from collections.abc import Callable, Iterable

from mdcache.cache.flights import Flights
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.freshness import TailFloor
from mdcache.candles.plan import settling_window
from mdcache.candles.series import Series
from mdcache.clock import Clock, Instant
from mdcache.errors import MdcacheError
from mdcache.events import ReadReason
from mdcache.exchange.klines import SeriesKey
from mdcache.upstream.governor import Governor
from mdcache.upstream.priority import Lane, Priority

_SETTLE_AFTER_MS = 1_200_000  # so that a read settles many rows: twenty of a minute
_READ_WITHIN_S = 8.0


class SettlingReads:
    """Reads the series whose rows have waited longest.

    Args:
        registry: Holds the series.
        flights: Read them.
        governor: Knows whether a read can be sent.
        exchange_now: The exchange's time of a series.
        clock: Sets the deadline of a read.
    """

    def __init__(
        self,
        registry: SeriesRegistry,
        flights: Flights,
        governor: Governor,
        exchange_now: Callable[[Series], Instant],
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._flights = flights
        self._governor = governor
        self._exchange_now = exchange_now
        self._clock = clock

    def start_one(self, keys: Iterable[SeriesKey]) -> None:
        """Start to read the series, of one family, whose oldest closed row has waited longest; none if none is due."""
        found = [series for key in keys if (series := self._registry.find(key)) is not None]
        waiting = [(self._waited_ms(series), series) for series in found]
        waited_ms, series = max(waiting, key=lambda each: each[0], default=(0, None))
        if series is not None and waited_ms >= _SETTLE_AFTER_MS:
            self._start(series)

    def _waited_ms(self, series: Series) -> int:
        close_ms = series.oldest_unsettled_ms()
        return 0 if close_ms is None else self._exchange_now(series).ms - close_ms

    def _start(self, series: Series) -> None:
        window, market = settling_window(series, self._exchange_now(series)), series.key.market
        if self._governor.refusal_now(market, Lane.NORMAL, window.weight(series.endpoint), paced=True) is not None:
            return
        priority = Priority(Lane.NORMAL, self._clock.now() + _READ_WITHIN_S, paced=True)
        try:
            self._flights.join(series, window, TailFloor(0), priority, ReadReason.SETTLE)
        except MdcacheError:
            return  # the same read failed less than a second ago; the next look tries again
