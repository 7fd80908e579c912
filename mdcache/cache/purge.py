"""Purge: forget everything known about some series, and everything derived from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.persistence import SeriesFilter


class Clearable(Protocol):
    """Something else that a purge clears, beside the series."""

    async def clear(self, series_filter: SeriesFilter) -> None:
        """Forget everything that may belong to the matching series."""


class Peers(Protocol):
    """Other replicas (`Sharing`)."""

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Make them forget as well."""


@dataclass(slots=True)
class LocalPurge:
    """Make this process forget. Anything that keeps data derived from series is in `clearables`."""

    registry: SeriesRegistry
    clearables: list[Clearable] = field(default_factory=list)

    async def run(self, series_filter: SeriesFilter) -> int:
        """Forget the matching series, on disk too.

        What is in memory is gone before this first suspends.

        Returns:
            How many series were forgotten.
        """
        matching = self.registry.forget(series_filter)
        for clearable in self.clearables:
            await clearable.clear(series_filter)
        return max(matching, await self.registry.persistence.purge(series_filter))


@dataclass(frozen=True, slots=True)
class Purge:
    """Make this process forget, and then all other replicas."""

    local: LocalPurge
    peers: Sequence[Peers] = ()

    async def run(self, series_filter: SeriesFilter) -> int:
        """Forget the matching series everywhere; return how many this process knew."""
        purged = await self.local.run(series_filter)
        for peers in self.peers:
            await peers.purge(series_filter)
        return purged
