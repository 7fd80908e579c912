"""Copies: whole answers of Binance that the replicas of one daemon share. A port; Redis is behind it.

One look (`take`) brings a copy that is newer than what the asker holds, and leases the read to one of those who need
a newer one. A copy never takes the place of a newer one.
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
    """What a reader wants: a copy as of `floor_ms`, else `lease`; without `takes` it only asks who reads."""

    lease: Lease
    min_as_of_ms: int
    may_take_lease: bool = True


@dataclass(frozen=True, slots=True)
class BodyPullResult:
    """`copy`: what is there, if it is newer than what the asker holds. `error`: of who had the lease."""

    body: SnapshotBody | None = None
    lease_state: LeaseState = LeaseState.NONE
    error: str = ""


class SharedBodyStore(Protocol):
    """Where copies are, by market and name. All calls but `hear` and `topic` raise `candles.commons.CommonsDown`."""

    def topic(self, market: Market, name: str) -> str:
        """What `hear` tells this one by."""
        ...

    def subscribe(self, on_message: Callable[[str], None]) -> None:
        """Have `told` called with a topic soon after a read of it that somebody waits for ended."""
        ...

    async def pull(self, market: Market, name: str, held_ms: int, need: BodyLeaseRequest | None) -> BodyPullResult:
        """A copy newer than one as of `held_ms` (-1 for none), and whether to read."""
        ...

    async def push(self, market: Market, name: str, body: SnapshotBody, lifetime_s: float, lease: Lease | None) -> None:
        """Put it there for so many seconds; the lease ends."""
        ...

    async def renew(self, market: Market, name: str, lease: Lease) -> bool:
        """Hold on to the lease; whether it was still ours."""
        ...

    async def release(self, market: Market, name: str, lease: Lease, error: str) -> None:
        """Let go of it; an `error` is told to the others for a second."""
        ...

    async def purge(self) -> None:
        """Forget all copies of this daemon's upstreams."""
        ...
