"""Choose kept rows at random, in memory and on disk, as windows that one read shows."""

import random
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Collection

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.ranges import FOREVER_MS
from mdcache.candles.series import Series
from mdcache.candles.stored_blocks import stored_blocks
from mdcache.candles.window import Window, WindowKind
from mdcache.clock import Clock, Instant
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.exchange.weights import page_limit

_CHEAP_ROWS = 499  # on futures, a row costs least in windows of so many: docs/binance.md#kline-weights
_LIST_AGAIN_S = 3_600.0
_LISTED = 8  # series that are listed at a time
_ENDPOINTS = {(one.market, one.kind): one for one in KLINE_ENDPOINTS.values()}


class AuditSample:
    """Chooses rows of all that is kept."""

    def __init__(
        self, registry: SeriesRegistry, clock: Clock, exchange_now: Callable[[Series], Instant], rng: random.Random
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._exchange_now = exchange_now
        self._rng = rng

    async def choose(self, which: SeriesFilter, rows: int) -> AsyncIterator[tuple[Series, Window]]:
        """Choose windows of up to `rows` rows of the matching series, one of each block first, until none is left."""
        left: list[tuple[SeriesKey, Window]] = []
        async for key, windows in self._blocks(which, rows):
            yield await self._series(key), windows.pop()
            left += [(key, window) for window in windows]
        self._rng.shuffle(left)
        for key, window in left:
            series = await self._series(key)
            if _keeps_some(series, window):  # rows of dumps around what differed were forgotten since
                yield series, window

    async def choose_for_ever(self, rows: int) -> AsyncIterator[tuple[Series, Window] | None]:
        """Choose windows of up to so many rows of all series, each of another block; nothing if nothing is kept.

        What is kept is listed anew each hour, and when all blocks have been chosen.
        """
        while True:
            listed_s, some = self._clock.now(), False
            async for key, windows in self._blocks(SeriesFilter(), rows):
                some = True
                yield await self._series(key), windows.pop()
                if self._clock.now() - listed_s > _LIST_AGAIN_S:
                    break
            if not some:
                yield None

    async def _blocks(self, which: SeriesFilter, rows: int) -> AsyncIterator[tuple[SeriesKey, list[Window]]]:
        """Load the blocks of all matching series in random order, and return windows over each."""
        blocks = await self._kept(which)
        while blocks:
            at = self._rng.randrange(len(blocks))
            blocks[at], blocks[-1] = blocks[-1], blocks[at]
            key, index = blocks.pop()
            if windows := await self._windows_of(key, index, rows):
                yield key, windows

    async def _kept(self, which: SeriesFilter) -> list[tuple[SeriesKey, int]]:
        """List the blocks of all matching series, in memory and stored, and let other tasks run in between."""
        stored = await self._registry.persistence.block_indexes()
        found: dict[SeriesKey, Collection[int]] = {
            key: indexes for key, indexes in stored.items() if which.matches(key) and _is_known(key)
        }
        for at, series in enumerate([each for each in self._registry if which.matches(each.key)]):
            held = {*series.blocks.indexes(-FOREVER_MS, FOREVER_MS), *stored_blocks(series, -FOREVER_MS, FOREVER_MS)}
            found[series.key] = held
            if at % _LISTED == _LISTED - 1:
                await self._clock.sleep(0)
        blocks: list[tuple[SeriesKey, int]] = []
        for at, (key, indexes) in enumerate(found.items()):
            blocks += [(key, index) for index in indexes]
            if at % _LISTED == _LISTED - 1:
                await self._clock.sleep(0)
        return blocks

    async def _series(self, key: SeriesKey) -> Series:
        series = self._registry.get_or_create(KlineQuestion(key, _ENDPOINTS[key.market, key.kind], None, None, 1))
        await self._registry.persistence.load_outline(series)
        return series

    async def _windows_of(self, key: SeriesKey, index: int, rows: int) -> list[Window]:
        """Load a block, and return windows over all of its rows that are final, in random order."""
        pin = self._registry.pin(key)
        try:
            series = await self._series(key)
            await self._registry.persistence.load_range(series, *series.blocks.span(index))
            held = series.blocks.find(index)
            windows = [] if held is None else self._windows(series, list(held.open_times), rows)
        finally:
            self._registry.unpin(pin)
        self._rng.shuffle(windows)
        return windows

    def _windows(self, series: Series, open_times: list[int], rows: int) -> list[Window]:
        final_before_ms = self._exchange_now(series).early_ms - series.policy.confirm_ms
        while open_times and series.next_open(open_times[-1]) > final_before_ms:
            del open_times[-1]
        longest_ms = series.endpoint.max_span_ms or FOREVER_MS
        rows = min(rows, page_limit(series.endpoint, _CHEAP_ROWS))
        rows = -(-len(open_times) // -(-len(open_times) // rows)) if open_times else rows  # none much shorter
        windows: list[Window] = []
        first = 0
        while first < len(open_times):
            start_ms = open_times[first]
            after = min(first + rows, bisect_left(open_times, start_ms + longest_ms))
            end_ms = open_times[after - 1]
            buckets = min(series.interval.count(start_ms, end_ms), series.endpoint.max_limit)
            windows.append(Window(WindowKind.RANGE, start_ms, end_ms, page_limit(series.endpoint, buckets)))
            first = after
        return windows


def _keeps_some(series: Series, window: Window) -> bool:
    span = window.start_ms or 0, (window.end_ms or 0) + 1
    return bool(series.coverage.intersection(*span) or series.stored.intersection(*span))


def _is_known(key: SeriesKey) -> bool:
    return key.interval in INTERVALS and (key.market, key.kind) in _ENDPOINTS
