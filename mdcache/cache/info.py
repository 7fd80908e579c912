"""`exchangeInfo` served from memory: the directory's lists, cut to what a question names.

Two forms are held of spot's: with permission sets (most of its bytes) only once somebody asks for them. A list
that is asked for is read again behind the answers before its time is up; when Binance can't be asked the last
one goes on serving, marked.
"""

import asyncio
import contextlib
import copy
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from mdcache.cache.answers import Answer, Caller, How
from mdcache.cache.directory import Directory, Found, InfoRead
from mdcache.cache.flights import improve
from mdcache.cache.landing import landed
from mdcache.cache.library import Library
from mdcache.cache.prepare import prepared
from mdcache.cache.snapshots import Newest, floor_ms
from mdcache.candles.freshness import Wishes
from mdcache.clock import Clock, Instant
from mdcache.errors import AskFailed, BrokenBody, CannotAsk, MdcacheError, NotCached, Refusal
from mdcache.events import Events, Failed
from mdcache.exchange.listing import Listing, Selection
from mdcache.exchange.markets import Market
from mdcache.upstream.clocksync import ExchangeClocks
from mdcache.upstream.governor import Lane, Turn

KIND = "info"  # first part of these entries' keys in the shared memory
_EARLY = 0.9  # of its TTL: from then on a question has the list read again behind its answer
_ERROR_BELIEVED_S = 5.0
_ANY_AGE_MS = 10**15
_SHOWN_MS = 1_000  # a body holds the exchange's time: so long it may be shown again

_Which = tuple[Market, bool]  # with permission sets?


@dataclass(frozen=True, slots=True)
class _Held:
    listing: Listing
    as_of_ms: int


@dataclass(slots=True)
class _Read(InfoRead):
    """A read of ours; `brought`: the list, kept for as long as somebody waits for it, whatever memory says."""

    brought: _Held | None = None


