"""Leases: of the replicas that want the same read, one holds its lease and reads; the others wait for what it gives.

A lease is an economy (docs/design.md#leases): where two read at once, or none knows who does, answers are right all
the same. What is
read, rows or a copy, and where leases are kept is for those who use this.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from mdcache.cache.replicas.background import BackgroundTasks
from mdcache.cache.sharing import LeasableRead
from mdcache.clock import Clock
from mdcache.errors import GateClosed, MdcacheError, UpstreamUnavailable
from mdcache.exchange.markets import Market
from mdcache.leases import LEASE_RENEWED_S, LEASE_S, Lease, LeaseState, SharedStoreDown
from mdcache.upstream.governor import Lane

POLL_S = 0.25  # a message that was lost costs this much more
RefusalNow = Callable[[Market, Lane, int], UpstreamUnavailable | None]  # a governor's


@dataclass(frozen=True, slots=True)
class PullOutcome:
    """What one look found. `spared`: all that the read was to bring; `error`: what the one that read it met."""

    satisfied: bool
    hold: LeaseState
    error: MdcacheError | None


class PullOrLease(Protocol):
    """Takes in what is there; where that is not enough, takes the lease, or (`takes` is false) asks who has it."""

    async def __call__(self, lease: Lease, *, take_lease: bool) -> PullOutcome:
        """Raises `SharedStoreDown`."""
        ...


Renew = Callable[[Lease], Awaitable[bool]]  # holds on to it; whether it was still ours; raises `SharedStoreDown`
Release = Callable[
    [Lease, str], Coroutine[object, object, None]
]  # ends it, with the error met; raises `SharedStoreDown`
_Topic = TypeVar("_Topic", bound=Hashable)  # what the others' messages tell a read's end by


class Leases(Generic[_Topic]):
    """Those that this replica holds, and those it waits for."""

    def __init__(self, clock: Clock, background: BackgroundTasks, refusal_now: RefusalNow) -> None:
        self._clock = clock
        self._background = background
        self._refusal_now = refusal_now
        self._released: WeakValueDictionary[_Topic, asyncio.Event] = WeakValueDictionary()  # held by who waits
        self._renewing: dict[Lease, asyncio.Task[None]] = {}

    async def satisfied_by_peers(
        self, read: LeasableRead, topic: _Topic, name: str, pull: PullOrLease, renew: Renew
    ) -> bool:
        """Look until there is enough or nobody else reads; whether nothing is left to read.

        If something is, `read` is this replica's to do, with its lease renewed until its `end`. Raises the error that
        another replica's read met.
        """
        try:
            return await self._wait_for_peers(read, topic, name, pull, renew)
        except SharedStoreDown:
            return False

    async def _wait_for_peers(
        self, read: LeasableRead, topic: _Topic, name: str, pull: PullOrLease, renew: Renew
    ) -> bool:
        token = secrets.token_hex(8)
        while True:
            news = self._released.setdefault(topic, asyncio.Event())
            lease, takes = Lease(name, token, read.priority.lane.rank), not self._would_be_refused(read)
            read.lease = lease if takes else None  # it ends with the read, also where the reply was lost
            seen = await pull(lease, take_lease=takes)
            read.lease = lease if seen.hold is LeaseState.MINE else None
            if seen.satisfied:
                return True
            if seen.error is not None:
                raise seen.error
            left_s = self._left_s(read)
            if seen.hold is not LeaseState.THEIRS or left_s <= 0:
                break
            read.waited_for_peer = True
            await _wait(news, min(left_s, POLL_S))
        if read.lease is not None:
            self._renewing[lease] = asyncio.get_running_loop().create_task(self._renew(lease, renew))
        return False

    def on_released(self, topic: _Topic) -> None:
        """A read that somebody waits for ended."""
        news = self._released.pop(topic, None)
        if news is not None:
            news.set()

    def finish(
        self, read: LeasableRead, push: Coroutine[object, object, None] | None, release: Release, error: str
    ) -> None:
        """`read` landed: hold on to its lease no more, and tell the others, behind the answer.

        `gift` gives what it brought and ends the lease; `None` where it brought nothing but `error`.
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
            if lease is not None:  # else nobody could read until it ran out
                await self._background.run_with_retry(partial(release, lease, ""), for_s=LEASE_S)

    async def aclose(self) -> None:
        """Hold on to nothing."""
        renewing = tuple(self._renewing.values())
        for task in renewing:
            task.cancel()
        await asyncio.gather(*renewing, return_exceptions=True)

    def _would_be_refused(self, read: LeasableRead) -> bool:
        """Whether it would be refused: a lease would only be passed from one replica to the next, by all of them."""
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
                continue  # it lasts for longer than that


async def _wait(released: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await released.wait()
    except TimeoutError:
        return  # the poll behind the message
