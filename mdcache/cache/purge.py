"""Purge: forget what is known of some series, and everything that was made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.persistence import SeriesFilter


class Clearable(Protocol):
    """Something beside the series that a purge empties."""

    async def clear(self, series_filter: SeriesFilter) -> None:
        """Forget what may belong to the series that match."""
        ...


class Peers(Protocol):
    """Other replicas (`Sharing`)."""

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Make them forget, too."""
        ...


@dataclass(slots=True)
class LocalPurge:
    """Makes this process forget. Whoever keeps something made of series adds itself to `clearables`."""

    registry: SeriesRegistry
    clearables: list[Clearable] = field(default_factory=list)

    async def run(self, series_filter: SeriesFilter) -> int:
        """Forget the matching series, on disk too.

        What is in memory is gone in the step in which this is called.

        Returns:
            How many series were forgotten.
        """
        matching = self.registry.forget(series_filter)
        for clearable in self.clearables:
            await clearable.clear(series_filter)
        return max(matching, await self.registry.persistence.purge(series_filter))


@dataclass(frozen=True, slots=True)
class Purge:
    """Makes this process forget, and then all other replicas."""

    local: LocalPurge
    peers: Sequence[Peers] = ()

    async def run(self, series_filter: SeriesFilter) -> int:
        """Forget the matching series everywhere; return how many this process knew."""
        purged = await self.local.run(series_filter)
        for peers in self.peers:
            await peers.purge(series_filter)
        return purged
