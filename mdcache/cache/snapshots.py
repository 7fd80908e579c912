"""The data path of every question that is not about klines: one answer for each question, fresh for its TTL.

    question -> held and fresh, or an element of a held list         the answer
             -> a read, joined or started, of it or of the list      kept, and answered

Where Binance can't be asked, or fails, an older body may be served as stale, inside the caller's limits.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from mdcache.cache.answers import Answer, CacheStatus, Caller
from mdcache.cache.book_starts import BookStarts
from mdcache.cache.list_choice import ListChoice
from mdcache.cache.preconditions import SymbolChecks, check_preconditions
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.sharing import BodySharing
from mdcache.cache.snapshot_bodies import SnapshotBodies
from mdcache.cache.snapshot_reads import SnapshotRead, SnapshotReads
from mdcache.cache.ttls import SnapshotTtls
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Clock, Instant
from mdcache.errors import BodyFault, BudgetSpent, InvalidBody, NotCached, UpstreamFailed, UpstreamUnavailable
from mdcache.events import BackgroundTask, Events, ReadReason, RequestCollapsed
from mdcache.exchange.endpoints import ParameterKind
from mdcache.exchange.snapshot_checks import check_body
from mdcache.exchange.snapshots import SnapshotBody, SnapshotQuestion
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.governor import Governor
from mdcache.upstream.priority import Priority


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """Settings of the data path, in seconds, and how new a book must be that is followed by events."""

    deadline_s: float
    max_stale_s: float
    ttls: SnapshotTtls
    stalled_after_s: float
    book_starts: BookStarts


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A body that may be served: its as-of in exchange time, and how long it is fresh from then."""

    body: bytes
    as_of_ms: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class SnapshotAnswer(Answer):
    """Valid only while no newer body answers the same question: its own, or the list that contains it.

    `newest_as_of_ms`: returns the as-of of the newest that is held, or the least that listeners can use.
    """

    newest_as_of_ms: Callable[[], int]

    def is_valid(self, now: Instant) -> bool:
        """Return whether it may still be served unchanged."""
        return now.late_ms <= self.valid_until_ms and self.newest_as_of_ms() <= self.as_of_ms


@dataclass(frozen=True, slots=True)
class _Request:
    """A question, the list that would contain its answer, and how fresh it must be."""

    snapshot: SnapshotQuestion
    listing: SnapshotQuestion | None
    directives: FreshnessDirectives

    def fresh_from_ms(self, ttl_ms: int, at: Instant) -> int:
        """Return the least as-of of an answer with this TTL that is fresh at that time."""
        return min_as_of_ms(self.directives, self.directives.max_fresh_age_ms(ttl_ms), at)


_FromMs = Callable[[int], int]  # from a TTL to the least as-of, both in milliseconds


