"""The port through which the data path shares reads with other replicas, and its null object `NoSharing`.

The data path calls it twice for each read from Binance: before it is sent, since another replica may have the answer,
and when it has ended, since others may wait for it.
"""

from typing import Generic, Protocol, TypeVar

from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.series import Series
from mdcache.candles.window import Window
from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import SnapshotBody
from mdcache.leases import Lease
from mdcache.upstream.priority import Priority


class LeasableRead(Protocol):
    """A read that one replica may do for all.

    `min_as_of_ms`: the least as-of that serves the waiting requests. `waited_for_peer`: it waited for another replica's
    read. `lease`: this replica's right to read, which ends with the read.
    """

    market: Market
    priority: Priority
    min_as_of_ms: int
    waited_for_peer: bool
    lease: Lease | None

    def weight(self) -> int:
        """Return its weight if it were sent now."""


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

    `held_as_of_ms`: as-of of the body that is held here, -1 for none. `max_age_s`: how long a body is useful.
    `fetched`: Binance's answer, once there is one.
    """

    held_as_of_ms: int
    max_age_s: float
    fetched: SnapshotBody | None

    @property
    def name(self) -> str:
        """The name of what it reads, the same on every replica."""

    async def apply(self, body: SnapshotBody) -> None:
        """Keep what another replica read; raise `InvalidBody` if it does not answer this read."""


_R_contra = TypeVar("_R_contra", contravariant=True)


class Sharing(Generic[_R_contra]):
    """The other replicas, for one kind of reads; by default there are none."""

    async def satisfied_by_peers(self, read: _R_contra) -> bool:  # noqa: ARG002 - the default
        """Apply what the others know, and wait while one of them reads the same.

        Returns:
            Whether nothing is left to read. Otherwise this replica is to read it, for all of them if it got the lease.

        Raises:
            MdcacheError: The error of another replica's read of the same.
        """
        return False

    async def pull(self, read: _R_contra) -> bool:  # noqa: ARG002 - the default
        """Apply what the others know, for an answer without a read; return whether that changed anything."""
        return False

    def finished(self, read: _R_contra, error: BaseException | None) -> None:
        """Publish the result of `read`, or its error, in the background."""

    async def purge(self, series_filter: SeriesFilter) -> None:
        """Make the others forget what this replica has forgotten."""

    async def aclose(self) -> None:
        """Finish publishing, within a second."""


RowSharing = Sharing[RowRead]
BodySharing = Sharing[BodyRead]


class NoSharing(Sharing[object]):
    """The null object."""
