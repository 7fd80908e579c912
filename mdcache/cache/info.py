"""`exchangeInfo` served from memory: the directory's lists, cut to what a question names.

Two forms are held of spot's: with permission sets (most of its bytes) only once somebody asks for them. A list
that is asked for is read again behind the answers before its time is up; when Binance can't be asked the last
one goes on serving, marked.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import cast

from mdcache.cache.answers import Answer, Caller, How
from mdcache.cache.directory import Directory, Found, InfoRead
from mdcache.cache.library import Library
from mdcache.cache.prepare import prepared
from mdcache.cache.solo import Solo
from mdcache.candles.freshness import Wishes
from mdcache.clock import Clock, Instant
from mdcache.errors import AskFailed, CannotAsk, DeadlinePassed, NotCached
from mdcache.events import Events, Failed
from mdcache.exchange.listing import Listing, Selection, select
from mdcache.exchange.markets import Market
from mdcache.upstream.clocksync import ExchangeClocks
from mdcache.upstream.governor import Lane, Turn

KIND = "info"  # first part of these entries' keys in the shared memory
_EARLY = 0.9  # of its TTL: from then on a question has the list read again behind its answer
_SHOWN_MS = 1_000  # a body holds the exchange's time: so long it may be shown again

_Which = tuple[Market, bool]  # with permission sets?


@dataclass(frozen=True, slots=True)
class _Held:
    listing: Listing
    as_of_ms: int


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
        self._solos: dict[_Which, Solo] = {}
        self._behind: set[asyncio.Task[None]] = set()
        library.adopt(KIND, self)
        directory.on_read = self.learn

    async def answer(self, market: Market, query: str, wishes: Wishes, caller: Caller) -> Answer:
        """The answer to `query` as fresh as `wishes` say; raises what `errors.py` tells."""
        selection = select(query) if market is Market.SPOT else Selection(sets=False)
        which = (market, selection.sets or bool(selection.permissions))
        deadline_s = self._clock.now() + self._deadline_s
        names = [(each, False) for each in selection.names]
        await prepared(self._clocks, self._directory, market, names, self._deadline_s)
        now = self._clocks.now(market)
        floor_ms = min(now.ms, max(now.ms - wishes.allowed_ms(self._ttl_ms), wishes.min_as_of_ms or 0))
        held, how = self._held.get(which), How.HIT
        if held is not None and self._lacks(held, selection):
            held = None  # the directory knows a name that this form was read before
        if held is None or held.as_of_ms < floor_ms:
            if wishes.only_if_cached:
                raise NotCached
            how = How.MISS if held is None else How.REFRESHED
            held, how = await self._refreshed(which, held, how, caller.lane, deadline_s)
            now = self._clocks.now(market)
        elif now.ms - held.as_of_ms > self._ttl_ms * _EARLY:
            self._refresh_behind(which)
        self._library.memory.ask((KIND, which), self._clock.now())
        return self._shown(held, selection, how, now)

    async def aclose(self) -> None:
        """End what is under way."""
        await asyncio.gather(*(solo.aclose() for solo in self._solos.values()))

    def learn(self, read: InfoRead, found: Found) -> None:
        """Hold a list that was read, by whomever."""
        which = (read.market, read.sets)
        before = self._held.get(which)
        if before is not None and before.as_of_ms > found.as_of_ms:
            return
        held = self._held[which] = _Held(found.listing, found.as_of_ms)
        self._library.memory.hold((KIND, which), held.listing.nbytes)
        self._library.fit()

    def give_up(self, key: Hashable) -> None:
        """Memory wants these bytes back; it forgets the key by itself."""
        _, which = cast("tuple[str, _Which]", key)
        self._held.pop(which, None)

    async def _refreshed(
        self, which: _Which, held: _Held | None, how: How, lane: Lane, deadline_s: float
    ) -> tuple[_Held, How]:
        """The list, read again; or the last one, where Binance can't be asked."""
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock.now())):
                await self._solo(which, lane).run()
            return self._held[which], how
        except TimeoutError:
            if held is None:
                raise DeadlinePassed(1.0, "no answer from Binance in time") from None
        except (CannotAsk, AskFailed):
            if held is None:
                raise
        return held, How.HIT

    def _lacks(self, held: _Held, selection: Selection) -> bool:
        return bool(selection.names) and not held.listing.lists(selection.names)

    def _solo(self, which: _Which, lane: Lane = Lane.NORMAL) -> Solo:
        if which not in self._solos:
            self._solos[which] = Solo(lambda: self._read(which, lane))
        return self._solos[which]

    def _refresh_behind(self, which: _Which) -> None:
        if self._behind:
            return
        task = asyncio.get_running_loop().create_task(self._solo(which).run())
        self._behind.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._behind.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # the list we have goes on serving; the next question tries again
            self._events.emit(Failed("symbols", f"{type(error).__name__}: {error}"))

    async def _read(self, which: _Which, lane: Lane) -> None:
        market, sets = which
        turn = Turn(lane, self._clock.now() + self._deadline_s)
        await self._directory.read(InfoRead(market, turn, self._directory.symbols(market), sets=sets))

    def _shown(self, held: _Held, selection: Selection, how: How, now: Instant) -> Answer:
        until_ms = held.as_of_ms + self._ttl_ms
        marked = until_ms < now.ms
        return Answer(
            body=held.listing.body(now.ms, selection),
            as_of_ms=min(held.as_of_ms, now.ms),
            lifetime_s=self._ttl_ms / 1000,
            stands_until_ms=-1 if marked else min(until_ms, now.ms + _SHOWN_MS),
            how=how,
            collapsed=False,
            marked=marked,
            settled=False,
            immutable=False,
        )
