"""One kline question on its way through the data path: what it wants, and what was done for it."""

from dataclasses import dataclass

from mdcache.cache.answers import CacheStatus, Caller
from mdcache.candles.freshness import FreshnessDirectives, TailFloor, stale_floor, tail_ttl_ms
from mdcache.candles.plan import ReadWindow
from mdcache.candles.series import Series
from mdcache.clock import Instant
from mdcache.errors import GateClosed
from mdcache.exchange.klines import KlineQuestion


@dataclass(slots=True)
class KlineRequest:
    """One question.

    `floor`: which tails answer it, fixed when it arrived. `gate_closed`: why the exchange's clock is not known.
    `of_parts`: for a series from which another one is derived. `cache_status`: why its first read was made.
    """

    question: KlineQuestion
    directives: FreshnessDirectives
    caller: Caller
    series: Series
    open_ttl_ms: int
    trading: bool
    floor: TailFloor
    deadline_s: float
    gate_closed: GateClosed | None
    of_parts: bool = False
    cache_status: CacheStatus = CacheStatus.HIT
    collapsed: bool = True

    def ttl_ms(self, now: Instant) -> int:
        """Return how long the current tail is fresh, in milliseconds."""
        return tail_ttl_ms(self.series.live_tail, self.open_ttl_ms, now, trading=self.trading)

    def stale_floor(self, max_stale_s: float, now: Instant) -> TailFloor:
        """Return which tails answer it while Binance can't be asked."""
        ttl_ms = self.ttl_ms(now)
        return stale_floor(self.directives, ttl_ms, max(int(max_stale_s * 1000), ttl_ms), now)

    def status_after(self, step: ReadWindow) -> CacheStatus:
        """Return its status once `step` is read: the reason of the first read, which later ones do not change."""
        if self.cache_status is not CacheStatus.HIT:
            return self.cache_status
        if step.refresh:
            wanted = self.directives.no_cache or self.directives.min_as_of_ms is not None
            return CacheStatus.REQUESTED if wanted else CacheStatus.REFRESHED
        known = self.series.tail is not None or len(self.series.coverage) or len(self.series.stored)
        return CacheStatus.PARTIAL if known else CacheStatus.MISS