class Snapshots:
    """Answers every question that is not about klines or `exchangeInfo`. `policy` may be replaced at any time."""

    max_body_bytes = 16 << 20  # the longest list, spot's ticker/24hr, takes 2 MB

    def __init__(
        self,
        registry: SeriesRegistry,
        symbols: SymbolChecks,
        clocks: ExchangeClocks,
        governor: Governor,
        clock: Clock,
        events: Events,
        policy: SnapshotPolicy,
        body_sharing: BodySharing | None = None,
    ) -> None:
        self._symbols = symbols
        self._clocks = clocks
        self._governor = governor
        self._clock = clock
        self._events = events
        self.policy = policy
        self.bodies = SnapshotBodies(registry, clock)
        self._reads: SnapshotReads[SnapshotBody] = SnapshotReads(
            BackgroundTask.SNAPSHOT_READ, governor, clock, events, policy.stalled_after_s, self, body_sharing
        )
        self._list_choice = ListChoice(self.bodies, clocks, clock, self.ttl_s)

    def __len__(self) -> int:
        return len(self._reads)

    def ttl_s(self, snapshot: SnapshotQuestion) -> float:
        """Return how long an answer is fresh, in seconds: as set for its path, or by its weight."""
        allowed = self._governor.allowed(snapshot.market)
        return self.policy.ttls.ttl_s(snapshot.endpoint, snapshot.weight, allowed, self._governor.share)

    async def answer(self, snapshot: SnapshotQuestion, directives: FreshnessDirectives, caller: Caller) -> Answer:
        """Answer a question.

        Args:
            snapshot: What is asked.
            directives: How fresh the answer must be, and how stale it may be where Binance can't be asked.
            caller: On whose behalf it is read.

        Returns:
            The body as Binance sent it, or cut out of a list that Binance sent.

        Raises:
            Refusal: Binance refuses this question, or would.
            NotCached: The caller wants no read, and nothing is fresh enough.
            UpstreamUnavailable: Binance can't be asked now, or not in time.
            UpstreamFailed: Binance was asked, and no usable reply came.
        """
        deadline_s = self._clock.now() + self.policy.deadline_s
        names = [
            (value, parameter.kind is ParameterKind.PAIR)
            for parameter in snapshot.endpoint.parameters
            if parameter.listed and parameter.kind in {ParameterKind.SYMBOL, ParameterKind.PAIR, ParameterKind.SYMBOLS}
            for value in _names_in(snapshot, parameter.name)
        ]
        await check_preconditions(self._clocks, self._symbols, snapshot.market, names, deadline_s - self._clock.now())
        if wait_ms := directives.wait_ms(self._clocks.now(snapshot.market)):
            await self._clock.sleep(wait_ms / 1000)
        directives = await self.policy.book_starts.applied(snapshot, directives)
        now = self._clocks.now(snapshot.market)
        request = _Request(snapshot, snapshot.list_question() if snapshot.symbols else None, directives)
        found = await self._fresh(request, now)
        if found is not None:
            return self._build_answer(request, found, CacheStatus.HIT, now)
        if directives.only_if_cached:
            raise NotCached
        stale = await self._stale(request, now)
        refusal = self._governor.refusal_now(snapshot.market, caller.lane, snapshot.weight, paced=True)
        if stale is not None and refusal is not None:
            return await self._answer_stale(request, now, stale)
        cache_status = self._cache_status(request, stale)
        try:
            read, shared = await self._read(request, now, caller.priority(deadline_s))
        except (UpstreamUnavailable, UpstreamFailed):
            stale_answer = await self._stale_answer(request)
            if stale_answer is None:
                raise
            return stale_answer
        arrived, now = now, self._clocks.now(snapshot.market)
        found = await self._fresh(request, arrived) or self._from_read(request, read, arrived)
        if found is not None:
            if read.satisfied_by_peers and not read.waited_for_peer:  # another replica had it
                cache_status = CacheStatus.HIT
            collapsed = shared or read.waited_for_peer
            return self._build_answer(request, found, cache_status, now, collapsed=collapsed)
        stale_answer = await self._stale_answer(request)
        if stale_answer is None:  # the reply is too old: its Age shows that there is nothing newer
            raise InvalidBody(BodyFault.NO_PROGRESS, snapshot.endpoint.path)
        return stale_answer

    async def aclose(self) -> None:
        """Cancel the reads in progress."""
        await self._reads.aclose()

    async def _answer_stale(self, request: _Request, arrived: Instant, stale: _Candidate) -> Answer:
        """Answer although this lane can't ask now, with an older body unless another replica has a fresh one.

        Rule: docs/design.md#cannot-ask.
        """
        if await self._reads.pull(request.snapshot):
            found = await self._fresh(request, arrived)
            if found is not None:
                return self._build_answer(request, found, CacheStatus.HIT, arrived)
            stale = await self._stale(request, arrived) or stale
        return self._build_stale(request, stale, arrived)

    async def _fresh(self, request: _Request, arrived: Instant) -> _Candidate | None:
        """Return what is held, if it is as fresh as was asked for when the question arrived."""
        return await self._find(request, lambda ttl_ms: request.fresh_from_ms(ttl_ms, arrived))

    async def _stale(self, request: _Request, now: Instant) -> _Candidate | None:
        """Return what is held, if it may be served where Binance can't be asked."""
        max_stale_ms = int(self.policy.max_stale_s * 1000)

        def from_ms(ttl_ms: int) -> int:
            max_age_ms = request.directives.max_stale_age_ms(ttl_ms, max(max_stale_ms, ttl_ms))
            return min_as_of_ms(request.directives, max_age_ms, now)

        return await self._find(request, from_ms)

    async def _find(self, request: _Request, from_ms: _FromMs) -> _Candidate | None:
        """Return the newer of its own body and its element of the list, if it is new enough for its TTL."""
        snapshot, listing = request.snapshot, request.listing
        ttl_ms = int(self.ttl_s(snapshot) * 1000)
        own = self.bodies.held(snapshot)
        held = self.bodies.held(listing) if listing is not None else None
        if listing is not None and held is not None and (own is None or held.as_of_ms >= own.as_of_ms):
            element_ttl_ms = int(self.ttl_s(listing) * 1000) if held.for_elements else ttl_ms
            if held.as_of_ms >= from_ms(element_ttl_ms):
                as_of_ms = held.as_of_ms
                element = await self.bodies.element(listing, held, snapshot)
                if element is not None:
                    return _Candidate(element, as_of_ms, element_ttl_ms)
        if own is None or own.as_of_ms < from_ms(ttl_ms):
            return None
        as_of_ms = own.as_of_ms
        body = await self.bodies.body(snapshot)
        return None if body is None else _Candidate(body, as_of_ms, ttl_ms)

    def _from_read(self, request: _Request, read: SnapshotRead[SnapshotBody], arrived: Instant) -> _Candidate | None:
        """Return the read's own result, because memory may be too small to have kept it."""
        if read.question != request.snapshot or read.result is None:
            return None
        found, ttl_ms = read.result, int(self.ttl_s(request.snapshot) * 1000)
        enough = found.as_of_ms >= request.fresh_from_ms(ttl_ms, arrived)
        return _Candidate(found.body, found.as_of_ms, ttl_ms) if enough else None

    async def _read(
        self, request: _Request, arrived: Instant, priority: Priority
    ) -> tuple[SnapshotRead[SnapshotBody], bool]:
        """Read it, or the list that contains it if that is cheaper; return the read, and whether it was joined."""
        listing = self._list_choice.cheaper_list(request.snapshot, request.listing)
        if listing is not None:
            try:
                of_list = replace(request, snapshot=listing)
                read, shared = await self._join(of_list, arrived, replace(priority), ReadReason.FULL_LIST)
            except (BudgetSpent, InvalidBody):  # the list weighs too much or is invalid; a single question may not be
                pass
            else:
                if await self._fresh(request, arrived) is not None:
                    return read, shared
        return await self._join(request, arrived, priority, ReadReason.SNAPSHOT)

    async def _join(
        self, request: _Request, arrived: Instant, priority: Priority, reason: ReadReason
    ) -> tuple[SnapshotRead[SnapshotBody], bool]:
        snapshot = request.snapshot
        least_ms = request.fresh_from_ms(int(self.ttl_s(snapshot) * 1000), arrived)
        read, shared = self._reads.join(snapshot, least_ms, priority, reason)
        read.for_elements = read.for_elements or reason is ReadReason.FULL_LIST
        if shared:
            self._events.emit(RequestCollapsed(snapshot.market))
        await self._reads.wait(read, priority.deadline_s)
        return read, shared

    # ------------------------------------------------------------------------------------ as a consumer of bodies

    def held_as_of_ms(self, snapshot: SnapshotQuestion) -> int:
        """Return the as-of of its body here; -1 for none."""
        held = self.bodies.held(snapshot)
        return -1 if held is None else held.as_of_ms

    def max_age_s(self, snapshot: SnapshotQuestion) -> float:
        """Return how long it may be served at all, stale past its TTL."""
        return max(self.ttl_s(snapshot), self.policy.max_stale_s)

    def parse(self, snapshot: SnapshotQuestion, body: SnapshotBody) -> SnapshotBody:
        """Check that it answers `snapshot`; raise `InvalidBody` if it does not."""
        check_body(snapshot, body.body)
        return body

    async def keep(self, read: SnapshotRead[SnapshotBody], result: SnapshotBody) -> None:
        """Keep the result of `read`."""
        for_elements = read.for_elements or self._list_choice.pays(read.question, 0)
        await self.bodies.keep(read.question, result.body, result.as_of_ms, for_elements=for_elements)

    # ------------------------------------------------------------------------------------ answers

    async def _stale_answer(self, request: _Request) -> Answer | None:
        """Answer with an older body within the caller's limits, stale if it is past its TTL."""
        now = self._clocks.now(request.snapshot.market)
        stale = await self._stale(request, now)
        return None if stale is None else self._build_stale(request, stale, now)

    def _build_stale(self, request: _Request, found: _Candidate, now: Instant) -> Answer:
        return self._build_answer(request, found, CacheStatus.HIT, now, stale=found.as_of_ms + found.ttl_ms < now.ms)

    def _cache_status(self, request: _Request, stale: _Candidate | None) -> CacheStatus:
        """Return why it is read."""
        if stale is None and self.bodies.held(request.snapshot) is None:
            return CacheStatus.MISS
        requested = request.directives.no_cache or request.directives.min_as_of_ms is not None
        return CacheStatus.REQUESTED if requested else CacheStatus.REFRESHED

    def _build_answer(
        self,
        request: _Request,
        found: _Candidate,
        cache_status: CacheStatus,
        now: Instant,
        *,
        collapsed: bool = False,
        stale: bool = False,
    ) -> Answer:
        until_ms = found.as_of_ms + found.ttl_ms
        return SnapshotAnswer(
            body=found.body,
            as_of_ms=min(found.as_of_ms, now.ms),
            lifetime_s=found.ttl_ms / 1000,
            valid_until_ms=-1 if stale else until_ms,
            cache_status=cache_status,
            collapsed=collapsed,
            stale=stale,
            settled=False,
            immutable=False,
            newest_as_of_ms=partial(self._newest_as_of_ms, request.snapshot, request.listing),
        )

    def _newest_as_of_ms(self, snapshot: SnapshotQuestion, listing: SnapshotQuestion | None) -> int:
        """Return the as-of of the newest that answers a question, held or still to be read for a book's listeners."""
        return max(self.bodies.newest_as_of_ms(snapshot, listing), self.policy.book_starts.least_ms(snapshot))


def min_as_of_ms(directives: FreshnessDirectives, max_age_ms: int, at: Instant) -> int:
    """Return the least as-of for this age at that time; a time ahead of our clock can only mean now."""
    return min(at.ms, max(at.ms - max_age_ms, directives.min_as_of_ms or 0))


def _names_in(snapshot: SnapshotQuestion, parameter: str) -> tuple[str, ...]:
    if parameter in {"symbol", "symbols"}:
        return snapshot.symbols if snapshot.value(parameter) else ()
    value = snapshot.value(parameter)
    return (value,) if value else ()
