"""The port of the row store that replicas share; Redis implements it (docs/design.md#replicas).

In one round trip, `pull` returns what this replica lacks of what is stored, and leases the read of the rest to one of
the replicas that need it. `push` stores what a read returned: all of it, or nothing if another replica pushed in the
meantime (`PullResult.pushed` is then false, and the result holds what is stored now).

Versions are opaque: the store returns them with its data, and recognises by them what a replica already has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mdcache.candles.block import Block
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.ranges import Span
from mdcache.candles.replication import SeriesState
from mdcache.exchange.klines import SeriesKey
from mdcache.leases import Lease, LeaseState


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """What this replica has of what is stored, by version; an empty version means nothing.

    `blocks`: the blocks it is about to need, each with its version and our own copy, because often only the end
    differs. `revisions`: how many revisions of this `epoch` it knows of.
    """

    epoch: bytes = b""
    revisions: int = 0
    tail_version: bytes = b""
    empty_ranges_version: bytes = b""
    blocks: Mapping[int, tuple[bytes, Block | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What a reader needs: a tail that is new enough and whose close has not passed by `now_ms`, otherwise the lease.

    `min_as_of_ms`: how new the tail must be; `None` if a tail can't make the read unnecessary. `may_take_lease`: if
    false, it only asks whether another replica is reading.
    """

    lease: Lease
    min_as_of_ms: int | None
    now_ms: int
    may_take_lease: bool = True


@dataclass(frozen=True, slots=True)
class PullResult:
    """What is stored and new to the replica that pulls.

    `block_versions`: version and covered spans of each requested block that is stored, whether or not its rows could be
    read; `unreadable`: those whose rows could not. `revised_blocks`: indexes of blocks in which rows changed since the
    replica last pulled. `last_purge`: names the last purge.
    """

    epoch: bytes = b""
    revisions: int = 0
    last_purge: bytes = b""
    state: SeriesState = field(default_factory=SeriesState)
    tail_version: bytes = b""
    tail_as_of_ms: int = -1
    empty_ranges_version: bytes = b""
    block_versions: Mapping[int, tuple[bytes, tuple[Span, ...]]] = field(default_factory=dict)
    unreadable: frozenset[int] = frozenset()
    revised_blocks: tuple[int, ...] = ()
    lease_state: LeaseState = LeaseState.NONE
    error: str = ""
    pushed: bool = False


@dataclass(frozen=True, slots=True)
class Push:
    """What a read returned, with the versions it is based on (`known`).

    `state.tail` is `None` if it is no newer than the stored one. `revised_blocks`: those in which rows were revised.
    `lease` ends with the push.
    """

    known: KnownVersions
    state: SeriesState
    revised_blocks: frozenset[int]
    lease: Lease | None


class SharedRowStore(Protocol):
    """Rows shared between replicas. All calls but `subscribe` raise `SharedStoreDown`."""

    async def pull(self, key: SeriesKey, known: KnownVersions, lease_request: LeaseRequest | None) -> PullResult:
        """Return what is stored and new, and which replica may read."""

    async def push(self, key: SeriesKey, push: Push) -> PullResult:
        """Store a read's result; return what is stored if another replica was quicker."""

    async def renew(self, key: SeriesKey, lease: Lease) -> bool:
        """Extend a lease by `LEASE_S`; return whether it was still ours."""

    async def release(self, key: SeriesKey, lease: Lease, error: str) -> None:
        """End a lease; publish `error`, if any, for `ERROR_SHARED_S`."""

    async def purge(self, series_filter: SeriesFilter, name: bytes) -> None:
        """Delete the matching series and publish the purge."""

    async def purge_series(self, key: SeriesKey, name: bytes) -> None:
        """Delete one series, unless the purge of that name has deleted it."""

    def subscribe(
        self, on_lease_end: Callable[[SeriesKey], None], on_purge: Callable[[SeriesFilter, bytes], None]
    ) -> None:
        """Call `on_lease_end` soon after a lease ends that a replica waits for, and `on_purge` after any purge."""