class Info:
    """Answers `exchangeInfo` of the three markets."""

    def __init__(
        self,
        library: Library,
        directory: Directory,
        clocks: ExchangeClocks,
        clock: Clock,
        events: Events,
        ttl_s: float,
        deadline_s: float,
    ) -> None:
        self._library = library
        self._directory = directory
        self._clocks = clocks
        self._clock = clock
        self._events = events
        self._ttl_ms = int(ttl_s * 1000)
        self._deadline_s = deadline_s
        self._held: dict[_Which, _Held] = {}
        self._reads: dict[_Which, tuple[_Read, asyncio.Task[_Held]]] = {}
        self._failed: dict[_Which, tuple[float, MdcacheError]] = {}
        library.adopt(KIND, self)
        directory.on_read = self.learn

    async def answer(self, market: Market, selection: Selection, wishes: Wishes, caller: Caller) -> Answer:
        """The answer to `selection` as fresh as `wishes` say; raises what `errors.py` tells."""
        which = (market, selection.sets or bool(selection.permissions))
        deadline_s = self._clock.now() + self._deadline_s
        names = [(each, False) for each in selection.names]
        await prepared(self._clocks, self._directory, market, names, self._deadline_s)
        if ahead_ms := wishes.ahead_ms(self._clocks.now(market)):
            await self._clock.sleep(ahead_ms / 1000)
        now = self._clocks.now(market)
        least_ms = floor_ms(wishes, wishes.allowed_ms(self._ttl_ms), now)
        held, how = self._held.get(which), How.HIT
        if held is not None and self._lacks(market, held, selection):
            held = None  # the directory knows a name that this form was read before
        if held is None or held.as_of_ms < least_ms:
            if wishes.only_if_cached:
                raise NotCached
            how = How.MISS if held is None else How.REFRESHED
            try:
                held = await self._refreshed(which, least_ms, Turn(caller.lane, deadline_s, caller.name))
            except (CannotAsk, AskFailed, Refusal):  # no refusal of a list is one of this question
                now = self._clocks.now(market)
                if held is None or held.as_of_ms < floor_ms(
                    wishes, wishes.stretched_ms(self._ttl_ms, _ANY_AGE_MS), now
                ):
                    raise
                how = How.HIT
            now = self._clocks.now(market)
            self._library.fit()
        elif now.ms - held.as_of_ms > self._ttl_ms * _EARLY:
            self._refresh_behind(which, now.ms - int(self._ttl_ms * _EARLY))
        self._library.memory.ask((KIND, which), self._clock.now())
        return self._shown(which, held, selection, how, now)

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = [task for _, task in self._reads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def learn(self, read: InfoRead, found: Found) -> None:
        """Hold a list that was read, by whomever."""
        which = (read.market, read.sets)
        held, before = _Held(found.listing, found.as_of_ms), self._held.get(which)
        if isinstance(read, _Read):
            read.brought = held
        if before is not None and before.as_of_ms > held.as_of_ms:
            return
        self._held[which] = held
        self._library.memory.hold((KIND, which), held.listing.nbytes)
        self._library.fit()

    def give_up(self, key: Hashable) -> None:
        """Memory wants these bytes back; it forgets the key by itself."""
        _, which = cast("tuple[str, _Which]", key)
        self._held.pop(which, None)

    async def _refreshed(self, which: _Which, least_ms: int, turn: Turn) -> _Held:
        """The list as of `least_ms` or later, read again; raises what asking Binance raises."""
        held = await self._shared(which, least_ms, turn)
        if held.as_of_ms < least_ms:  # it was sent before this question came; the next one is not
            held = await self._shared(which, least_ms, turn)
        if held.as_of_ms < least_ms:
            raise BrokenBody("no-progress", "exchangeInfo")
        return held

    async def _shared(self, which: _Which, least_ms: int, turn: Turn) -> _Held:
        return await landed(self._read(which, least_ms, turn), turn.drop_at_s - self._clock.now())

    def _lacks(self, market: Market, held: _Held, selection: Selection) -> bool:
        known = self._directory.symbols(market)
        return known.as_of_ms > held.as_of_ms and not held.listing.lists(selection.names)

    def _refresh_behind(self, which: _Which, least_ms: int) -> None:
        with contextlib.suppress(MdcacheError):  # it failed a moment ago; the list we have goes on serving
            self._read(which, least_ms, Turn(Lane.NORMAL, self._clock.now() + self._deadline_s))

    def _read(self, which: _Which, least_ms: int, turn: Turn) -> "asyncio.Task[_Held]":
        """The read that is under way, or a new one; raises the error that one met a few seconds ago."""
        under_way = self._reads.get(which)
        if under_way is not None:
            improve(under_way[0].turn, turn)
            under_way[0].floor_ms = max(under_way[0].floor_ms, least_ms)
            return under_way[1]
        believed = self._failed.get(which)
        if believed is not None and self._clock.now() < believed[0]:
            raise copy.copy(believed[1])
        market, sets = which
        read = _Read(market, replace(turn), self._directory.symbols(market), sets=sets, floor_ms=least_ms)
        task = asyncio.get_running_loop().create_task(self._fetch(read))
        self._reads[which] = read, task
        task.add_done_callback(partial(self._ended, which))
        return task

    async def _fetch(self, read: _Read) -> _Held:
        await self._directory.read(read)
        if read.brought is None:
            raise BrokenBody("not-exchange-info", "nobody was told of it")
        return read.brought

    def _ended(self, which: _Which, task: "asyncio.Task[_Held]") -> None:
        del self._reads[which]
        self._failed.pop(which, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AskFailed | Refusal):
            self._failed[which] = self._clock.now() + _ERROR_BELIEVED_S, copy.copy(error)
        if error is not None and not isinstance(error, CannotAsk):  # a shut gate tells of itself
            self._events.emit(Failed("symbols", f"{type(error).__name__}: {error}"))

    def _newest_ms(self, which: _Which) -> int:
        held = self._held.get(which)
        return 0 if held is None else held.as_of_ms

    def _shown(self, which: _Which, held: _Held, selection: Selection, how: How, now: Instant) -> Answer:
        until_ms = held.as_of_ms + self._ttl_ms
        marked = until_ms < now.ms
        return Newest(
            body=held.listing.body(now.ms, selection),
            as_of_ms=min(held.as_of_ms, now.ms),
            lifetime_s=self._ttl_ms / 1000,
            stands_until_ms=-1 if marked else min(until_ms, now.ms + _SHOWN_MS),
            how=how,
            collapsed=False,
            marked=marked,
            settled=False,
            immutable=False,
            newest_ms=partial(self._newest_ms, which),
        )
