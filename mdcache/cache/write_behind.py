"""The attic: what of the series rests in a store, and how it comes and goes.

A series is opened once, before anything is known of it. Its resting blocks are brought back when a question or a
reply reaches them; what changed about it is handed to the store soon after, never on the way of an answer.
"""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from mdcache.candles.persistence import RowStore, SeriesFilter
from mdcache.candles.plan import Serve
from mdcache.candles.series import Series
from mdcache.clock import Clock
from mdcache.exchange.klines import SeriesKey

_SAVE_DELAY_S = 0.25  # what settles within it is saved in one go
_TOUCH_INTERVAL_S = 300.0  # what was asked for is told this often: it decides only what a full disk gives up


class Persistence(Protocol):
    """What the data path needs of the attic."""

    async def load_outline(self, series: Series) -> None:
        """Return when what rests of `series` is known; at once where it is."""
        ...

    async def load_blocks(self, series: Series, indexes: Iterable[int]) -> None:
        """Return when none of these blocks rests any more."""
        ...

    async def load_range(self, series: Series, start_ms: int, end_ms: int) -> bool:
        """Return when no block whose span touches [start_ms, end_ms) rests any more; whether any did."""
        ...

    def save_soon(self, series: Series) -> None:
        """Something was merged into `series`: save it soon."""
        ...

    def touch(self, series: Series, answer: Serve) -> None:
        """These blocks were asked for."""
        ...

    def save_now(self, series: Series) -> bool:
        """Save what changed of `series` now, for it is about to leave memory; whether what leaves will rest."""
        ...

    async def purge(self, series_filter: SeriesFilter) -> int:
        """Forget what rests of the matching series; how many there were."""
        ...

    async def aclose(self) -> None:
        """Hand the last changes over."""
        ...


class NoPersistence:
    """Nothing rests: what memory gives up is gone."""

    async def load_outline(self, series: Series) -> None:
        """Nothing to wait for."""
        series.outline_loaded = True

    async def load_blocks(self, series: Series, indexes: Iterable[int]) -> None:
        """Nothing rests, so nothing is ever asked for."""

    async def load_range(self, series: Series, start_ms: int, end_ms: int) -> bool:  # noqa: ARG002 - the port's form
        """Nothing rests."""
        return False

    def save_soon(self, series: Series) -> None:
        """Nobody keeps it."""

    def touch(self, series: Series, answer: Serve) -> None:
        """Nobody asks."""

    def save_now(self, series: Series) -> bool:  # noqa: ARG002
        """What leaves is gone."""
        return False

    async def purge(self, series_filter: SeriesFilter) -> int:  # noqa: ARG002
        """Nothing rests."""
        return 0

    async def aclose(self) -> None:
        """Nothing to hand over."""


class WriteBehind:
    """The series of the daemon in one store."""

    def __init__(self, store: RowStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._opening: dict[Series, asyncio.Task[None]] = {}
        self._dirty: dict[Series, None] = {}
        self._touched: dict[SeriesKey, set[int]] = {}
        self._touched_s = clock.now()
        self._saver: asyncio.Task[None] | None = None
        self._purges = 0

    async def load_outline(self, series: Series) -> None:
        """Return when what rests of `series` is known; however many wait, the store is asked once."""
        if series.outline_loaded:
            return
        task = self._opening.get(series)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load_outline(series), name=f"open {series.key}")
            self._opening[series] = task
            task.add_done_callback(lambda _: self._opening.pop(series, None))
        await asyncio.shield(task)

    async def load_blocks(self, series: Series, indexes: Iterable[int]) -> None:
        """Return when none of these blocks rests any more: it came back, or could not."""
        wanted = list(indexes)
        found = await self._store.blocks(series.key, wanted)
        for index in wanted:
            series.restore_block(index, found.get(index))
        if len(found) < len(wanted):
            self.save_soon(series)  # what could not be read must not come back one day

    async def load_range(self, series: Series, start_ms: int, end_ms: int) -> bool:
        """Return when no block whose span touches [start_ms, end_ms) rests any more; whether any did."""
        brought = False
        while indexes := series.stored_blocks_around(
            start_ms, end_ms
        ):  # memory may give one up while another is loaded
            await self.load_blocks(series, indexes)
            brought = True
        return brought

    def save_soon(self, series: Series) -> None:
        """Save what is new about `series` soon."""
        self._dirty[series] = None
        if self._saver is None:
            self._saver = asyncio.get_running_loop().create_task(self._save_later(), name="saver of series")

    def touch(self, series: Series, answer: Serve) -> None:
        """These blocks were asked for; told to the store now and then."""
        touched = self._touched.setdefault(series.key, set())
        touched.update(block.index for block, _, _ in answer.pieces)
        if self._clock.now() - self._touched_s >= _TOUCH_INTERVAL_S:
            self._report_touched()

    def save_now(self, series: Series) -> bool:
        """Save what changed of `series` now."""
        change = series.pop_change() if series.outline_loaded else None
        if change is not None:
            self._store.save(series.key, change)
        return series.outline_loaded

    async def purge(self, series_filter: SeriesFilter) -> int:
        """Forget what rests of the matching series; what is being opened meanwhile is opened again."""
        self._purges += 1
        for key in [key for key in self._touched if series_filter.matches(key)]:
            del self._touched[key]
        return await self._store.purge(series_filter)

    async def aclose(self) -> None:
        """Hand the last changes to the store."""
        tasks = [*self._opening.values(), *([self._saver] if self._saver is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._save_all()
        self._report_touched()

    async def _load_outline(self, series: Series) -> None:
        while not series.outline_loaded:
            purges = self._purges
            outline = await self._store.outline(series.key)
            if purges == self._purges:
                series.load_outline(outline)

    async def _save_later(self) -> None:
        await self._clock.sleep(_SAVE_DELAY_S)
        self._saver = None
        self._save_all()

    def _save_all(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for series in dirty:
            self.save_now(series)

    def _report_touched(self) -> None:
        touched, self._touched = self._touched, {}
        self._touched_s = self._clock.now()
        for key, indexes in touched.items():
            self._store.touch(key, indexes)
