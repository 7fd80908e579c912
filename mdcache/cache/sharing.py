"""What the data path asks of the other replicas, as a port, and the answer where there are none.

A read from Binance is offered to the replicas twice: before it is sent, for another one may have done it, and when it
ended, for others may wait for it.
"""

from typing import Protocol, TypeVar

from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.series import Series
from mdcache.candles.window import Window
from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import SnapshotBody
from mdcache.leases import Lease
from mdcache.upstream.governor import Priority


class LeasableRead(Protocol):
    """A read that one replica may do for all.

    `min_as_of_ms`: the least as-of that serves those who wait. `waited_for_peer`: it waited for another replica's read.
    `lease`: this replica's right to read, which ends with the read.
    """

    market: Market
    priority: Priority
    min_as_of_ms: int
    waited_for_peer: bool
    lease: Lease | None

    def weight(self) -> int:
        """Return what it would cost if it were sent now."""
        ...


class RowRead(LeasableRead, Protocol):
    """A read of rows of a series.

    `open_times_ms`: of the rows in its reply, once they are merged. `as_of_publishable`: other replicas may rely on
    the time of that reply.
    """

    series: Series
    window: Window
    open_times_ms: tuple[int, ...] | None
    as_of_publishable: bool


class BodyRead(LeasableRead, Protocol):
    """A read of a whole body.

    `held_as_of_ms`: as-of of the body that is held here, -1 for none. `max_age_s`: how long a body is of use.
    `fetched`: what Binance answered, once it did.
    """

    held_as_of_ms: int
    max_age_s: float
    fetched: SnapshotBody | None

    @property
    def name(self) -> str:
        """What it reads, the same on every replica."""
        ...

    async def apply(self, body: SnapshotBody) -> None:
        """Keep what another replica read; raise `InvalidBody` if it does not answer this read."""
        ...


_R_contra = TypeVar("_R_contra", contravariant=True)


class Sharing(Protocol[_R_contra]):
    """The other replicas, for one kind of reads."""

    async def satisfied_by_peers(self, read: _R_contra) -> bool:
        """Take over what the others know, and wait while one of them reads the same.

        Returns:
            Whether nothing is left to read. If something is, this replica is to read it, for all if it got the lease.

        Raises:
            MdcacheError: What another replica's read of the same met.
        """
        ...

    async def pull(self, read: _R_contra) -> bool:
        """Take over what the others know, for an answer without a read; return whether that was news."""
        ...

    def finished(self, read: _R_contra, error: BaseException | None) -> None:
        """Publish in the background what `read` brought, or the error it met."""
        ...

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Make the others forget what this replica forgot."""
        ...

    async def aclose(self) -> None:
        """Publish what is not published yet, within a second."""
        ...


RowSharing = Sharing[RowRead]
BodySharing = Sharing[BodyRead]


class NoSharing:
    """There are no other replicas."""

    async def satisfied_by_peers(self, _read: object) -> bool:
        """Return that everything is left to read."""
        return False

    async def pull(self, _read: object) -> bool:
        """Return that there is no news."""
        return False

    def finished(self, _read: object, error: BaseException | None) -> None:
        """Do nothing."""

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""
