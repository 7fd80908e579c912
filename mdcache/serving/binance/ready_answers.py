"""Ready answers: responses to repeated requests, kept by (path, raw query, time unit) while they are valid.

Their bytes count in the memory they share with the series. An answer is kept the second time its key is requested:
questions with a new `startTime` each time would only evict those that repeat.
"""

import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import cast

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.persistence import SeriesFilter
from mdcache.clock import Clock, Instant
from mdcache.serving.binance.representation import Representation
from mdcache.serving.binance.request import RequestKey
from mdcache.upstream.exchange_clock import ExchangeClocks

MEMORY_KIND = "ready"  # first part of these entries' keys in the shared memory
_KEYS_SEEN = 16_384  # keys seen once; the oldest is forgotten, and counts as new when it is seen again
_MAX_ANSWERS = 32_768  # ready answers, even if memory allows more: it bounds the overhead of many small bodies
_MAX_QUERY_BYTES = 1_024  # a longer key is mostly padding, and keys seen once are not counted in memory
_SWEEP_COUNT = 4  # checked with each new one, so that invalid ones are dropped after one round at the latest
_TOUCH_EVERY_S = 1.0  # memory orders by seconds; recording each hit would cost more than the hit


class ReadyAnswers:
    """The ready answers of the daemon, with bytes counted in the given memory."""

    def __init__(
        self,
        registry: SeriesRegistry,
        clocks: ExchangeClocks,
        clock: Clock,
        *,
        keys_seen: int = _KEYS_SEEN,
        max_answers: int = _MAX_ANSWERS,
    ) -> None:
        self._registry = registry
        self._memory = registry.memory
        self._clocks = clocks
        self._clock = clock
        self._keys_seen = keys_seen
        self._max_answers = max_answers
        self._representations: OrderedDict[RequestKey, Representation] = OrderedDict()
        self._seen: OrderedDict[RequestKey, None] = OrderedDict()
        self._quiet_until_s = -math.inf
        registry.register_evictable(MEMORY_KIND, self)

    def __len__(self) -> int:
        return len(self._representations)

    def find(
        self, key: RequestKey, directives: FreshnessDirectives | None, now_s: float, now: Instant | None = None
    ) -> tuple[Representation, Instant] | None:
        """Return the answer under `key` if it is valid and satisfies `directives`, with the moment of the check.

        `now`: that moment, if it is known already, by the exchange's clock.
        """
        representation = self._representations.get(key)
        if representation is None:
            return None
        if now is None:
            now = self._clocks.now(representation.market)
        if not representation.answer.is_valid(now):
            self._drop(key)
            return None
        if directives is not None and not satisfies(representation, directives, now):
            return None
        if now_s - representation.used_at_s > _TOUCH_EVERY_S:
            representation.used_at_s = now_s
            self._memory.set_size((MEMORY_KIND, key), representation.nbytes)  # it may have been compressed meanwhile
            self._memory.touch((MEMORY_KIND, key), now_s)
        return representation, now

    def offer(self, key: RequestKey, representation: Representation, now: Instant) -> bool:
        """Keep a valid answer whose key was seen before; return whether it is kept."""
        if len(key[1]) + len(key[2]) > _MAX_QUERY_BYTES:
            return False
        if key not in self._seen and key not in self._representations:
            self._seen[key] = None
            if len(self._seen) > self._keys_seen:
                self._seen.popitem(last=False)
            return False
        if key in self._seen:
            self._seen.move_to_end(key)
        if not representation.answer.is_valid(now) or self._clock.now() < self._quiet_until_s:
            return False
        replaced = self._representations.get(key)
        if replaced is not None:
            replaced.retire()
        self._representations[key] = representation
        self._representations.move_to_end(key)
        self._memory.set_size((MEMORY_KIND, key), representation.nbytes)
        self._memory.touch((MEMORY_KIND, key), self._clock.now())
        self._sweep()
        self._registry.enforce_limit()
        return True

    def evict(self, key: Hashable) -> None:
        """Drop the answer under `key`, whose bytes no longer count."""
        _, mine = cast("tuple[str, RequestKey]", key)
        representation = self._representations.pop(mine, None)
        if representation is not None:
            representation.retire()

    def forget(self, quiet_s: float) -> None:
        """Drop all of them, and keep none for so long: answers under way are still fresh by the TTLs of before."""
        for key in list(self._representations):
            self._drop(key)
        self._quiet_until_s = self._clock.now() + quiet_s

    async def clear(self, _: SeriesFilter) -> None:
        """Drop all of them: those of other series are soon built again."""
        self.forget(0.0)

    def _drop(self, key: RequestKey) -> None:
        self._representations.pop(key).retire()
        self._memory.remove((MEMORY_KIND, key))

    def _sweep(self) -> None:
        while len(self._representations) > self._max_answers:
            self._drop(next(iter(self._representations)))
        for _ in range(min(_SWEEP_COUNT, len(self._representations))):
            key, representation = next(iter(self._representations.items()))
            if representation.answer.is_valid(self._clocks.now(representation.market)):
                self._representations.move_to_end(key)
            else:
                self._drop(key)


def satisfies(representation: Representation, directives: FreshnessDirectives, now: Instant) -> bool:
    """Return whether a valid answer is also fresh enough for the request's directives."""
    if directives.no_cache or directives.wait_ms(now):
        return False
    if representation.answer.settled:
        return True  # settled: its as-of is now
    as_of_ms = representation.answer.as_of_ms
    if directives.max_age_s is not None and now.ms - as_of_ms > directives.max_age_s * 1000:
        return False
    return directives.min_as_of_ms is None or as_of_ms >= min(directives.min_as_of_ms, now.ms)
