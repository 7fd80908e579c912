"""Read a row that has just closed until it is settled (docs/design.md#settling)."""

from collections.abc import Callable

from mdcache.cache.answers import Caller
from mdcache.cache.candles import CandleCache
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Clock, Instant
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.upstream.priority import Lane

_READS = 2  # that agree settle a row
_ROWS = 3  # the row, and newer ones
_SPARE_S = 0.5
_ENDPOINTS = {(one.market, one.kind): one for one in KLINE_ENDPOINTS.values()}


class SettledRows:
    """Reads rows through the data path, in the low lane; a row that settled meanwhile costs nothing.

    Args:
        candles: The data path.
        registry: The series.
        exchange_now: The exchange's time of a market.
        clock: Waits.
        settle_s: From so long after its close on, two equal reads settle a market's row, if they are as far apart.
    """

    def __init__(
        self,
        candles: CandleCache,
        registry: SeriesRegistry,
        exchange_now: Callable[[Market], Instant],
        clock: Clock,
        settle_s: Callable[[Market], float],
    ) -> None:
        self._candles = candles
        self._registry = registry
        self._exchange_now = exchange_now
        self._clock = clock
        self._settle_s = settle_s

    async def read(self, key: SeriesKey, open_ms: int) -> tuple[bytes, int] | None:
        """Return the row that opened then, as printed, and a time at which it was known; nothing if it did not settle.

        Raises:
            MdcacheError: it could not be read.
        """
        question = KlineQuestion(key, _ENDPOINTS[key.market, key.kind], open_ms, None, _ROWS)
        for _ in range(_READS):
            await self._clock.sleep(self._settle_s(key.market) + _SPARE_S)
            await self._candles.answer(question, FreshnessDirectives(no_cache=True), Caller(lane=Lane.LOW))
            series = self._registry.find(key)
            settled = [] if series is None else series.known_between(open_ms, open_ms + 1, None)
            if settled:
                return settled[0].raw, self._exchange_now(key.market).early_ms
        return None
