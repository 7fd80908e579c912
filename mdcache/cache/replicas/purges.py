"""Purges across replicas: what one forgets, all others forget, including those that were down at the time."""

import secrets
from functools import partial

from mdcache.cache.purge import LocalPurge
from mdcache.cache.replicas.background import BackgroundTasks
from mdcache.cache.replicas.peer_versions import SeenVersionsBySeries
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.series import Series
from mdcache.candles.shared_rows import SharedRowStore

_MAX_KNOWN = 256


class ReplicaPurges:
    """The purges that this replica took part in, by name.

    `generation` changes with each: data pulled under an older one may be from before the purge.
    """

    def __init__(
        self, store: SharedRowStore, local: LocalPurge, seen: SeenVersionsBySeries, background: BackgroundTasks
    ) -> None:
        self.generation = 0
        self._store = store
        self._local = local
        self._seen = seen
        self._background = background
        self._known: dict[bytes, None] = {}  # oldest first

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Make all others forget; retry in the background if the store is down."""
        name = secrets.token_bytes(8)
        self._remember(name)
        for key in self._seen:
            if series_filter.matches(key):
                self._seen.forget(key, name)
        await self._background.run_with_retry(partial(self._store.purge, series_filter, name))

    def on_purge(self, series_filter: SeriesFilter, name: bytes) -> None:
        """Follow another replica's purge, in the background."""
        if name not in self._known:
            self._remember(name)
            self._background.start(self._apply(series_filter, name))

    async def apply_missed(self, series: Series, name: bytes) -> None:
        """Follow a purge of `series` that was missed: its name is new in the store."""
        key = series.key
        self._seen.forget(key, name)
        if name not in self._known and (len(series.coverage) or len(series.stored) or series.tail is not None):
            self.generation += 1
            await self._local.run(SeriesFilter(key.market, key.subject, key.interval))

    async def _apply(self, series_filter: SeriesFilter, name: bytes) -> None:
        """Forget as well, and delete what this replica may have pushed in the meantime."""
        keys = [key for key in self._seen if series_filter.matches(key)]
        for key in keys:
            self._seen.forget(key, name)
        await self._local.run(series_filter)
        for key in keys:
            await self._store.purge_series(key, name)

    def _remember(self, name: bytes) -> None:
        self.generation += 1
        self._known[name] = None
        while len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]
