"""Copies: replicas that read whole answers for each other, as `together.py` does for rows (6.3.4).

Before a read from Binance, one look: a copy that is newer than ours comes in, and if it is not new enough, one replica
holds the lease and reads while the others wait. What a read brought is given behind the answer.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from mdcache.cache.behind import Behind
from mdcache.cache.copying import Copied
from mdcache.cache.leases import Leases, RefusalNow, Sight
from mdcache.cache.tidings import WHOLE, restored, told
from mdcache.candles.commons import AHEAD_MS, LOOK_EACH_S, CommonsDown, Lease
from mdcache.clock import Clock, Instant
from mdcache.errors import BrokenBody
from mdcache.events import Events, Failed
from mdcache.exchange.markets import Market
from mdcache.upstream.copies import Copy, CopyFound, CopyNeed, CopyStore

_MOST_LOOKS = 4_096
_LEASE = "read"  # of each copy there is one


class Copies:
    """This replica among others."""

    def __init__(
        self,
        store: CopyStore,
        clock: Clock,
        exchange_now: Callable[[Market], Instant],
        events: Events,
        refusal_now: RefusalNow,
    ) -> None:
        self._store = store
        self._clock = clock
        self._now = exchange_now
        self._events = events
        self._looked: OrderedDict[str, float] = OrderedDict()  # oldest first
        self._behind = Behind(clock, events)
        self._leases: Leases[str] = Leases(clock, self._behind, refusal_now)
        store.hear(self._leases.hear)

    async def spares(self, read: Copied) -> bool:
        """Take what is there; wait where another reads; whether nothing is left to read."""
        look, renew = partial(self._look_for, read), partial(self._store.renew, read.market, read.name)
        return await self._leases.spares(read, self._topic(read), _LEASE, look, renew)

    async def look(self, read: Copied) -> bool:
        """Take what is there, unless that was done a moment ago; whether it was news."""
        before_ms = read.held_ms
        if not self._may_look(self._topic(read)):
            return False
        try:
            await self._take_in(read, await self._store.take(read.market, read.name, read.held_ms, None))
        except CommonsDown:
            return False
        return read.held_ms > before_ms

    def landed(self, read: Copied, brought: Copy | None, error: BaseException | None) -> None:
        """Give what it brought, or tell the error, behind the answer."""
        gift = None
        if error is None and brought is not None:
            gift = self._store.give(read.market, read.name, brought, read.life_s, read.lease)
        text = told(error, WHOLE, waited=read.waited)
        self._leases.end(read, gift, partial(self._store.release, read.market, read.name), text)

    async def purge(self) -> None:
        """Have all forgotten; tried again behind, where that can't be done now."""
        await self._behind.insist(self._store.purge)

    async def aclose(self) -> None:
        """Give what is being given, for at most a second."""
        await self._behind.aclose()
        await self._leases.aclose()

    async def _look_for(self, read: Copied, lease: Lease, *, takes: bool) -> Sight:
        need = CopyNeed(lease, read.floor_ms, takes)
        found = await self._store.take(read.market, read.name, read.held_ms, need)
        await self._take_in(read, found)
        return Sight(read.held_ms >= read.floor_ms, found.hold, restored(found.error, WHOLE))

    async def _take_in(self, read: Copied, found: CopyFound) -> None:
        copy = found.copy
        if copy is None or copy.as_of_ms > self._now(read.market).late_ms + AHEAD_MS:
            return
        try:
            await read.adopt(copy)
        except BrokenBody as error:
            self._events.emit(Failed("copy", f"{read.name}: {error}"))
            return
        read.held_ms = copy.as_of_ms

    def _may_look(self, topic: str) -> bool:
        now_s = self._clock.now()
        if now_s - self._looked.get(topic, float("-inf")) < LOOK_EACH_S:
            return False
        self._looked.pop(topic, None)
        self._looked[topic] = now_s
        if len(self._looked) > _MOST_LOOKS:
            self._looked.popitem(last=False)
        return True

    def _topic(self, read: Copied) -> str:
        return self._store.topic(read.market, read.name)
