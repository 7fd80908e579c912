"""Answer `exchangeInfo` from one document per market, and check the names in every question against it.

Spot's document has two forms: the one with permission sets, which make up most of its bytes, is read only once a client
asks for it. A document in use is refreshed in the background before its TTL ends; when Binance can't be asked, the last
one is served as stale.
"""

import asyncio
import math
from collections.abc import Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, cast

from mdcache.background_work import cancel_all, compute, supervise
from mdcache.cache.answers import Answer, CacheStatus, Caller
from mdcache.cache.preconditions import check_preconditions
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.sharing import BodySharing
from mdcache.cache.snapshot_reads import SnapshotRead, SnapshotReads, parse
from mdcache.cache.snapshots import SnapshotAnswer, min_as_of_ms
from mdcache.cache.symbols import SymbolTable
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Clock, Instant
from mdcache.errors import BodyFault, InvalidBody, MdcacheError, NotCached, Refusal, UpstreamFailed, UpstreamUnavailable
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events, ReadReason, SymbolsLoaded
from mdcache.exchange import refusals
from mdcache.exchange.exchange_info import EXCHANGE_INFO_ENDPOINTS, ExchangeInfoDocument, SymbolSelection
from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import SnapshotBody, SnapshotQuestion
from mdcache.exchange.symbols import MarketSymbols, read_symbols
from mdcache.upstream.governor import Governor
from mdcache.upstream.priority import Lane, Priority

KIND = "exchange_info"  # first part of these entries' keys in the shared memory
KNOWN_NAMES_S = 3_600.0  # a known name needs no newer list: a read of one that was delisted is refused by Binance
_REFRESH_AT = 0.9  # of its TTL: after that, a question starts a refresh in the background
_ERROR_MEMO_S = 5.0  # invented names would cost a read each
_OF_USE_S = 86_400.0  # for other replicas: an old document is better than none
_ANY_AGE_MS = 10**15
_VALID_MS = 1_000  # an answer contains the exchange's time: it may be served again for this long

_WITH_SETS = {endpoint.market: SnapshotQuestion(endpoint, ()) for endpoint in EXCHANGE_INFO_ENDPOINTS}
_SPOT = _WITH_SETS[Market.SPOT].endpoint
_PLAIN = _WITH_SETS | {Market.SPOT: SnapshotQuestion(_SPOT, (("showPermissionSets", "false"),))}


class ExchangeInfoStore(Protocol):
    """The store in which each market's last bodies outlive the process. It never raises."""

    async def load(self, market: Market, *, sets: bool) -> tuple[bytes, int] | None:
        """Return the body (`sets`: with permission sets) and the exchange's time of its read in ms, if there is one."""

    def save(self, market: Market, body: bytes, as_of_ms: int, *, sets: bool) -> None:
        """Save this body in the background."""


@dataclass(frozen=True, slots=True)
class ExchangeInfoPolicy:
    """Settings, in seconds. `invalid_symbol_ttl_s`: how old a document must be for an unknown name to have it read."""

    ttl_s: float
    invalid_symbol_ttl_s: float
    deadline_s: float
    stalled_after_s: float

    @property
    def ttl_ms(self) -> int:
        """The TTL in milliseconds."""
        return int(self.ttl_s * 1000)


