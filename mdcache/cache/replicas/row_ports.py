"""Sharing: what the data path asks of the other replicas, and the replica that has none."""

from typing import Protocol

from mdcache.cache.replicas.leases import LeasableRead
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.series import Series
from mdcache.candles.window import Window


class RowRead(LeasableRead, Protocol):
    """A flight, as the replicas see it.

    `brought`: open times of the rows that its reply told of, once it landed. `trusted`: that reply's time may be told
    to others.
    """

    series: Series
    window: Window
    open_times_ms: tuple[int, ...] | None
    as_of_publishable: bool


class RowSharing(Protocol):
    """The other replicas."""

    async def satisfied_by_peers(self, flight: RowRead) -> bool:
        """Take what they know of the series; whether nothing is left to read from Binance.

        If something is, this replica may be the one to read it for all; else another reads, and this returns when
        that landed. Raises the error that it met.
        """
        ...

    def finished(self, flight: RowRead, error: BaseException | None) -> None:
        """The flight ended: tell the others, behind the answer."""
        ...

    async def pull(self, series: Series, window: Window) -> bool:
        """Take what they know, to answer without reading; whether that was news."""
        ...

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Have all forget the series that match; this replica did."""
        ...

    async def aclose(self) -> None:
        """Tell what is not told yet."""
        ...


class NoRowSharing:
    """There are no other replicas."""

    async def satisfied_by_peers(self, flight: RowRead) -> bool:  # noqa: ARG002 - the port's form
        """Nobody else knows."""
        return False

    def finished(self, flight: RowRead, error: BaseException | None) -> None:
        """Nobody waits."""

    async def pull(self, series: Series, window: Window) -> bool:  # noqa: ARG002
        """Nobody knows."""
        return False

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Nobody else has anything."""

    async def aclose(self) -> None:
        """Nothing to tell."""
