"""Handle wipes: forget series of which the exchange has lost settled rows (docs/design.md#wipes)."""

from mdcache.cache.purge import Purge
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.series import Series
from mdcache.clock import Clock
from mdcache.events import Events, OddBody
from mdcache.exchange.markets import Market

_MANY = 3  # subjects wiped within `_RECENT_S`: the whole market was, as test networks are about once a month
_RECENT_S = 3_600.0


class Wipes:
    """Forget what the exchange has lost: the series of a symbol, or of a market if several symbols lost theirs."""

    def __init__(self, purge: Purge, clock: Clock, events: Events) -> None:
        self._purge = purge
        self._clock = clock
        self._events = events
        self._wiped_s: dict[tuple[Market, str], float] = {}

    async def forget(self, series: Series) -> None:
        """Forget every series of this one's symbol or pair, in all stores and on all replicas."""
        key, now_s = series.key, self._clock.now()
        self._wiped_s = {each: at_s for each, at_s in self._wiped_s.items() if now_s - at_s < _RECENT_S}
        self._wiped_s[key.market, key.subject] = now_s
        whole_market = sum(market is key.market for market, _ in self._wiped_s) >= _MANY
        self._events.emit(OddBody(key.market, series.endpoint.path, "wiped"))
        await self._purge.run(SeriesFilter(key.market, None if whole_market else key.subject))