@dataclass(frozen=True, slots=True)
class _Held:
    document: ExchangeInfoDocument
    as_of_ms: int


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A body, the document it is, and its symbols."""

    body: bytes
    held: _Held
    symbols: MarketSymbols


class ExchangeInfo:
    """Answer `exchangeInfo`, and check that symbols exist. Every body that is kept updates `table`."""

    max_body_bytes = 64 << 20  # spot's is 2 to 20 MB, permission sets included

    def __init__(
        self,
        registry: SeriesRegistry,
        table: SymbolTable,
        governor: Governor,
        clock: Clock,
        events: Events,
        policy: ExchangeInfoPolicy,
        store: ExchangeInfoStore | None = None,
        body_sharing: BodySharing | None = None,
    ) -> None:
        self.table = table
        self._registry = registry
        self._governor = governor
        self._clocks = governor.clocks
        self._clock = clock
        self._events = events
        self._policy = policy
        self._store = store
        self._held: dict[SnapshotQuestion, _Held] = {}
        self._loads: dict[Market, asyncio.Task[None]] = {}
        self._loaded = {market: asyncio.Event() for market in Market}
        self._refreshed_at_s = dict.fromkeys(Market, -math.inf)
        self._reads: SnapshotReads[_Parsed] = SnapshotReads(
            BackgroundTask.SYMBOLS, governor, clock, events, policy.stalled_after_s, self, body_sharing, _ERROR_MEMO_S
        )
        registry.register_evictable(KIND, self)

    def start(self) -> None:
        """Start to load what is stored: a daemon that knows symbols can answer, and says so before anybody asks."""
        for market in Market:
            self._start_load(market)

    def set_ttls(self, ttl_s: float, invalid_symbol_ttl_s: float) -> None:
        """Let other TTLs count from now on."""
        self._policy = replace(self._policy, ttl_s=ttl_s, invalid_symbol_ttl_s=invalid_symbol_ttl_s)

    async def answer(
        self, market: Market, selection: SymbolSelection, directives: FreshnessDirectives, caller: Caller
    ) -> Answer:
        """Answer a question to `exchangeInfo`.

        Args:
            market: The market that is asked.
            selection: The symbols, and with or without permission sets.
            directives: How fresh the document must be, and how stale it may be where Binance can't be asked.
            caller: On whose behalf it is read.

        Returns:
            The document cut to `selection`, with the exchange's time of now in it.

        Raises:
            Refusal: A name is not listed.
            NotCached: The caller wants no read, and no document is fresh enough.
            UpstreamUnavailable, UpstreamFailed: It can't be read, and no older document will do.
            DeadlinePassed: It could not be read in time.
        """
        with_sets = selection.permission_sets or bool(selection.permissions)
        question = _WITH_SETS[market] if with_sets else _PLAIN[market]
        deadline_s = self._clock.now() + self._policy.deadline_s
        names = [(each, False) for each in selection.names]
        await check_preconditions(self._clocks, self, market, names, self._policy.deadline_s)
        if wait_ms := directives.wait_ms(self._clocks.now(market)):
            await self._clock.sleep(wait_ms / 1000)
        held, cache_status = self._held.get(question), CacheStatus.HIT
        await _index(held, selection)
        now = self._clocks.now(market)
        least_ms = min_as_of_ms(directives, directives.max_fresh_age_ms(self._policy.ttl_ms), now)
        if held is not None and self._lacks(market, held, selection):
            held, least_ms = None, max(least_ms, self.table.symbols(market).as_of_ms)
        if held is None or held.as_of_ms < least_ms:
            if directives.only_if_cached:
                raise NotCached
            cache_status = CacheStatus.MISS if held is None else CacheStatus.REFRESHED
            try:
                held = await self._read_again(question, least_ms, caller.priority(deadline_s))
            except (UpstreamUnavailable, UpstreamFailed, Refusal):  # a refusal of the list is not one of the question
                now = self._clocks.now(market)
                stale_ms = directives.max_stale_age_ms(self._policy.ttl_ms, _ANY_AGE_MS)
                if held is None or held.as_of_ms < min_as_of_ms(directives, stale_ms, now):
                    raise
                cache_status = CacheStatus.HIT
            await _index(held, selection)
            now = self._clocks.now(market)
            self._registry.enforce_limit()
        elif now.ms - held.as_of_ms > self._policy.ttl_ms * _REFRESH_AT:
            self._refresh_in_background(question, int(self._policy.ttl_ms * _REFRESH_AT), Lane.NORMAL)
        self._registry.memory.touch((KIND, question), self._clock.now())
        return self._build_answer(question, held, selection, cache_status, now)

    async def check_symbols(self, market: Market, names: Iterable[tuple[str, bool]]) -> None:
        """Check that all of these names are listed on the market, or once were.

        An unknown name causes the document to be read again, once for all requests, if the last read is longer ago than
        the policy's `invalid_symbol_ttl_s`.

        Args:
            market: The market that is asked.
            names: Symbols, or pairs where the second value is true.

        Raises:
            Refusal: Binance's own, for a name that is not known.
            UpstreamUnavailable, UpstreamFailed, DeadlinePassed: No document was ever read, and none can be.
        """
        await self._ensure_loaded(market)
        for name, by_pair in names:
            await self._check_symbol(market, name, by_pair=by_pair)

    async def aclose(self) -> None:
        """Cancel the reads and refreshes in progress."""
        await cancel_all(*self._loads.values())
        await self._reads.aclose()

    # ------------------------------------------------------------------------------------ as a consumer of bodies

    def held_as_of_ms(self, question: SnapshotQuestion) -> int:
        """Return the as-of of the document that is held; -1 for none."""
        held = self._held.get(question)
        return -1 if held is None else held.as_of_ms

    def max_age_s(self, _: SnapshotQuestion) -> float:
        """Return how long a body is useful to other replicas, in seconds."""
        return _OF_USE_S

    def parse(self, question: SnapshotQuestion, body: SnapshotBody) -> _Parsed:
        """Parse a body; raise `InvalidBody` if it is not an `exchangeInfo`."""
        symbols = read_symbols(question.market, body.body, body.as_of_ms)
        return _Parsed(body.body, _Held(ExchangeInfoDocument(body.body), body.as_of_ms), symbols)

    async def keep(self, read: SnapshotRead[_Parsed], result: _Parsed) -> None:
        """Hold a document that was read, by this replica or another, and save it."""
        market = read.market
        if self._hold(read.question, result):
            self._events.emit(SymbolsLoaded(market, len(self.table.symbols(market).names)))
        if self._store is not None:
            self._store.save(market, result.body, result.held.as_of_ms, sets=read.question != _PLAIN[market])

    def evict(self, key: Hashable) -> None:
        """Drop a document, whose bytes no longer count."""
        _, question = cast("tuple[str, SnapshotQuestion]", key)
        self._held.pop(question, None)

    # ------------------------------------------------------------------------------------ symbols

    async def _check_symbol(self, market: Market, name: str, *, by_pair: bool) -> None:
        age_s, policy = self.table.age_s(market), self._policy
        if age_s == math.inf:
            await self._read_first(market)
        elif age_s > max(policy.ttl_s, KNOWN_NAMES_S) and self._may_refresh(market):
            self._refreshed_at_s[market] = self._clock.now()
            self._refresh_in_background(_PLAIN[market], self._policy.ttl_ms, Lane.HIGH)
        if self.table.symbols(market).knows(name, by_pair=by_pair):
            return
        if self.table.age_s(market) > policy.invalid_symbol_ttl_s:
            await self._read_symbols(market, policy.invalid_symbol_ttl_s)
        if not self.table.symbols(market).knows(name, by_pair=by_pair):
            raise refusals.bad_pair(market) if by_pair else refusals.bad_symbol()

    def _may_refresh(self, market: Market) -> bool:
        return self._clock.now() - self._refreshed_at_s[market] > self._policy.invalid_symbol_ttl_s

    async def _read_first(self, market: Market) -> None:
        """Read the first document; if that fails, use an old one of another replica."""
        try:
            await self._read_symbols(market, self._policy.ttl_s)
        except (UpstreamUnavailable, UpstreamFailed):
            if self.table.age_s(market) == math.inf:
                raise

    async def _read_symbols(self, market: Market, max_age_s: float) -> None:
        priority = Priority(Lane.HIGH, self._clock.now() + self._policy.deadline_s)
        least_ms = self._clocks.now(market).ms - int(max_age_s * 1000)
        read, _ = self._reads.join(_PLAIN[market], least_ms, priority, ReadReason.SYMBOLS)
        await self._reads.wait(read, priority.deadline_s)

    # ------------------------------------------------------------------------------------ documents

    async def _ensure_loaded(self, market: Market) -> None:
        """Wait until the documents of the store and of the other replicas are loaded, or could not be."""
        self._start_load(market)
        await self._loaded[market].wait()

    def _start_load(self, market: Market) -> None:
        if market not in self._loads:
            work = partial(self._load, market)
            self._loads[market] = supervise(BackgroundTask.SYMBOLS, work, self._clock, self._events)

    async def _load(self, market: Market) -> None:
        try:
            await self._load_documents(market)
        finally:
            self._loaded[market].set()

    async def _load_documents(self, market: Market) -> None:
        for question in dict.fromkeys((_PLAIN[market], _WITH_SETS[market])):
            sets = question != _PLAIN[market]
            stored = await self._store.load(market, sets=sets) if self._store is not None else None
            if stored is not None:
                try:
                    self._hold(question, await parse(self, question, SnapshotBody(*stored)))
                except InvalidBody as error:
                    self._events.emit(BackgroundTaskFailed(BackgroundTask.SYMBOLS, str(error)))
        await self._reads.pull(_PLAIN[market])

    def _hold(self, question: SnapshotQuestion, parsed: _Parsed) -> bool:
        """Hold a document, unless a newer one is held; return whether its symbols are the newest."""
        market = question.market
        age_s = max(0.0, (self._clocks.now(market).ms - parsed.held.as_of_ms) / 1000)
        if not self._loaded[market].is_set():  # read before this process began: an unknown name needs a newer one
            age_s = max(age_s, self._policy.invalid_symbol_ttl_s + 1.0)
        newest = self.table.update(market, parsed.symbols, age_s)
        if newest:
            self._governor.set_limits(market, parsed.symbols.rate_limits)
        if parsed.held.as_of_ms >= self.held_as_of_ms(question):
            self._held[question] = parsed.held
            self._registry.memory.set_size((KIND, question), parsed.held.document.nbytes)
            self._registry.enforce_limit()
        return newest

    def _lacks(self, market: Market, held: _Held, selection: SymbolSelection) -> bool:
        """Return whether this document lacks one of the names, and a newer one has been read since."""
        newer = self.table.symbols(market).as_of_ms > held.as_of_ms
        return newer and not held.document.contains(selection.names)

    async def _read_again(self, question: SnapshotQuestion, least_ms: int, priority: Priority) -> _Held:
        read, _ = self._reads.join(question, least_ms, priority, ReadReason.SYMBOLS)
        await self._reads.wait(read, priority.deadline_s)
        held = read.result.held if read.result is not None else self._held.get(question)
        if held is None or held.as_of_ms < least_ms:  # its Age shows that there is nothing newer
            raise InvalidBody(BodyFault.NO_PROGRESS, question.endpoint.path)
        return held

    def _refresh_in_background(self, question: SnapshotQuestion, max_age_ms: int, lane: Lane) -> None:
        priority = Priority(lane, self._clock.now() + self._policy.deadline_s)
        least_ms = self._clocks.now(question.market).ms - max_age_ms
        with suppress(MdcacheError):  # the same read failed a moment ago; the current document stays in use
            read, shared = self._reads.join(question, least_ms, priority, ReadReason.SYMBOLS)
            if read.task is not None and not shared:
                read.task.add_done_callback(self._report)

    def _report(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, UpstreamFailed | Refusal):
            self._events.emit(BackgroundTaskFailed(BackgroundTask.SYMBOLS, f"{type(error).__name__}: {error}"))

    def _build_answer(
        self,
        question: SnapshotQuestion,
        held: _Held,
        selection: SymbolSelection,
        cache_status: CacheStatus,
        now: Instant,
    ) -> Answer:
        until_ms = held.as_of_ms + self._policy.ttl_ms
        stale = until_ms < now.ms
        return SnapshotAnswer(
            body=held.document.body(now.ms, selection),
            as_of_ms=min(held.as_of_ms, now.ms),
            lifetime_s=self._policy.ttl_ms / 1000,
            valid_until_ms=-1 if stale else min(until_ms, now.ms + _VALID_MS),
            cache_status=cache_status,
            collapsed=False,
            stale=stale,
            settled=False,
            immutable=False,
            newest_as_of_ms=partial(self.held_as_of_ms, question),
        )


async def _index(held: _Held | None, selection: SymbolSelection) -> None:
    """Build the index of the document that is held, if `selection` needs it."""
    if held is not None and not held.document.is_ready_for(selection):
        await compute(held.document.nbytes, held.document.build_index)
