"""Copies: replicas that read whole answers for each other, as `together.py` does for rows (6.3.4).

Before a read from Binance, one look: a copy that is newer than ours comes in, and if it is not new enough, one replica
holds the lease and reads while the others wait. What a read brought is given behind the answer.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from weakref import WeakValueDictionary

from mdcache.cache.copying import Copied
from mdcache.cache.tidings import WHOLE, restored, told
from mdcache.candles.commons import LEASE_RENEWED_S, CommonsDown, Hold, Lease
from mdcache.clock import Clock, Instant
from mdcache.errors import BrokenBody, CannotAsk, GateClosed
from mdcache.events import Events, Failed
from mdcache.exchange.markets import Market
from mdcache.upstream.copies import Copy, CopyFound, CopyNeed, CopyStore
from mdcache.upstream.governor import Lane

_POLL_S = 0.25  # a message that was lost costs this much more
_AHEAD_MS = 2_000  # a copy from further in the future is nobody's
_LOOK_EACH_S = 0.25
_MOST_LOOKS = 4_096
_LAST_GIFTS_S = 1.0
_PURGE_AGAIN_S = 1.0
_LEASE = "read"  # of each copy there is one


class Copies:
    """This replica among others."""

    def __init__(
        self,
        store: CopyStore,
        clock: Clock,
        exchange_now: Callable[[Market], Instant],
        events: Events,
        refusal_now: Callable[[Market, Lane, int], CannotAsk | None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._now = exchange_now
        self._events = events
        self._refusal_now = refusal_now
        self._looked: OrderedDict[str, float] = OrderedDict()  # oldest first
        self._told: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()  # held by who waits
        self._renewing: dict[Lease, asyncio.Task[None]] = {}
        self._behind: set[asyncio.Task[None]] = set()
        store.hear(self._hear)

    async def spares(self, read: Copied) -> bool:
        """Take what is there; wait where another reads; whether nothing is left to read."""
        try:
            return await self._spares(read)
        except CommonsDown:
            return False

    async def look(self, read: Copied) -> bool:
        """Take what is there, unless that was done a moment ago; whether it was news."""
        before_ms = read.held_ms
        if not self._may_look(self._store.topic(read.market, read.name)):
            return False
        try:
            await self._take_in(read, await self._store.take(read.market, read.name, read.held_ms, None))
        except CommonsDown:
            return False
        return read.held_ms > before_ms

    def _may_look(self, topic: str) -> bool:
        """While Binance can't be asked, each answer would look."""
        now_s = self._clock.now()
        if now_s - self._looked.get(topic, float("-inf")) < _LOOK_EACH_S:
            return False
        self._looked.pop(topic, None)
        self._looked[topic] = now_s
        if len(self._looked) > _MOST_LOOKS:
            self._looked.popitem(last=False)
        return True

    async def _spares(self, read: Copied) -> bool:
        token = secrets.token_hex(8)
        topic = self._store.topic(read.market, read.name)
        while True:
            news = self._told.setdefault(topic, asyncio.Event())
            lease = Lease(_LEASE, token, read.turn.lane.rank)
            need = CopyNeed(lease, read.floor_ms, takes=not self._hopeless(read))
            read.lease = lease if need.takes else None  # it ends with the read, also where the reply was lost
            found = await self._store.take(read.market, read.name, read.held_ms, need)
            mine = found.hold is Hold.MINE
            read.lease = lease if mine else None
            await self._take_in(read, found)
            if read.held_ms >= read.floor_ms:
                return True
            if found.hold is Hold.FAILED and (error := restored(found.error, WHOLE)) is not None:
                raise error
            left_s = read.turn.drop_at_s - self._clock.now()
            if found.hold is not Hold.THEIRS or left_s <= 0:
                break
            read.waited = True
            await self._wait(news, min(left_s, _POLL_S))
        if mine:
            self._renewing[lease] = asyncio.get_running_loop().create_task(self._renew(read, lease))
        return False

    async def _take_in(self, read: Copied, found: CopyFound) -> None:
        copy = found.copy
        if copy is None or copy.as_of_ms > self._now(read.market).late_ms + _AHEAD_MS:
            return
        try:
            await read.adopt(copy)
        except BrokenBody as error:
            self._events.emit(Failed("copy", f"{read.name}: {error}"))
            return
        read.held_ms = copy.as_of_ms

    def _hopeless(self, read: Copied) -> bool:
        """Whether it would be refused: a lease would only be passed from one replica to the next, by all of them."""
        refusal = self._refusal_now(read.market, read.turn.lane, read.weight())
        left_s = read.turn.drop_at_s - self._clock.now()
        return isinstance(refusal, GateClosed) or (refusal is not None and refusal.retry_after_s > left_s)

    async def _wait(self, news: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            return  # the poll behind the message

    # ------------------------------------------------------------------------------------ giving

    def landed(self, read: Copied, brought: Copy | None, error: BaseException | None) -> None:
        """Give what it brought, or tell the error, behind the answer."""
        lease = read.lease
        renewing = self._renewing.pop(lease, None) if lease is not None else None
        if renewing is not None:
            renewing.cancel()
        if error is None and brought is not None:
            self._start(self._store.give(read.market, read.name, brought, read.life_s, lease))
        elif lease is not None:
            text = told(error, WHOLE, waited=read.waited)
            self._start(self._store.release(read.market, read.name, lease, text))

    async def _renew(self, read: Copied, lease: Lease) -> None:
        held = True
        while held:
            await self._clock.sleep(LEASE_RENEWED_S)
            try:
                held = await self._store.renew(read.market, read.name, lease)
            except CommonsDown:
                continue  # it lasts for longer than that

    # ------------------------------------------------------------------------------------ parts

    async def purge(self) -> None:
        """Have all forgotten; tried again behind, where that can't be done now."""
        try:
            await self._store.purge()
        except CommonsDown:
            self._start(self._purge_later())

    async def _purge_later(self) -> None:
        while True:
            await self._clock.sleep(_PURGE_AGAIN_S)
            try:
                await self._store.purge()
            except CommonsDown:
                continue
            return

    def _hear(self, topic: str) -> None:
        news = self._told.pop(topic, None)
        if news is not None:
            news.set()

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._behind.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, CommonsDown):
            self._events.emit(Failed("sharing", f"{type(error).__name__}: {error}"))

    async def aclose(self) -> None:
        """Give what is being given, for at most a second."""
        tasks = tuple(self._behind)
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_GIFTS_S)
        rest = (*self._behind, *self._renewing.values())
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
