"""Together: replicas that read for each other (6.3.4). What they know meets in the commons.

Before a read from Binance, one exchange: what is there that is newer than ours comes in, and if that is not enough,
one replica holds the lease and reads while the others wait for what it gives. What a read brought is given behind
the answer. The lease is an economy: whatever two replicas give at once is merged by what they know and as of when.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from weakref import WeakValueDictionary

from mdcache.cache.ledger import Ledgers
from mdcache.cache.library import Library
from mdcache.cache.sharing import Shareable
from mdcache.cache.tidings import Edges, restored, told
from mdcache.cache.wanted import lease_name, reached_indexes, wanted
from mdcache.candles.atrest import Which
from mdcache.candles.commons import LEASE_RENEWED_S, Commons, CommonsDown, Found, Hold, Lease, Need
from mdcache.candles.series import Series
from mdcache.candles.share import Shared, adopt
from mdcache.candles.window import Form, Window
from mdcache.clock import Clock, Instant
from mdcache.errors import CannotAsk, GateClosed
from mdcache.events import Events, Failed, Revised
from mdcache.exchange.markets import Market
from mdcache.exchange.questions import SeriesKey
from mdcache.upstream.governor import Lane

_POLL_S = 0.25  # a message that was lost costs this much more
_LOOK_EACH_S = 0.25
_GIVE_TRIES = 4
_GIVEN_AT_ONCE = 16
_MOST_INDEXES = 8  # blocks in one exchange
_AHEAD_MS = 2_000  # a tail from further in the future is nobody's
_LAST_GIFTS_S = 1.0
_PURGE_AGAIN_S = 1.0
_MOST_PURGES = 256
RefusalNow = Callable[[Market, Lane, int], CannotAsk | None]  # a governor's


class Together:
    """This replica among others. `forget` makes it forget series, as a purge does."""

    def __init__(
        self,
        commons: Commons,
        library: Library,
        clock: Clock,
        exchange_now: Callable[[Series], Instant],
        events: Events,
        refusal_now: RefusalNow,
    ) -> None:
        self.forget: Callable[[Which], Awaitable[object]] = _forget_nothing
        self._commons = commons
        self._library = library
        self._clock = clock
        self._now = exchange_now
        self._events = events
        self._refusal_now = refusal_now
        self._ledgers = Ledgers()
        self._told: WeakValueDictionary[SeriesKey, asyncio.Event] = WeakValueDictionary()  # held by who waits
        self._renewing: dict[Lease, asyncio.Task[None]] = {}
        self._behind: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_GIVEN_AT_ONCE)
        self._purges: dict[bytes, None] = {}  # names of those this replica took part in
        self._purged = 0
        commons.hear(self._hear, self._hear_purge)

    # ------------------------------------------------------------------------------------ reading

    async def spares(self, flight: Shareable) -> bool:
        """Take what is there; wait where another reads; whether nothing is left to read."""
        try:
            return await self._spares(flight)
        except CommonsDown:
            return False

    async def look(self, series: Series, window: Window) -> bool:
        """Take what is there, unless that was done a moment ago; whether the tail is another now."""
        ledger = self._ledgers.of(series.key)
        if self._clock.now() - ledger.looked_s < _LOOK_EACH_S:
            return False
        before = series.tail
        pin = self._library.pin(series.key)
        try:
            await self._exchange(series, reached_indexes(series, window, self._now(series).late_ms), None)
        except CommonsDown:
            return False
        finally:
            self._library.unpin(pin)
        return series.tail is not before

    async def _spares(self, flight: Shareable) -> bool:
        series = flight.series
        name, token = lease_name(series, flight.window), secrets.token_hex(8)
        goal = wanted(series, flight.window, self._now(series).late_ms)
        while True:
            news = self._told.setdefault(series.key, asyncio.Event())
            now_ms = self._now(series).late_ms
            floor_ms = flight.floor_ms if flight.window.form is Form.TAIL else None
            indexes = reached_indexes(series, flight.window, now_ms)[:_MOST_INDEXES]
            lease = Lease(name, token, flight.turn.lane.rank)
            need = Need(lease, floor_ms, now_ms, takes=not self._hopeless(flight))
            flight.lease = lease if need.takes else None  # it ends with the flight, also where the reply was lost
            found = await self._exchange(series, indexes, need)
            mine = found.hold is Hold.MINE
            flight.lease = lease if mine else None
            if goal.spared(series, flight.floor_ms, self._now(series)):
                return True
            if found.hold is Hold.FAILED and (error := restored(found.error, _edges(flight))) is not None:
                raise error
            left_s = flight.turn.drop_at_s - self._clock.now()
            if found.hold is not Hold.THEIRS or left_s <= 0:
                break
            flight.waited = True
            await self._wait(news, min(left_s, _POLL_S))
        if mine:
            self._renewing[lease] = asyncio.get_running_loop().create_task(self._renew(series.key, lease))
        return False

    def _hopeless(self, flight: Shareable) -> bool:
        """Whether it would be refused: a lease would only be passed from one replica to the next, by all of them."""
        refusal = self._refusal_now(flight.series.key.market, flight.turn.lane, flight.weight())
        left_s = flight.turn.drop_at_s - self._clock.now()
        return isinstance(refusal, GateClosed) or (refusal is not None and refusal.retry_after_s > left_s)

    async def _wait(self, news: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            return  # the poll behind the message

    async def _exchange(self, series: Series, indexes: Sequence[int], need: Need | None) -> Found:
        """One look, and what it tells taken in; blocks in which rows were revised are looked at as well."""
        ledger = self._ledgers.of(series.key)
        while True:
            purged = self._purged
            for index in indexes:
                await self._library.rest.bring(series, *series.shelf.span(index))
            found = await self._commons.take(series.key, ledger.have(series, indexes), need)
            if found.purge and found.purge != ledger.purge:
                await self._forget_by(series, found.purge)
            elif self._purged == purged:
                break
            ledger = self._ledgers.of(series.key)
        await self._take_in(series, found, indexes)
        others = [index for index in found.revised if index not in indexes and _holds(series, index)]
        for at in range(0, len(others), _MOST_INDEXES):
            some = others[at : at + _MOST_INDEXES]
            await self._take_in(series, await self._commons.take(series.key, ledger.have(series, some), None), some)
        ledger.revisions = found.revisions
        ledger.looked_s = self._clock.now()
        return found

    async def _take_in(self, series: Series, found: Found, indexes: Sequence[int]) -> None:
        for index in found.shared.blocks:  # memory may have given some of it up in the meantime
            await self._library.rest.bring(series, *series.shelf.span(index))
        shared, now = found.shared, self._now(series)
        if shared.tail is not None and shared.tail.as_of_ms > now.late_ms + _AHEAD_MS:
            shared = Shared(None, shared.bare, shared.voids, shared.blocks)
        for revision in adopt(series, shared):
            key = series.key
            self._events.emit(Revised(key.market, str(key), revision.open_ms, revision.was, revision.now))
        self._ledgers.of(series.key).saw(found, indexes)
        self._library.merged(series)

    # ------------------------------------------------------------------------------------ giving

    def landed(self, flight: Shareable, error: BaseException | None) -> None:
        """Give what it brought, or tell the error, behind the answer."""
        lease, key = flight.lease, flight.series.key
        renewing = self._renewing.pop(lease, None) if lease is not None else None
        if renewing is not None:
            renewing.cancel()
        if error is None and flight.brought is not None:
            self._start(self._give(flight))
        elif lease is not None:
            self._start(self._release(key, lease, told(error, _edges(flight), waited=flight.waited)))

    async def _give(self, flight: Shareable) -> None:
        series, lease = flight.series, flight.lease
        pin = self._library.pin(series.key)
        try:
            async with self._slots:
                for _ in range(_GIVE_TRIES):
                    if await self._gave(flight):
                        return
                    indexes = self._indexes(flight)
                    for at in range(0, len(indexes), _MOST_INDEXES):
                        await self._exchange(series, indexes[at : at + _MOST_INDEXES], None)
            if lease is not None:
                await self._commons.release(series.key, lease, "")
        except CommonsDown:
            return
        finally:
            self._library.unpin(pin)

    async def _gave(self, flight: Shareable) -> bool:
        series, ledger = flight.series, self._ledgers.of(flight.series.key)
        gift = ledger.gift(series, self._indexes(flight), flight.lease, trusted=flight.trusted)
        found = await self._commons.give(series.key, gift)
        if found.given:
            ledger.gave(gift, found)
        return found.given

    def _indexes(self, flight: Shareable) -> list[int]:
        """Blocks that it told of, and those around its window that are here: others may lack them."""
        series = flight.series
        width = series.shelf.width_ms
        around = reached_indexes(series, flight.window, self._now(series).late_ms)
        brought = {open_ms // width for open_ms in flight.brought or ()}
        return [index for index in sorted({*around, *brought}) if series.shelf.find(index) is not None]

    async def _renew(self, key: SeriesKey, lease: Lease) -> None:
        held = True
        while held:
            await self._clock.sleep(LEASE_RENEWED_S)
            try:
                held = await self._commons.renew(key, lease)
            except CommonsDown:
                continue  # it lasts for longer than that

    async def _release(self, key: SeriesKey, lease: Lease, error: str) -> None:
        try:
            await self._commons.release(key, lease, error)
        except CommonsDown:
            return

    # ------------------------------------------------------------------------------------ purging

    async def purge(self, which: Which) -> None:
        """Have all forget; tried again behind, where the commons can't be had now."""
        name = secrets.token_bytes(8)
        self._take_part(name)
        for key in self._ledgers:
            if which.takes(key):
                self._ledgers.forget(key, name)
        try:
            await self._commons.purge(which, name)
        except CommonsDown:
            self._start(self._purge_later(which, name))

    async def _purge_later(self, which: Which, name: bytes) -> None:
        while True:
            await self._clock.sleep(_PURGE_AGAIN_S)
            try:
                await self._commons.purge(which, name)
            except CommonsDown:
                continue
            return

    def _take_part(self, name: bytes) -> None:
        self._purged += 1
        self._purges[name] = None
        while len(self._purges) > _MOST_PURGES:
            del self._purges[next(iter(self._purges))]

    async def _forget_by(self, series: Series, name: bytes) -> None:
        """The series was purged by somebody since we last looked."""
        key = series.key
        self._ledgers.forget(key, name)
        if name not in self._purges and (len(series.coverage) or len(series.resting) or series.tail is not None):
            self._purged += 1
            await self.forget(Which(key.market, key.subject, key.interval))

    def _hear_purge(self, which: Which, name: bytes) -> None:
        if name not in self._purges:
            self._take_part(name)
            self._start(self._follow(which, name))

    async def _follow(self, which: Which, name: bytes) -> None:
        """Somebody purged: forget too, and what we may have given in the meantime."""
        keys = [key for key in self._ledgers if which.takes(key)]
        for key in keys:
            self._ledgers.forget(key, name)
        await self.forget(which)
        try:
            for key in keys:
                await self._commons.purge_series(key, name)
        except CommonsDown:
            return

    # ------------------------------------------------------------------------------------ parts

    def _hear(self, key: SeriesKey) -> None:
        news = self._told.pop(key, None)
        if news is not None:
            news.set()

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._behind.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
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


async def _forget_nothing(_: Which) -> None:
    """Until somebody says how to forget."""


def _holds(series: Series, index: int) -> bool:
    span = series.shelf.span(index)
    return bool(series.coverage.pieces(*span) or series.resting.pieces(*span))


def _edges(flight: Shareable) -> Edges:
    return flight.window.start_ms, flight.window.end_ms
