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

from mdcache.cache.answers import Answer, CacheStatus, Caller
from mdcache.cache.preconditions import check_preconditions
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.shared_task import landed
from mdcache.cache.single_flight import improve_priority
from mdcache.cache.snapshots import SnapshotAnswer, min_as_of_ms
from mdcache.cache.symbols import InfoRead, ReadExchangeInfo, SymbolTable
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Clock, Instant
from mdcache.errors import InvalidBody, MdcacheError, NotCached, Refusal, UpstreamFailed, UpstreamUnavailable
from mdcache.events import BackgroundTaskFailed, Events
from mdcache.exchange.exchange_info import ExchangeInfoDocument, SymbolSelection
from mdcache.exchange.markets import Market
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.governor import Lane, Priority

KIND = "info"  # first part of these entries' keys in the shared memory
_REFRESH_AT = 0.9  # of its TTL: from then on a question has the list read again behind its answer
_ERROR_MEMO_S = 5.0
_ANY_AGE_MS = 10**15
_REUSABLE_MS = 1_000  # a body holds the exchange's time: so long it may be shown again

_Which = tuple[Market, bool]  # with permission sets?


@dataclass(frozen=True, slots=True)
class _HeldDocument:
    listing: ExchangeInfoDocument
    as_of_ms: int


@dataclass(slots=True)
class _Read(InfoRead):
    """A read of ours; `brought`: the list, kept for as long as somebody waits for it, whatever memory says."""

    brought: _HeldDocument | None = None


