"""Leases: of the replicas that want the same read, one holds its lease and reads; the others wait for what it gives.

A lease is an economy (6.3.4): where two read at once, or none knows who does, answers are right all the same. What is
read, rows or a copy, and where leases are kept is for those who use this.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from mdcache.cache.behind import Behind
from mdcache.candles.commons import LEASE_RENEWED_S, LEASE_S, CommonsDown, Hold, Lease
from mdcache.clock import Clock
from mdcache.errors import CannotAsk, GateClosed, MdcacheError
from mdcache.exchange.markets import Market
from mdcache.upstream.governor import Lane, Turn

POLL_S = 0.25  # a message that was lost costs this much more
RefusalNow = Callable[[Market, Lane, int], CannotAsk | None]  # a governor's


class Leasable(Protocol):
    """A read that one replica may do for all.

    `floor_ms`: least as-of that will do. `waited`: for another replica's read. `lease`: to be ended with the read.
    """

    market: Market
    turn: Turn
    floor_ms: int
    waited: bool
    lease: Lease | None

    def weight(self) -> int:
        """What it would cost if it were sent now."""
        ...


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look found. `spared`: all that the read was to bring; `error`: what the one that read it met."""

    spared: bool
    hold: Hold
    error: MdcacheError | None


class Look(Protocol):
    """Takes in what is there; where that is not enough, takes the lease, or (`takes` is false) asks who has it."""

    async def __call__(self, lease: Lease, *, takes: bool) -> Sight:
        """Raises `CommonsDown`."""
        ...


Renew = Callable[[Lease], Awaitable[bool]]  # holds on to it; whether it was still ours; raises `CommonsDown`
Release = Callable[[Lease, str], Coroutine[object, object, None]]  # ends it, with the error met; raises `CommonsDown`
_Topic = TypeVar("_Topic", bound=Hashable)  # what the others' messages tell a read's end by


class Leases(Generic[_Topic]):
    """Those that this replica holds, and those it waits for."""

    def __init__(self, clock: Clock, behind: Behind, refusal_now: RefusalNow) -> None:
        self._clock = clock
        self._behind = behind
        self._refusal_now = refusal_now
        self._told: WeakValueDictionary[_Topic, asyncio.Event] = WeakValueDictionary()  # held by who waits
        self._renewing: dict[Lease, asyncio.Task[None]] = {}

    async def spares(self, read: Leasable, topic: _Topic, name: str, look: Look, renew: Renew) -> bool:
        """Look until there is enough or nobody else reads; whether nothing is left to read.

        If something is, `read` is this replica's to do, with its lease renewed until its `end`. Raises the error that
        another replica's read met.
        """
        try:
            return await self._spares(read, topic, name, look, renew)
        except CommonsDown:
            return False

    async def _spares(self, read: Leasable, topic: _Topic, name: str, look: Look, renew: Renew) -> bool:
        token = secrets.token_hex(8)
        while True:
            news = self._told.setdefault(topic, asyncio.Event())
            lease, takes = Lease(name, token, read.turn.lane.rank), not self._hopeless(read)
            read.lease = lease if takes else None  # it ends with the read, also where the reply was lost
            seen = await look(lease, takes=takes)
            read.lease = lease if seen.hold is Hold.MINE else None
            if seen.spared:
                return True
            if seen.error is not None:
                raise seen.error
            left_s = self._left_s(read)
            if seen.hold is not Hold.THEIRS or left_s <= 0:
                break
            read.waited = True
            await _wait(news, min(left_s, POLL_S))
        if read.lease is not None:
            self._renewing[lease] = asyncio.get_running_loop().create_task(self._renew(lease, renew))
        return False

    def hear(self, topic: _Topic) -> None:
        """A read that somebody waits for ended."""
        news = self._told.pop(topic, None)
        if news is not None:
            news.set()

    def end(self, read: Leasable, gift: Coroutine[object, object, None] | None, release: Release, error: str) -> None:
        """`read` landed: hold on to its lease no more, and tell the others, behind the answer.

        `gift` gives what it brought and ends the lease; `None` where it brought nothing but `error`.
        """
        renewing = self._renewing.pop(read.lease, None) if read.lease is not None else None
        if renewing is not None:
            renewing.cancel()
        if gift is not None:
            self._behind.start(self._tell(gift, read.lease, release))
        elif read.lease is not None:
            self._behind.start(self._tell(release(read.lease, error), read.lease, release))

    async def _tell(self, work: Coroutine[object, object, None], lease: Lease | None, release: Release) -> None:
        try:
            await work
        except CommonsDown:
            if lease is not None:  # else nobody could read until it ran out
                await self._behind.insist(partial(release, lease, ""), for_s=LEASE_S)

    async def aclose(self) -> None:
        """Hold on to nothing."""
        renewing = tuple(self._renewing.values())
        for task in renewing:
            task.cancel()
        await asyncio.gather(*renewing, return_exceptions=True)

    def _hopeless(self, read: Leasable) -> bool:
        """Whether it would be refused: a lease would only be passed from one replica to the next, by all of them."""
        refusal = self._refusal_now(read.market, read.turn.lane, read.weight())
        late = refusal is not None and refusal.retry_after_s > self._left_s(read)
        return isinstance(refusal, GateClosed) or late

    def _left_s(self, read: Leasable) -> float:
        return read.turn.drop_at_s - self._clock.now()

    async def _renew(self, lease: Lease, renew: Renew) -> None:
        held = True
        while held:
            await self._clock.sleep(LEASE_RENEWED_S)
            try:
                held = await renew(lease)
            except CommonsDown:
                continue  # it lasts for longer than that


async def _wait(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return  # the poll behind the message
