"""Write-behind persistence: save series to a store after the answer, and load their blocks when needed.

When a series is first used, the store is asked once what it has of it. Stored blocks are loaded when a question or a
reply needs them. Changes are saved soon after, and no answer waits for it.
"""

import asyncio
from collections.abc import Iterable

from mdcache.background_work import cancel_all, supervise
from mdcache.candles.persistence import RowStore, SeriesFilter
from mdcache.candles.plan import Serve
from mdcache.candles.series import Series
from mdcache.candles.stored_blocks import load_outline, pop_change, restore_block, stored_blocks_around
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, Events
from mdcache.exchange.klines import SeriesKey

_SAVE_DELAY_S = 0.25  # changes within it are saved together
_TOUCH_INTERVAL_S = 300.0  # uses are reported rarely: they only decide what a full disk evicts


class Persistence:
    """The port through which the data path stores series. This base class stores nothing."""

    async def load_outline(self, series: Series) -> None:
        """Wait until it is known what the store has of `series`."""
        series.outline_loaded = True

    async def load_blocks(self, series: Series, indexes: Iterable[int]) -> None:
        """Wait until all of these blocks are in memory."""

    async def load_range(self, series: Series, start_ms: int, end_ms: int) -> bool:  # noqa: ARG002 - the port's
        """Load every stored block whose span overlaps [start_ms, end_ms); return whether there was any."""
        return False

    async def block_indexes(self) -> dict[SeriesKey, list[int]]:
        """Return the indexes of the blocks stored of each series."""
        return {}

    def save_soon(self, series: Series) -> None:
        """Save what changed in `series` soon."""

    def save_now(self, series: Series) -> bool:  # noqa: ARG002 - the port's
        """Save what changed in `series` before a part of it leaves memory; return whether that part stays stored."""
        return False

    async def flush(self) -> str:
        """Wait until all changes are stored; return why they are not, in one clause, or nothing."""
        return "persistence is off (MDCACHE_PERSIST, MDCACHE_DISK_MAX_MB): nothing would be kept"

    def touch(self, series: Series, answer: Serve) -> None:
        """Note that the blocks of an answer were used."""

    async def purge(self, series_filter: SeriesFilter) -> int:  # noqa: ARG002 - the port's
        """Delete the matching series; return how many were stored."""
        return 0

    async def aclose(self) -> None:
        """Save the last changes."""


class NoPersistence(Persistence):
    """The null object: what memory evicts is gone."""


class WriteBehind(Persistence):
    """Persistence in one store."""

    def __init__(self, store: RowStore, clock: Clock, events: Events) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._loading: dict[Series, asyncio.Task[None]] = {}
        self._dirty: dict[Series, None] = {}
        self._touched: dict[SeriesKey, set[int]] = {}
        self._touched_s = clock.now()
        self._saver: asyncio.Task[None] | None = None
        self._purges = 0

    async def load_outline(self, series: Series) -> None:
        """Ask the store once, however many requests wait."""
        if series.outline_loaded:
            return
        task = self._loading.get(series)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load_outline(series), name=f"load {series.key}")
            self._loading[series] = task
            task.add_done_callback(lambda _: self._loading.pop(series, None))
        await asyncio.shield(task)

    async def load_blocks(self, series: Series, indexes: Iterable[int]) -> None:
        """Load these blocks; what can't be loaded counts as unknown from now on."""
        wanted = list(indexes)
        found = await self._store.blocks(series.key, wanted)
        for index in wanted:
            restore_block(series, index, found.get(index))
        if len(found) < len(wanted):
            self.save_soon(series)  # otherwise the store would still claim to have the rest

    async def load_range(self, series: Series, start_ms: int, end_ms: int) -> bool:
        """Load every stored block whose span overlaps [start_ms, end_ms); return whether there was any."""
        loaded = False
        while indexes := stored_blocks_around(series, start_ms, end_ms):  # one may be evicted while another is loaded
            await self.load_blocks(series, indexes)
            loaded = True
        return loaded

    async def block_indexes(self) -> dict[SeriesKey, list[int]]:
        """Return the indexes of the blocks stored of each series."""
        return await self._store.block_indexes()

    def save_soon(self, series: Series) -> None:
        """Save what changed in `series` soon, together with other changes."""
        self._dirty[series] = None
        if self._saver is None:
            self._saver = supervise(BackgroundTask.SAVE, self._save_later, self._clock, self._events)

    def touch(self, series: Series, answer: Serve) -> None:
        """Note that the blocks of an answer were used; this is passed on to the store now and then."""
        touched = self._touched.setdefault(series.key, set())
        touched.update(block.index for block, _, _ in answer.pieces)
        if self._clock.now() - self._touched_s >= _TOUCH_INTERVAL_S:
            self._report_touched()

    def save_now(self, series: Series) -> bool:
        """Hand what changed in `series` to the store; return whether its blocks stay stored."""
        change = pop_change(series) if series.outline_loaded else None
        if change is not None:
            self._store.save(series.key, change)
        return series.outline_loaded

    async def flush(self) -> str:
        """Hand all changes to the store, and wait until they are written."""
        self._save_all()
        return await self._store.flush()

    async def purge(self, series_filter: SeriesFilter) -> int:
        """Delete the matching series; outlines that are being loaded are loaded again."""
        self._purges += 1
        for key in [key for key in self._touched if series_filter.matches(key)]:
            del self._touched[key]
        return await self._store.purge(series_filter)

    async def aclose(self) -> None:
        """Hand the last changes to the store."""
        await cancel_all(*self._loading.values(), self._saver)
        self._save_all()
        self._report_touched()

    async def _load_outline(self, series: Series) -> None:
        while not series.outline_loaded:
            purges = self._purges
            outline = await self._store.outline(series.key)
            if purges == self._purges:
                load_outline(series, outline)

    async def _save_later(self) -> None:
        await self._clock.sleep(_SAVE_DELAY_S)
        self._save_all()
        self._saver = None

    def _save_all(self) -> None:
        while self._dirty:
            series, _ = self._dirty.popitem()
            self.save_now(series)

    def _report_touched(self) -> None:
        touched, self._touched = self._touched, {}
        self._touched_s = self._clock.now()
        for key, indexes in touched.items():
            self._store.touch(key, indexes)
