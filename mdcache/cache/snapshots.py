"""The data path of every read that is no kline question: one answer for each question, fresh for its TTL.

    question -> held and fresh, or an element of a held list          the answer
             -> a fetch, joined or started, of it or of the list      kept, and answered

Where Binance can't be asked, or fails, an older body may stand in, marked, inside the caller's limits.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from mdcache.cache.answers import Answer, CacheStatus, Caller
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
from mdcache.upstream.governor import Governor, Priority

_MAX_LISTS = 256  # lists whose single questions are counted
_LIST_UNUSED_AFTER_TTLS = 2  # of its TTLs: after so long without one, nobody wants a list's elements any more


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """Settings of the path, in seconds."""

    deadline_s: float
    max_stale_s: float
    ttls: SnapshotTtls
    stalled_after_s: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A body, its as-of in exchange time, and how long it is fresh from then."""

    body: bytes
    as_of_ms: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class SnapshotAnswer(Answer):
    """An answer that stands only while nothing newer is held: no other way of asking its question tells a later one.

    `newest_ms`: the as-of of what is held now.
    """

    newest_as_of_ms: Callable[[], int]

    def is_valid(self, now: Instant) -> bool:
        """Whether it may be shown again as it is."""
        return now.late_ms <= self.valid_until_ms and self.newest_as_of_ms() <= self.as_of_ms


_FloorOf = Callable[[int], int]  # from a TTL to the least as-of, both in milliseconds


