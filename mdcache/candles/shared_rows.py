"""The commons: what the replicas of one daemon know together, as the data path sees it. A port; Redis is behind it.

One exchange (`take`) tells what is there that is newer than what the asker has, and leases a read to one of those
who need it, in one round trip. `give` puts there what a read brought: whole, or not at all where somebody else
gave in the meantime (`Found.given` is false then, and `Found` tells what is there now).

Marks are opaque: the commons hands them out with what it gives, and knows by them what the asker has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from mdcache.candles.block import Block
from mdcache.candles.persistence import SeriesFilter, Span
from mdcache.candles.replication import SeriesState
from mdcache.exchange.klines import SeriesKey

LEASE_S = 3.0  # docs/design.md#leases
LEASE_RENEWED_S = 1.0
ERROR_SHARED_S = 1.0  # docs/design.md#shared-errors
PULL_INTERVAL_S = 0.25  # where Binance can't be asked: each answer would look
MAX_AHEAD_MS = 2_000  # what is as of further in the future is nobody's


class SharedStoreDown(Exception):
    """It can't be had now; everything works without it."""


class LeaseState(StrEnum):
    """Who may read, after an exchange."""

    NONE = "nobody"  # no lease was to be taken, or the tail that is there will do
    MINE = "mine"
    THEIRS = "theirs"
    FAILED = "failed"  # who had it met an error less than a second ago


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to read one class of windows of a series. `token`: who holds it; a lower `rank` takes it over."""

    name: str
    holder: str
    rank: int


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """What the asker has of what is there, by the marks it was given; an empty mark means nothing.

    `blocks`: the blocks it is about to need, each with its mark and our own form of it, for what differs is often
    only its end. `revisions`: how many it has been told of in this `epoch`.
    """

    epoch: bytes = b""
    revisions: int = 0
    tail_version: bytes = b""
    empty_ranges_version: bytes = b""
    blocks: Mapping[int, tuple[bytes, Block | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What a reader wants: a tail as of `floor_ms` that no close has passed by `now_ms`, else `lease` to read one.

    `floor_ms` is `None` where no tail will do instead of the read. Without `takes` it only asks whether another reads.
    """

    lease: Lease
    min_as_of_ms: int | None
    now_ms: int
    may_take_lease: bool = True


@dataclass(frozen=True, slots=True)
class PullResult:
    """What is there and new to the asker.

    `marks`: of each block asked for that is there at all, its mark and the spans that are known in it, whether or not
    its rows could be read; `lost`: those whose rows could not.

    `revised`: indexes of blocks in which rows changed since the asker was last told. `purge` names the last purge.
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
    """What a read brought, against what was there when we last looked (`have`).

    `shared.tail` is `None` where it is no newer than what is there; `told`: blocks in which rows were revised.
    `lease` ends with it.
    """

    known: KnownVersions
    state: SeriesState
    revised_blocks: frozenset[int]
    lease: Lease | None


class SharedRowStore(Protocol):
    """What replicas share. All calls but `hear` raise `SharedStoreDown`."""

    async def pull(self, key: SeriesKey, known: KnownVersions, lease_request: LeaseRequest | None) -> PullResult:
        """What is there, and whether to read."""
        ...

    async def push(self, key: SeriesKey, push: Push) -> PullResult:
        """Put it there; what is found then, if somebody was quicker."""
        ...

    async def renew(self, key: SeriesKey, lease: Lease) -> bool:
        """Hold on to it for another `LEASE_S`; whether it was still ours."""
        ...

    async def release(self, key: SeriesKey, lease: Lease, error: str) -> None:
        """Let go of it; an `error` is told to the others for a second."""
        ...

    async def purge(self, series_filter: SeriesFilter, name: bytes) -> None:
        """Forget the series that match, and tell everybody."""
        ...

    async def purge_series(self, key: SeriesKey, name: bytes) -> None:
        """Forget one series, unless the purge of that name did."""
        ...

    def subscribe(
        self, on_lease_end: Callable[[SeriesKey], None], on_purge: Callable[[SeriesFilter, bytes], None]
    ) -> None:
        """Have `told` called soon after a lease that somebody waits for ended, `purged` after anybody's purge."""
        ...
