"""Purging: a replica that has series forgotten has all others forget them, those that were away included."""

import secrets
from collections.abc import Awaitable, Callable
from functools import partial

from mdcache.cache.replicas.background import BackgroundTasks
from mdcache.cache.replicas.peer_versions import SeenVersionsBySeries
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.series import Series
from mdcache.candles.shared_rows import SharedRowStore

_MAX_KNOWN = 256
Forget = Callable[[SeriesFilter], Awaitable[object]]


class ReplicaPurges:
    """Purges that this replica took part in, by name. `forget` makes it forget series itself.

    `count` moves with each: what was asked of the commons before may have come from before it.
    """

    def __init__(self, store: SharedRowStore, seen: SeenVersionsBySeries, background: BackgroundTasks) -> None:
        self.forget: Forget = _forget_nothing
        self.generation = 0
        self._store = store
        self._seen = seen
        self._background = background
        self._known: dict[bytes, None] = {}  # oldest first

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Have all others forget; tried again behind, where the commons can't be had now."""
        name = secrets.token_bytes(8)
        self._remember(name)
        for key in self._seen:
            if series_filter.matches(key):
                self._seen.forget(key, name)
        await self._background.run_with_retry(partial(self._store.purge, series_filter, name))

    def on_purge(self, series_filter: SeriesFilter, name: bytes) -> None:
        """Somebody purged."""
        if name not in self._known:
            self._remember(name)
            self._background.start(self._apply(series_filter, name))

    async def apply_missed(self, series: Series, name: bytes) -> None:
        """The series was purged by somebody since we last looked."""
        key = series.key
        self._seen.forget(key, name)
        if name not in self._known and (len(series.coverage) or len(series.stored) or series.tail is not None):
            self.generation += 1
            await self.forget(SeriesFilter(key.market, key.subject, key.interval))

    async def _apply(self, series_filter: SeriesFilter, name: bytes) -> None:
        """Forget too, and have forgotten what we may have given in the meantime."""
        keys = [key for key in self._seen if series_filter.matches(key)]
        for key in keys:
            self._seen.forget(key, name)
        await self.forget(series_filter)
        for key in keys:
            await self._store.purge_series(key, name)

    def _remember(self, name: bytes) -> None:
        self.generation += 1
        self._known[name] = None
        while len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]


async def _forget_nothing(_: SeriesFilter) -> None:
    """Until somebody says how to forget."""