class Snapshots:
    """Answers what is no kline question."""

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
        self._policy = policy
        self.bodies = SnapshotBodies(registry, clock)
        self._reads: SnapshotReads[SnapshotBody] = SnapshotReads(
            BackgroundTask.SNAPSHOT_READ, governor, clock, events, policy.stalled_after_s, self, body_sharing
        )
        self._single_questions: OrderedDict[SnapshotQuestion, dict[SnapshotQuestion, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._reads)

    def ttl_s(self, snapshot: SnapshotQuestion) -> float:
        """How long its answer is fresh: as set for its path, or the more the dearer it is (docs/design.md#settings)."""
        allowed = self._governor.allowed(snapshot.market)
        return self._policy.ttls.ttl_s(snapshot.endpoint, snapshot.weight, allowed, self._governor.share)

    async def answer(self, snapshot: SnapshotQuestion, directives: FreshnessDirectives, caller: Caller) -> Answer:
        """The answer to `snapshot` as fresh as `wishes` say; raises what `errors.py` tells."""
        deadline_s = self._clock.now() + self._policy.deadline_s
        names = [
            (value, parameter.kind is ParameterKind.PAIR)
            for parameter in snapshot.endpoint.parameters
            if parameter.listed and parameter.kind in {ParameterKind.SYMBOL, ParameterKind.PAIR, ParameterKind.SYMBOLS}
            for value in _names_in(snapshot, parameter.name)
        ]
        await check_preconditions(self._clocks, self._symbols, snapshot.market, names, deadline_s - self._clock.now())
        if ahead_ms := directives.wait_ms(self._clocks.now(snapshot.market)):
            await self._clock.sleep(ahead_ms / 1000)
        now = self._clocks.now(snapshot.market)
        found = await self._fresh(snapshot, directives, now)
        if found is not None:
            return self._build_answer(snapshot, found, CacheStatus.HIT, now)
        if directives.only_if_cached:
            raise NotCached
        older = await self._stale(snapshot, directives, now)
        refusal = self._governor.refusal_now(snapshot.market, caller.lane, snapshot.weight, paced=True)
        if older is not None and refusal is not None:
            return await self._answer_stale(snapshot, directives, now, older)
        how = self._how(snapshot, directives, older)
        try:
            fetch, shared = await self._fetch(snapshot, directives, now, Priority(caller.lane, deadline_s, caller.name))
        except (UpstreamUnavailable, UpstreamFailed):
            stand_in = await self._stale_answer(snapshot, directives)
            if stand_in is None:
                raise
            return stand_in
        arrived, now = now, self._clocks.now(snapshot.market)
        found = await self._fresh(snapshot, directives, arrived) or self._from_read(
            fetch, snapshot, directives, arrived
        )
        if found is not None:
            known = fetch.satisfied_by_peers and not fetch.waited_for_peer  # only not here
            return self._build_answer(
                snapshot, found, CacheStatus.HIT if known else how, now, collapsed=shared or fetch.waited_for_peer
            )
        stand_in = await self._stale_answer(snapshot, directives)
        if stand_in is None:  # what came is older than it may be: by its Age there is nothing newer
            raise InvalidBody(BodyFault.NO_PROGRESS, snapshot.endpoint.path)
        return stand_in

    async def aclose(self) -> None:
        """End what is under way."""
        await self._reads.aclose()

    async def _answer_stale(
        self, snapshot: SnapshotQuestion, directives: FreshnessDirectives, arrived: Instant, older: _Candidate
    ) -> Answer:
        """Where this lane can't be asked now, ages stretch before anybody waits; another replica may have.

        Rule: docs/design.md#cannot-ask.
        """
        if await self._reads.pull(snapshot):
            found = await self._fresh(snapshot, directives, arrived)
            if found is not None:
                return self._build_answer(snapshot, found, CacheStatus.HIT, arrived)
            older = await self._stale(snapshot, directives, arrived) or older
        return self._build_stale(snapshot, older, arrived)

    async def _fresh(
        self, snapshot: SnapshotQuestion, directives: FreshnessDirectives, arrived: Instant
    ) -> _Candidate | None:
        """What is held and as fresh as it was to be when the question arrived."""
        return await self._find(
            snapshot, lambda ttl_ms: min_as_of_ms(directives, directives.max_fresh_age_ms(ttl_ms), arrived)
        )

    async def _stale(
        self, snapshot: SnapshotQuestion, directives: FreshnessDirectives, now: Instant
    ) -> _Candidate | None:
        """What is held and may be shown, marked, where Binance can't be asked."""
        most_ms = int(self._policy.max_stale_s * 1000)
        return await self._find(
            snapshot,
            lambda ttl_ms: min_as_of_ms(directives, directives.max_stale_age_ms(ttl_ms, max(most_ms, ttl_ms)), now),
        )

    async def _find(self, snapshot: SnapshotQuestion, min_as_of_ms: _FloorOf) -> _Candidate | None:
        """The newer of its own body and the list it is an element of, if as-of at least `least_ms(its TTL)`."""
        ttl_ms = int(self.ttl_s(snapshot) * 1000)
        own = self.bodies.held(snapshot)
        whole = snapshot.list_question() if snapshot.symbols else None
        held = self.bodies.held(whole) if whole is not None else None
        if whole is not None and held is not None and (own is None or held.as_of_ms >= own.as_of_ms):
            part_ttl_ms = int(self.ttl_s(whole) * 1000) if held.for_elements else ttl_ms
            if held.as_of_ms >= min_as_of_ms(part_ttl_ms):
                as_of_ms = held.as_of_ms
                element = await self.bodies.element(whole, held, snapshot)
                if element is not None:
                    return _Candidate(element, as_of_ms, part_ttl_ms)
        if own is None or own.as_of_ms < min_as_of_ms(ttl_ms):
            return None
        as_of_ms = own.as_of_ms
        body = await self.bodies.body(snapshot)
        return None if body is None else _Candidate(body, as_of_ms, ttl_ms)

    def _from_read(
        self,
        fetch: SnapshotRead[SnapshotBody],
        snapshot: SnapshotQuestion,
        directives: FreshnessDirectives,
        arrived: Instant,
    ) -> _Candidate | None:
        """What its own fetch brought, where memory is too small to keep it for as long as that."""
        if fetch.question != snapshot or fetch.result is None:
            return None
        found, ttl_ms = fetch.result, int(self.ttl_s(snapshot) * 1000)
        enough = found.as_of_ms >= min_as_of_ms(directives, directives.max_fresh_age_ms(ttl_ms), arrived)
        return _Candidate(found.body, found.as_of_ms, ttl_ms) if enough else None

    async def _fetch(
        self, snapshot: SnapshotQuestion, directives: FreshnessDirectives, arrived: Instant, priority: Priority
    ) -> tuple[SnapshotRead[SnapshotBody], bool]:
        """Have it read, or the list it is an element of where that is cheaper; whether it was somebody else's."""
        whole = self._cheaper_list(snapshot)
        if whole is not None:
            try:
                fetch, shared = await self._wait_for(
                    whole, directives, arrived, replace(priority), ReadReason.FULL_LIST
                )
            except (BudgetSpent, InvalidBody):  # the list is too dear now, or no use; a single question may be
                pass
            else:
                if await self._fresh(snapshot, directives, arrived) is not None:
                    return fetch, shared
        return await self._wait_for(snapshot, directives, arrived, priority, ReadReason.SNAPSHOT)

    async def _wait_for(
        self,
        snapshot: SnapshotQuestion,
        directives: FreshnessDirectives,
        arrived: Instant,
        priority: Priority,
        reason: ReadReason,
    ) -> tuple[SnapshotRead[SnapshotBody], bool]:
        least_ms = min_as_of_ms(directives, directives.max_fresh_age_ms(int(self.ttl_s(snapshot) * 1000)), arrived)
        fetch, shared = self._reads.join(snapshot, least_ms, priority, reason)
        fetch.for_elements = fetch.for_elements or reason is ReadReason.FULL_LIST
        if shared:
            self._events.emit(RequestCollapsed(snapshot.market))
        await self._reads.wait(fetch, priority.deadline_s)
        return fetch, shared

    def held_as_of_ms(self, snapshot: SnapshotQuestion) -> int:
        """As-of of its body here; -1 for none."""
        held = self.bodies.held(snapshot)
        return -1 if held is None else held.as_of_ms

    def max_age_s(self, snapshot: SnapshotQuestion) -> float:
        """How long it may be shown at all, marked where it is past its TTL."""
        return max(self.ttl_s(snapshot), self._policy.max_stale_s)

    def parse(self, snapshot: SnapshotQuestion, body: bytes, as_of_ms: int) -> SnapshotBody:
        """Check that it answers `snapshot`; raise `InvalidBody` if it does not."""
        check_body(snapshot, body)
        return SnapshotBody(body, as_of_ms)

    async def keep(self, read: SnapshotRead[SnapshotBody], result: SnapshotBody) -> None:
        """Keep what `read` brought."""
        for_elements = read.for_elements or self._list_pays(read.question, 0)
        await self.bodies.keep(read.question, result.body, result.as_of_ms, for_elements=for_elements)

    def _list_pays(self, whole: SnapshotQuestion, min_age_ttls: int) -> bool:
        """Whether the list was read for its elements, as many were wanted as it costs, and it is so many TTLs old."""
        held = self.bodies.held(whole)
        if held is None or not held.for_elements or held.saved_weight < whole.weight:
            return False
        age_ms, ttl_ms = self._clocks.now(whole.market).ms - held.as_of_ms, self.ttl_s(whole) * 1000
        return min_age_ttls * ttl_ms <= age_ms <= _LIST_UNUSED_AFTER_TTLS * ttl_ms

    def _cheaper_list(self, snapshot: SnapshotQuestion) -> SnapshotQuestion | None:
        """The list, where it costs no more than the single questions of this TTL together, and has it."""
        whole = snapshot.list_question() if snapshot.symbols else None
        held = self.bodies.held(whole) if whole is not None else None
        if whole is None or (held is not None and held.lacks(snapshot)):
            return None
        if self._list_pays(whole, 1):
            return whole
        now_s = self._clock.now()
        since_s = now_s - self.ttl_s(snapshot)
        asked = {each: at_s for each, at_s in self._single_questions.pop(whole, {}).items() if at_s > since_s}
        asked.pop(snapshot, None)
        asked[snapshot] = now_s
        while len(asked) > whole.weight:  # each weighs something: so many pay for the list
            del asked[next(iter(asked))]
        self._single_questions[whole] = asked
        if len(self._single_questions) > _MAX_LISTS:
            self._single_questions.popitem(last=False)
        return whole if sum(each.weight for each in asked) >= whole.weight else None

    async def _stale_answer(self, snapshot: SnapshotQuestion, directives: FreshnessDirectives) -> Answer | None:
        """An older answer within the caller's limits, with the mark where it is past its TTL."""
        now = self._clocks.now(snapshot.market)
        older = await self._stale(snapshot, directives, now)
        return None if older is None else self._build_stale(snapshot, older, now)

    def _build_stale(self, snapshot: SnapshotQuestion, older: _Candidate, now: Instant) -> Answer:
        return self._build_answer(snapshot, older, CacheStatus.HIT, now, stale=older.as_of_ms + older.ttl_ms < now.ms)

    def _how(
        self, snapshot: SnapshotQuestion, directives: FreshnessDirectives, older: _Candidate | None
    ) -> CacheStatus:
        if older is None and self.bodies.held(snapshot) is None:
            return CacheStatus.MISS
        return (
            CacheStatus.REQUESTED
            if directives.no_cache or directives.min_as_of_ms is not None
            else CacheStatus.REFRESHED
        )

    def _build_answer(
        self,
        snapshot: SnapshotQuestion,
        found: _Candidate,
        cache_status: CacheStatus,
        now: Instant,
        *,
        collapsed: bool = False,
        stale: bool = False,
    ) -> Answer:
        until_ms = found.as_of_ms + found.ttl_ms
        whole = snapshot.list_question() if snapshot.symbols else None
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
            newest_as_of_ms=partial(self.bodies.newest_as_of_ms, snapshot, whole),
        )


def min_as_of_ms(directives: FreshnessDirectives, max_age_ms: int, at: Instant) -> int:
    """Least as-of for an age of `allowed_ms` at that moment; a moment ahead of our clock can only mean now."""
    return min(at.ms, max(at.ms - max_age_ms, directives.min_as_of_ms or 0))


def _names_in(snapshot: SnapshotQuestion, parameter: str) -> tuple[str, ...]:
    if parameter in {"symbol", "symbols"}:
        return snapshot.symbols if snapshot.value(parameter) else ()
    value = snapshot.value(parameter)
    return (value,) if value else ()
