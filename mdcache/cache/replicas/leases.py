"""Leases: of the replicas that want the same read, one holds its lease and reads; the others wait for its result.

Leases only save requests; two readers at once are harmless (docs/design.md#leases). This module does not know what is
read, rows or a body, nor where leases are stored.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from mdcache.background_work import cancel_all
from mdcache.cache.replicas.background import BackgroundTasks
from mdcache.cache.sharing import LeasableRead
from mdcache.clock import Clock
from mdcache.errors import GateClosed, MdcacheError, UpstreamUnavailable
from mdcache.exchange.markets import Market
from mdcache.leases import LEASE_RENEWED_S, LEASE_S, Lease, LeaseState, SharedStoreDown
from mdcache.upstream.priority import Lane

POLL_S = 0.25  # the delay if a message is lost
RefusalNow = Callable[[Market, Lane, int], UpstreamUnavailable | None]  # `Governor.refusal_now`


@dataclass(frozen=True, slots=True)
class PullOutcome:
    """What a pull found.

    `satisfied`: nothing is left to read. `lease_state`: which replica may read. `error`: met by the one that did.
    """

    satisfied: bool
    lease_state: LeaseState
    error: MdcacheError | None


class PullOrLease(Protocol):
    """Pull; if that is not enough, take the lease, or only ask which replica has it if `take_lease` is false."""

    async def __call__(self, lease: Lease, *, take_lease: bool) -> PullOutcome:
        """Raise `SharedStoreDown` where the store can't be reached."""


# both raise `SharedStoreDown`
Renew = Callable[[Lease], Awaitable[bool]]  # extend it; return whether it was still ours
Release = Callable[[Lease, str], Coroutine[object, object, None]]  # end it, and publish an error
_Topic = TypeVar("_Topic", bound=Hashable)  # name what is read, in the messages between replicas


class Leases(Generic[_Topic]):
    """The leases that this replica holds, and those it waits for."""

    def __init__(self, clock: Clock, background: BackgroundTasks, refusal_now: RefusalNow) -> None:
        self._clock = clock
        self._background = background
        self._refusal_now = refusal_now
        self._released: WeakValueDictionary[_Topic, asyncio.Event] = WeakValueDictionary()  # held by the waiters
        self._renewing: dict[Lease, asyncio.Task[None]] = {}

    async def satisfied_by_peers(
        self, read: LeasableRead, topic: _Topic, name: str, pull: PullOrLease, renew: Renew
    ) -> bool:
        """Pull until nothing is left to read, or no other replica reads it.

        Returns:
            Whether nothing is left to read. Otherwise this replica is to read it; its lease, if it got one, is renewed
            until `finish`.

        Raises:
            MdcacheError: The error of the other replica's read.
        """
        try:
            return await self._wait_for_peers(read, topic, name, pull, renew)
        except SharedStoreDown:
            return False

    async def _wait_for_peers(
        self, read: LeasableRead, topic: _Topic, name: str, pull: PullOrLease, renew: Renew
    ) -> bool:
        holder = secrets.token_hex(8)
        while True:
            released = self._released.setdefault(topic, asyncio.Event())
            lease, may_take = Lease(name, holder, read.priority.lane.rank), not self._would_be_refused(read)
            read.lease = lease if may_take else None  # the lease ends with the read, even if the reply was lost
            outcome = await pull(lease, take_lease=may_take)
            read.lease = lease if outcome.lease_state is LeaseState.MINE else None
            if outcome.satisfied:
                return True
            if outcome.error is not None:
                raise outcome.error
            left_s = self._left_s(read)
            if outcome.lease_state is not LeaseState.THEIRS or left_s <= 0:
                break
            read.waited_for_peer = True
            await _wait(released, min(left_s, POLL_S))
        if read.lease is not None:
            self._renewing[lease] = asyncio.get_running_loop().create_task(self._renew(lease, renew))
        return False

    def on_released(self, topic: _Topic) -> None:
        """Wake the reads that wait for this topic: a lease of it ended."""
        released = self._released.pop(topic, None)
        if released is not None:
            released.set()

    def finish(
        self, read: LeasableRead, push: Coroutine[object, object, None] | None, release: Release, error: str
    ) -> None:
        """Stop renewing the lease of `read`, and publish how it ended, in the background.

        Args:
            read: The read that ended.
            push: Pushes its result, which ends the lease; `None` if there is none.
            release: Ends the lease if there is no result.
            error: Its error as a message; empty if it does not concern other replicas.
        """
        renewing = self._renewing.pop(read.lease, None) if read.lease is not None else None
        if renewing is not None:
            renewing.cancel()
        if push is not None:
            self._background.start(self._publish(push, read.lease, release))
        elif read.lease is not None:
            self._background.start(self._publish(release(read.lease, error), read.lease, release))

    async def _publish(self, work: Coroutine[object, object, None], lease: Lease | None, release: Release) -> None:
        try:
            await work
        except SharedStoreDown:
            if lease is not None:  # otherwise no replica could read until it expired
                await self._background.run_with_retry(partial(release, lease, ""), for_s=LEASE_S)

    async def aclose(self) -> None:
        """Stop renewing leases."""
        await cancel_all(*self._renewing.values())

    def _would_be_refused(self, read: LeasableRead) -> bool:
        """Return whether Binance can't be asked in time: each replica would take the lease only to release it."""
        refusal = self._refusal_now(read.market, read.priority.lane, read.weight())
        late = refusal is not None and refusal.retry_after_s > self._left_s(read)
        return isinstance(refusal, GateClosed) or late

    def _left_s(self, read: LeasableRead) -> float:
        return read.priority.deadline_s - self._clock.now()

    async def _renew(self, lease: Lease, renew: Renew) -> None:
        held = True
        while held:
            await self._clock.sleep(LEASE_RENEWED_S)
            try:
                held = await renew(lease)
            except SharedStoreDown:
                continue  # a lease outlives a missed renewal


async def _wait(released: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await released.wait()
    except TimeoutError:
        return  # the message may be lost: poll
