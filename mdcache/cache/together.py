"""Together: replicas that read for each other (6.3.4). What they know meets in the commons.

Before a read from Binance, one exchange: what is there that is newer than ours comes in, and if that is not enough,
one replica holds the lease and reads while the others wait for what it gives. What a read brought is given behind
the answer. Whatever two replicas give at once is merged by what they know and as of when.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from mdcache.cache.behind import Behind
from mdcache.cache.leases import Leases, RefusalNow, Sight
from mdcache.cache.ledger import Ledgers
from mdcache.cache.library import Library
from mdcache.cache.purging import Purging
from mdcache.cache.sharing import Shareable
from mdcache.cache.tidings import Edges, restored, told
from mdcache.cache.wanted import Wanted, lease_name, reached_indexes, wanted
from mdcache.candles.atrest import Which
from mdcache.candles.commons import AHEAD_MS, LOOK_EACH_S, Commons, CommonsDown, Found, Lease, Need
from mdcache.candles.series import Series
from mdcache.candles.share import Shared, adopt
from mdcache.candles.window import Form, Window
from mdcache.clock import Clock, Instant
from mdcache.events import Events, Revised
from mdcache.exchange.questions import SeriesKey

_GIVE_TRIES = 4
_GIVEN_AT_ONCE = 16
_MOST_INDEXES = 8  # blocks in one exchange


class Together:
    """This replica among others."""

    def __init__(
        self,
        commons: Commons,
        library: Library,
        clock: Clock,
        exchange_now: Callable[[Series], Instant],
        events: Events,
        refusal_now: RefusalNow,
    ) -> None:
        self._commons = commons
        self._library = library
        self._clock = clock
        self._now = exchange_now
        self._events = events
        self._ledgers = Ledgers()
        self._behind = Behind(clock, events)
        self._leases: Leases[SeriesKey] = Leases(clock, self._behind, refusal_now)
        self.purging = Purging(commons, self._ledgers, self._behind)
        self._slots = asyncio.Semaphore(_GIVEN_AT_ONCE)
        commons.hear(self._leases.hear, self.purging.hear)

    # ------------------------------------------------------------------------------------ reading

    async def spares(self, flight: Shareable) -> bool:
        """Take what is there; wait where another reads; whether nothing is left to read."""
        series = flight.series
        goal = wanted(series, flight.window, self._now(series).late_ms)
        look, renew = partial(self._look_for, goal, flight), partial(self._commons.renew, series.key)
        return await self._leases.spares(flight, series.key, lease_name(series, flight.window), look, renew)

    async def look(self, series: Series, window: Window) -> bool:
        """Take what is there, unless that was done a moment ago; whether the tail is another now."""
        ledger = self._ledgers.of(series.key)
        if self._clock.now() - ledger.looked_s < LOOK_EACH_S:
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

    async def _look_for(self, goal: Wanted, flight: Shareable, lease: Lease, *, takes: bool) -> Sight:
        series, now_ms = flight.series, self._now(flight.series).late_ms
        floor_ms = flight.floor_ms if flight.window.form is Form.TAIL else None
        indexes = reached_indexes(series, flight.window, now_ms)[:_MOST_INDEXES]
        found = await self._exchange(series, indexes, Need(lease, floor_ms, now_ms, takes))
        spared = goal.spared(series, flight.floor_ms, self._now(series))
        return Sight(spared, found.hold, restored(found.error, _edges(flight)))

    async def _exchange(self, series: Series, indexes: Sequence[int], need: Need | None) -> Found:
        """One look, and what it tells taken in; blocks in which rows were revised are looked at as well."""
        ledger = self._ledgers.of(series.key)
        while True:
            purges = self.purging.count
            for index in indexes:
                await self._library.rest.bring(series, *series.shelf.span(index))
            found = await self._commons.take(series.key, ledger.have(series, indexes), need)
            if found.purge and found.purge != ledger.purge:
                await self.purging.meet(series, found.purge)
            elif self.purging.count == purges:
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
        if shared.tail is not None and shared.tail.as_of_ms > now.late_ms + AHEAD_MS:
            shared = Shared(None, shared.bare, shared.voids, shared.blocks)
        for revision in adopt(series, shared):
            key = series.key
            self._events.emit(Revised(key.market, str(key), revision.open_ms, revision.was, revision.now))
        self._ledgers.of(series.key).saw(found, indexes)
        self._library.merged(series)

    # ------------------------------------------------------------------------------------ giving

    def landed(self, flight: Shareable, error: BaseException | None) -> None:
        """Give what it brought, or tell the error, behind the answer."""
        gift = self._give(flight) if error is None and flight.brought is not None else None
        text = told(error, _edges(flight), waited=flight.waited)
        self._leases.end(flight, gift, partial(self._commons.release, flight.series.key), text)

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

    # ------------------------------------------------------------------------------------ the end

    async def purge(self, which: Which) -> None:
        """Have all forget; tried again behind, where the commons can't be had now."""
        await self.purging.purge(which)

    async def aclose(self) -> None:
        """Give what is being given, for at most a second."""
        await self._behind.aclose()
        await self._leases.aclose()


def _holds(series: Series, index: int) -> bool:
    span = series.shelf.span(index)
    return bool(series.coverage.pieces(*span) or series.resting.pieces(*span))


def _edges(flight: Shareable) -> Edges:
    return flight.window.start_ms, flight.window.end_ms