class ExchangeInfo:
    """Answers `exchangeInfo` of the three markets."""

    def __init__(
        self,
        registry: SeriesRegistry,
        symbols: SymbolTable,
        clocks: ExchangeClocks,
        clock: Clock,
        events: Events,
        ttl_s: float,
        deadline_s: float,
    ) -> None:
        self._registry = registry
        self._symbols = symbols
        self._clocks = clocks
        self._clock = clock
        self._events = events
        self._ttl_ms = int(ttl_s * 1000)
        self._deadline_s = deadline_s
        self._held: dict[_Which, _HeldDocument] = {}
        self._reads: dict[_Which, tuple[_Read, asyncio.Task[_HeldDocument]]] = {}
        self._failed: dict[_Which, tuple[float, MdcacheError]] = {}
        registry.register_evictable(KIND, self)
        symbols.on_read = self.learn

    async def answer(
        self, market: Market, selection: SymbolSelection, directives: FreshnessDirectives, caller: Caller
    ) -> Answer:
        """The answer to `selection` as fresh as `wishes` say; raises what `errors.py` tells."""
        which = (market, selection.permission_sets or bool(selection.permissions))
        deadline_s = self._clock.now() + self._deadline_s
        names = [(each, False) for each in selection.names]
        await check_preconditions(self._clocks, self._symbols, market, names, self._deadline_s)
        if ahead_ms := directives.wait_ms(self._clocks.now(market)):
            await self._clock.sleep(ahead_ms / 1000)
        now = self._clocks.now(market)
        least_ms = min_as_of_ms(directives, directives.max_fresh_age_ms(self._ttl_ms), now)
        held, how = self._held.get(which), CacheStatus.HIT
        if held is not None and self._lacks(market, held, selection):
            held = None  # the directory knows a name that this form was read before
        if held is None or held.as_of_ms < least_ms:
            if directives.only_if_cached:
                raise NotCached
            how = CacheStatus.MISS if held is None else CacheStatus.REFRESHED
            try:
                held = await self._refreshed(which, least_ms, Priority(caller.lane, deadline_s, caller.name))
            except (UpstreamUnavailable, UpstreamFailed, Refusal):  # no refusal of a list is one of this question
                now = self._clocks.now(market)
                if held is None or held.as_of_ms < min_as_of_ms(
                    directives, directives.max_stale_age_ms(self._ttl_ms, _ANY_AGE_MS), now
                ):
                    raise
                how = CacheStatus.HIT
            now = self._clocks.now(market)
            self._registry.enforce_limit()
        elif now.ms - held.as_of_ms > self._ttl_ms * _REFRESH_AT:
            self._refresh_in_background(which, now.ms - int(self._ttl_ms * _REFRESH_AT))
        self._registry.memory.touch((KIND, which), self._clock.now())
        return self._build_answer(which, held, selection, how, now)

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = [task for _, task in self._reads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def learn(self, read: InfoRead, found: ReadExchangeInfo) -> None:
        """Hold a list that was read, by whomever."""
        which = (read.market, read.sets)
        held, before = _HeldDocument(found.listing, found.as_of_ms), self._held.get(which)
        if isinstance(read, _Read):
            read.brought = held
        if before is not None and before.as_of_ms > held.as_of_ms:
            return
        self._held[which] = held
        self._registry.memory.set_size((KIND, which), held.listing.nbytes)
        self._registry.enforce_limit()

    def evict(self, key: Hashable) -> None:
        """Memory wants these bytes back; it forgets the key by itself."""
        _, which = cast("tuple[str, _Which]", key)
        self._held.pop(which, None)

    async def _refreshed(self, which: _Which, min_as_of_ms: int, priority: Priority) -> _HeldDocument:
        """The list as of `least_ms` or later, read again; raises what asking Binance raises."""
        held = await self._shared(which, min_as_of_ms, priority)
        if held.as_of_ms < min_as_of_ms:  # it was sent before this question came; the next one is not
            held = await self._shared(which, min_as_of_ms, priority)
        if held.as_of_ms < min_as_of_ms:
            raise InvalidBody("no-progress", "exchangeInfo")
        return held

    async def _shared(self, which: _Which, min_as_of_ms: int, priority: Priority) -> _HeldDocument:
        return await landed(self._read(which, min_as_of_ms, priority), priority.deadline_s - self._clock.now())

    def _lacks(self, market: Market, held: _HeldDocument, selection: SymbolSelection) -> bool:
        known = self._symbols.symbols(market)
        return known.as_of_ms > held.as_of_ms and not held.listing.contains(selection.names)

    def _refresh_in_background(self, which: _Which, min_as_of_ms: int) -> None:
        with contextlib.suppress(MdcacheError):  # it failed a moment ago; the list we have goes on serving
            self._read(which, min_as_of_ms, Priority(Lane.NORMAL, self._clock.now() + self._deadline_s))

    def _read(self, which: _Which, min_as_of_ms: int, priority: Priority) -> "asyncio.Task[_HeldDocument]":
        """The read that is under way, or a new one; raises the error that one met a few seconds ago."""
        under_way = self._reads.get(which)
        if under_way is not None:
            improve_priority(under_way[0].priority, priority)
            under_way[0].min_as_of_ms = max(under_way[0].min_as_of_ms, min_as_of_ms)
            return under_way[1]
        believed = self._failed.get(which)
        if believed is not None and self._clock.now() < believed[0]:
            raise copy.copy(believed[1])
        market, sets = which
        read = _Read(market, replace(priority), self._symbols.symbols(market), sets=sets, min_as_of_ms=min_as_of_ms)
        task = asyncio.get_running_loop().create_task(self._fetch(read))
        self._reads[which] = read, task
        task.add_done_callback(partial(self._ended, which))
        return task

    async def _fetch(self, read: _Read) -> _HeldDocument:
        await self._symbols.read(read)
        if read.brought is None:
            raise InvalidBody("not-exchange-info", "nobody was told of it")
        return read.brought

    def _ended(self, which: _Which, task: "asyncio.Task[_HeldDocument]") -> None:
        del self._reads[which]
        self._failed.pop(which, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, UpstreamFailed | Refusal):
            self._failed[which] = self._clock.now() + _ERROR_MEMO_S, copy.copy(error)
        if error is not None and not isinstance(error, UpstreamUnavailable):  # a shut gate tells of itself
            self._events.emit(BackgroundTaskFailed("symbols", f"{type(error).__name__}: {error}"))

    def _newest_as_of_ms(self, which: _Which) -> int:
        held = self._held.get(which)
        return 0 if held is None else held.as_of_ms

    def _build_answer(
        self, which: _Which, held: _HeldDocument, selection: SymbolSelection, cache_status: CacheStatus, now: Instant
    ) -> Answer:
        until_ms = held.as_of_ms + self._ttl_ms
        marked = until_ms < now.ms
        return SnapshotAnswer(
            body=held.listing.body(now.ms, selection),
            as_of_ms=min(held.as_of_ms, now.ms),
            lifetime_s=self._ttl_ms / 1000,
            valid_until_ms=-1 if marked else min(until_ms, now.ms + _REUSABLE_MS),
            cache_status=cache_status,
            collapsed=False,
            stale=marked,
            settled=False,
            immutable=False,
            newest_as_of_ms=partial(self._newest_as_of_ms, which),
        )
