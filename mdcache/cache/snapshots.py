"""The data path of every read that is no kline question: one answer for each question, fresh for its TTL.

    question -> held and fresh, or an element of a held list          the answer
             -> a fetch, joined or started, of it or of the list      kept, and answered

Where Binance can't be asked, or fails, an older body may stand in, marked, inside the caller's limits.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from mdcache.cache.answers import Answer, Caller, How
from mdcache.cache.bodies import Bodies
from mdcache.cache.copying import Copying, Single
from mdcache.cache.directory import Directory
from mdcache.cache.fetches import Fetch, Fetches
from mdcache.cache.library import Library
from mdcache.cache.prepare import prepared
from mdcache.cache.ttls import Ttls
from mdcache.candles.freshness import Wishes
from mdcache.clock import Clock, Instant
from mdcache.errors import AskFailed, BrokenBody, BudgetSpent, CannotAsk, NotCached
from mdcache.events import Events
from mdcache.exchange.endpoints import Kind
from mdcache.exchange.snapshots import Snapshot
from mdcache.upstream.clocksync import ExchangeClocks
from mdcache.upstream.governor import Governor, Turn

_MOST_LISTS = 256  # lists whose single questions are counted
_GONE_BY = 2  # of its TTLs: after so long without one, nobody wants a list's elements any more


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the path, in seconds."""

    deadline_s: float
    max_stale_s: float
    ttls: Ttls
    stalled_after_s: float


@dataclass(frozen=True, slots=True)
class _Found:
    """A body, its as-of in exchange time, and how long it is fresh from then."""

    body: bytes
    as_of_ms: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Newest(Answer):
    """An answer that stands only while nothing newer is held: no other way of asking its question tells a later one.

    `newest_ms`: the as-of of what is held now.
    """

    newest_ms: Callable[[], int]

    def stands(self, now: Instant) -> bool:
        """Whether it may be shown again as it is."""
        return now.late_ms <= self.stands_until_ms and self.newest_ms() <= self.as_of_ms


_FloorOf = Callable[[int], int]  # from a TTL to the least as-of, both in milliseconds


