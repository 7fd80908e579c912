"""The port of the store of bodies that replicas share; Redis implements it (docs/design.md#replicas).

`pull` returns a body that is newer than the one this replica holds, and leases the read to one of the replicas that
need an even newer one. A body never replaces a newer one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import SnapshotBody
from mdcache.leases import Lease, LeaseState

MOST_BYTES = 64 << 20  # of a body; spot's exchangeInfo takes 2 to 20 MB, permission sets included


@dataclass(frozen=True, slots=True)
class BodyLeaseRequest:
    """What a reader needs: a body as of `min_as_of_ms` or later, otherwise the lease.

    `may_take_lease`: if false, it only asks whether another replica is reading.
    """

    lease: Lease
    min_as_of_ms: int
    may_take_lease: bool = True


@dataclass(frozen=True, slots=True)
class BodyPullResult:
    """What is stored and newer than what this replica holds. `error`: of the replica that had the lease."""

    body: SnapshotBody | None = None
    lease_state: LeaseState = LeaseState.NONE
    error: str = ""


class SharedBodyStore(Protocol):
    """Bodies by market and name. All calls but `topic` and `subscribe` raise `SharedStoreDown`."""

    def topic(self, market: Market, name: str) -> str:
        """Return the name of a body in messages."""

    def subscribe(self, on_message: Callable[[str], None]) -> None:
        """Call `on_message` with the topic soon after a lease ends that a replica waits for."""

    async def pull(self, market: Market, name: str, held_ms: int, need: BodyLeaseRequest | None) -> BodyPullResult:
        """Return a body newer than one as of `held_ms` (-1: any), and which replica may read."""

    async def push(self, market: Market, name: str, body: SnapshotBody, lifetime_s: float, lease: Lease | None) -> None:
        """Store a body for `lifetime_s`; end the lease."""

    async def renew(self, market: Market, name: str, lease: Lease) -> bool:
        """Extend the lease by `LEASE_S`; return whether it was still ours."""

    async def release(self, market: Market, name: str, lease: Lease, error: str) -> None:
        """End the lease; publish `error`, if any, for `ERROR_SHARED_S`."""

    async def purge(self) -> None:
        """Delete all bodies of this daemon's upstreams."""