class Snapshots:
    """Answers what is no kline question."""

    def __init__(
        self,
        library: Library,
        directory: Directory,
        clocks: ExchangeClocks,
        governor: Governor,
        clock: Clock,
        events: Events,
        policy: Policy,
        copying: Copying | None = None,
    ) -> None:
        self._directory = directory
        self._clocks = clocks
        self._governor = governor
        self._clock = clock
        self._policy = policy
        self.bodies = Bodies(library, clock)
        self._fetches = Fetches(governor, clock, events, policy.stalled_after_s, self, copying or Single())
        self._singles: OrderedDict[Snapshot, dict[Snapshot, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._fetches)

    def ttl_s(self, snapshot: Snapshot) -> float:
        """How long its answer is fresh: as set for its path, or the more the dearer it is (DESIGN 3)."""
        allowed = self._governor.allowed(snapshot.market)
        return self._policy.ttls.of(snapshot.endpoint, snapshot.weight, allowed, self._governor.share)

    async def answer(self, snapshot: Snapshot, wishes: Wishes, caller: Caller) -> Answer:
        """The answer to `snapshot` as fresh as `wishes` say; raises what `errors.py` tells."""
        deadline_s = self._clock.now() + self._policy.deadline_s
        names = [
            (value, parameter.kind is Kind.PAIR)
            for parameter in snapshot.endpoint.parameters
            if parameter.listed and parameter.kind in {Kind.SYMBOL, Kind.PAIR, Kind.SYMBOLS}
            for value in _names(snapshot, parameter.name)
        ]
        await prepared(self._clocks, self._directory, snapshot.market, names, deadline_s - self._clock.now())
        if ahead_ms := wishes.ahead_ms(self._clocks.now(snapshot.market)):
            await self._clock.sleep(ahead_ms / 1000)
        now = self._clocks.now(snapshot.market)
        found = await self._known(snapshot, wishes, now)
        if found is not None:
            return self._shown(snapshot, found, How.HIT, now)
        if wishes.only_if_cached:
            raise NotCached
        older = await self._older(snapshot, wishes, now)
        refusal = self._governor.refusal_now(snapshot.market, caller.lane, snapshot.weight, paced=True)
        if older is not None and refusal is not None:
            return await self._stretched(snapshot, wishes, now, older)
        how = self._why(snapshot, wishes, older)
        try:
            fetch, shared = await self._fetch(snapshot, wishes, now, Turn(caller.lane, deadline_s, caller.name))
        except (CannotAsk, AskFailed):
            stand_in = await self._stand_in(snapshot, wishes)
            if stand_in is None:
                raise
            return stand_in
        arrived, now = now, self._clocks.now(snapshot.market)
        found = await self._known(snapshot, wishes, arrived) or self._brought(fetch, snapshot, wishes, arrived)
        if found is not None:
            known = fetch.spared and not fetch.waited  # only not here
            return self._shown(snapshot, found, How.HIT if known else how, now, collapsed=shared or fetch.waited)
        stand_in = await self._stand_in(snapshot, wishes)
        if stand_in is None:  # what came is older than it may be: by its Age there is nothing newer
            raise BrokenBody("no-progress", snapshot.endpoint.path)
        return stand_in

    async def aclose(self) -> None:
        """End what is under way."""
        await self._fetches.aclose()

    async def _stretched(self, snapshot: Snapshot, wishes: Wishes, arrived: Instant, older: _Found) -> Answer:
        """Where this lane can't be asked now, ages stretch before anybody waits (6.5.6); another replica may have."""
        if await self._fetches.look(snapshot):
            found = await self._known(snapshot, wishes, arrived)
            if found is not None:
                return self._shown(snapshot, found, How.HIT, arrived)
            older = await self._older(snapshot, wishes, arrived) or older
        return self._aged(snapshot, older, arrived)

    async def _known(self, snapshot: Snapshot, wishes: Wishes, arrived: Instant) -> _Found | None:
        """What is held and as fresh as it was to be when the question arrived."""
        return await self._held(snapshot, lambda ttl_ms: floor_ms(wishes, wishes.allowed_ms(ttl_ms), arrived))

    async def _older(self, snapshot: Snapshot, wishes: Wishes, now: Instant) -> _Found | None:
        """What is held and may be shown, marked, where Binance can't be asked."""
        most_ms = int(self._policy.max_stale_s * 1000)
        return await self._held(
            snapshot, lambda ttl_ms: floor_ms(wishes, wishes.stretched_ms(ttl_ms, max(most_ms, ttl_ms)), now)
        )

    async def _held(self, snapshot: Snapshot, least_ms: _FloorOf) -> _Found | None:
        """The newer of its own body and the list it is an element of, if as-of at least `least_ms(its TTL)`."""
        ttl_ms = int(self.ttl_s(snapshot) * 1000)
        own = self.bodies.held(snapshot)
        whole = snapshot.whole() if snapshot.named else None
        held = self.bodies.held(whole) if whole is not None else None
        if whole is not None and held is not None and (own is None or held.as_of_ms >= own.as_of_ms):
            part_ttl_ms = int(self.ttl_s(whole) * 1000) if held.for_parts else ttl_ms
            if held.as_of_ms >= least_ms(part_ttl_ms):
                as_of_ms = held.as_of_ms
                element = await self.bodies.element(whole, held, snapshot)
                if element is not None:
                    return _Found(element, as_of_ms, part_ttl_ms)
        if own is None or own.as_of_ms < least_ms(ttl_ms):
            return None
        as_of_ms = own.as_of_ms
        body = await self.bodies.body(snapshot)
        return None if body is None else _Found(body, as_of_ms, ttl_ms)

    def _brought(self, fetch: Fetch, snapshot: Snapshot, wishes: Wishes, arrived: Instant) -> _Found | None:
        """What its own fetch brought, where memory is too small to keep it for as long as that."""
        if fetch.snapshot != snapshot or fetch.brought is None:
            return None
        body, as_of_ms = fetch.brought
        ttl_ms = int(self.ttl_s(snapshot) * 1000)
        enough = as_of_ms >= floor_ms(wishes, wishes.allowed_ms(ttl_ms), arrived)
        return _Found(body, as_of_ms, ttl_ms) if enough else None

    async def _fetch(self, snapshot: Snapshot, wishes: Wishes, arrived: Instant, turn: Turn) -> tuple[Fetch, bool]:
        """Have it read, or the list it is an element of where that is cheaper; whether it was somebody else's."""
        whole = self._cheaper(snapshot)
        if whole is not None:
            try:
                fetch, shared = await self._land(whole, wishes, arrived, replace(turn), "list")
            except (BudgetSpent, BrokenBody):  # the list is too dear now, or no use; a single question may be
                pass
            else:
                if await self._known(snapshot, wishes, arrived) is not None:
                    return fetch, shared
        return await self._land(snapshot, wishes, arrived, turn, "snapshot")

    async def _land(
        self, snapshot: Snapshot, wishes: Wishes, arrived: Instant, turn: Turn, reason: str
    ) -> tuple[Fetch, bool]:
        least_ms = floor_ms(wishes, wishes.allowed_ms(int(self.ttl_s(snapshot) * 1000)), arrived)
        fetch, shared = self._fetches.join(snapshot, least_ms, turn, reason)
        fetch.for_parts = fetch.for_parts or reason == "list"
        await self._fetches.land(fetch, turn.drop_at_s)
        return fetch, shared

    def held_ms(self, snapshot: Snapshot) -> int:
        """As-of of its body here; -1 for none."""
        held = self.bodies.held(snapshot)
        return -1 if held is None else held.as_of_ms

    def life_s(self, snapshot: Snapshot) -> float:
        """How long it may be shown at all, marked where it is past its TTL."""
        return max(self.ttl_s(snapshot), self._policy.max_stale_s)

    async def keep(self, fetch: Fetch, body: bytes, as_of_ms: int) -> None:
        """Keep what it brought."""
        for_parts = fetch.for_parts or self._pays(fetch.snapshot, 0)
        await self.bodies.keep(fetch.snapshot, body, as_of_ms, for_parts=for_parts)

    def _pays(self, whole: Snapshot, from_ttls: int) -> bool:
        """Whether the list was read for its elements, as many were wanted as it costs, and it is so many TTLs old."""
        held = self.bodies.held(whole)
        if held is None or not held.for_parts or held.spared < whole.weight:
            return False
        age_ms, ttl_ms = self._clocks.now(whole.market).ms - held.as_of_ms, self.ttl_s(whole) * 1000
        return from_ttls * ttl_ms <= age_ms <= _GONE_BY * ttl_ms

    def _cheaper(self, snapshot: Snapshot) -> Snapshot | None:
        """The list, where it costs no more than the single questions of this TTL together, and has it."""
        whole = snapshot.whole() if snapshot.named else None
        held = self.bodies.held(whole) if whole is not None else None
        if whole is None or (held is not None and held.lacks(snapshot)):
            return None
        if self._pays(whole, 1):
            return whole
        now_s = self._clock.now()
        since_s = now_s - self.ttl_s(snapshot)
        asked = {each: at_s for each, at_s in self._singles.pop(whole, {}).items() if at_s > since_s}
        asked.pop(snapshot, None)
        asked[snapshot] = now_s
        while len(asked) > whole.weight:  # each weighs something: so many pay for the list
            del asked[next(iter(asked))]
        self._singles[whole] = asked
        if len(self._singles) > _MOST_LISTS:
            self._singles.popitem(last=False)
        return whole if sum(each.weight for each in asked) >= whole.weight else None

    async def _stand_in(self, snapshot: Snapshot, wishes: Wishes) -> Answer | None:
        """An older answer within the caller's limits, with the mark where it is past its TTL."""
        now = self._clocks.now(snapshot.market)
        older = await self._older(snapshot, wishes, now)
        return None if older is None else self._aged(snapshot, older, now)

    def _aged(self, snapshot: Snapshot, older: _Found, now: Instant) -> Answer:
        return self._shown(snapshot, older, How.HIT, now, marked=older.as_of_ms + older.ttl_ms < now.ms)

    def _why(self, snapshot: Snapshot, wishes: Wishes, older: _Found | None) -> How:
        if older is None and self.bodies.held(snapshot) is None:
            return How.MISS
        return How.REQUESTED if wishes.no_cache or wishes.min_as_of_ms is not None else How.REFRESHED

    def _shown(
        self,
        snapshot: Snapshot,
        found: _Found,
        how: How,
        now: Instant,
        *,
        collapsed: bool = False,
        marked: bool = False,
    ) -> Answer:
        until_ms = found.as_of_ms + found.ttl_ms
        whole = snapshot.whole() if snapshot.named else None
        return Newest(
            body=found.body,
            as_of_ms=min(found.as_of_ms, now.ms),
            lifetime_s=found.ttl_ms / 1000,
            stands_until_ms=-1 if marked else until_ms,
            how=how,
            collapsed=collapsed,
            marked=marked,
            settled=False,
            immutable=False,
            newest_ms=partial(self.bodies.newest_ms, snapshot, whole),
        )


def floor_ms(wishes: Wishes, allowed_ms: int, at: Instant) -> int:
    """Least as-of for an age of `allowed_ms` at that moment; a moment ahead of our clock can only mean now."""
    return min(at.ms, max(at.ms - allowed_ms, wishes.min_as_of_ms or 0))


def _names(snapshot: Snapshot, parameter: str) -> tuple[str, ...]:
    if parameter in {"symbol", "symbols"}:
        return snapshot.named if snapshot.value(parameter) else ()
    value = snapshot.value(parameter)
    return (value,) if value else ()
