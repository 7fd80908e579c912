"""The data path of a kline question, in one sitting.

    question -> prepare: clock and symbol known?
    plan -> Serve                                         the answer
         -> Load -> blocks come back from where they rest and plan again
         -> Read -> flight (joined or started) -> merge   and plan again; each round knows more

Where Binance can't be asked, or fails, an older tail may stand in, marked, inside the caller's limits.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mdcache.cache.answers import Answer, CacheStatus, Caller
from mdcache.cache.flights import Flight, Flights
from mdcache.cache.preconditions import check_preconditions
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.symbols import SymbolTable
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.freshness import FreshnessDirectives, TailFloor, fresh_floor, stale_floor, tail_ttl_ms
from mdcache.candles.plan import LoadBlocks, ReadWindows, Serve, plan
from mdcache.candles.series import Series
from mdcache.candles.window import Window, WindowKind
from mdcache.clock import Clock, Instant
from mdcache.errors import (
    DeadlinePassed,
    GateClosed,
    InvalidBody,
    MdcacheError,
    NotCached,
    UpstreamFailed,
    UpstreamUnavailable,
)
from mdcache.exchange.klines import KlineQuestion
from mdcache.exchange.weights import page_limit
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.governor import Governor, Lane, Priority

_MAX_ROUNDS = 8  # reads that one question may lead to, one after the other
_MAX_CLOSE_WAIT_MS = 1_000  # a clock that is further off is no reason to wait
_MAX_CLOCK_ERRORS = 4  # by so many the next candle has grown when a read sent by the early edge is held to the late one
_DAY_MS = 86_400_000
_SETTLED_LIFETIME_S = 3_600  # lifetime told for settled rows: they are final, but a revision may come
_IMMUTABLE_LIFETIME_S = 31_536_000


@dataclass(frozen=True, slots=True)
class KlineAnswer(Answer):
    """Rows of a series. `versions`: of the series when it was built; it stands while they do."""

    rows: int
    series: Series
    versions: tuple[int, int]

    def is_valid(self, now: Instant) -> bool:
        """Whether it may be shown again as it is."""
        versions = (self.series.settled_version, 0 if self.settled else self.series.tail_version)
        return now.late_ms <= self.valid_until_ms and versions == self.versions


@dataclass(frozen=True, slots=True)
class CandleLimits:
    """Settings the data path works by, in seconds."""

    deadline_s: float
    max_stale_s: float
    open_ttls_s: dict[str, float]


@dataclass(slots=True)
class _Request:
    """What one question has been through so far."""

    question: KlineQuestion
    directives: FreshnessDirectives
    caller: Caller
    series: Series
    open_ttl_ms: int
    trading: bool
    floor: TailFloor
    deadline_s: float
    cache_status: CacheStatus = CacheStatus.HIT
    collapsed: bool = True
    gate_closed: GateClosed | None = None

    def ttl_ms(self, now: Instant) -> int:
        """How long the tail that is there now is fresh."""
        return tail_ttl_ms(self.series.tail, self.open_ttl_ms, now, trading=self.trading)


class Candles:
    """Answers kline questions from what is known, and has the rest read."""

    def __init__(
        self,
        registry: SeriesRegistry,
        flights: Flights,
        symbols: SymbolTable,
        clocks: ExchangeClocks,
        governor: Governor,
        clock: Clock,
        limits: CandleLimits,
    ) -> None:
        self._registry = registry
        self._flights = flights
        self._symbols = symbols
        self._clocks = clocks
        self._governor = governor
        self._clock = clock
        self._limits = limits

    async def answer(self, question: KlineQuestion, directives: FreshnessDirectives, caller: Caller) -> KlineAnswer:
        """The answer to `question` as fresh as `wishes` say; raises what `errors.py` tells."""
        deadline_s = self._clock.now() + self._limits.deadline_s
        key = question.key
        barred = await check_preconditions(
            self._clocks,
            self._symbols,
            key.market,
            [(key.subject, key.by_pair)],
            deadline_s - self._clock.now(),
        )
        question.check_span()
        if ahead_ms := directives.wait_ms(self._clocks.now(key.market)):
            await self._clock.sleep(ahead_ms / 1000)
        pin = self._registry.pin(question.key)
        try:
            series = self._registry.get_or_create(question)
            if not series.outline_loaded:
                await self._wait_for_store(self._registry.persistence.load_outline(series), deadline_s)
            trip = self._begin(question, series, directives, caller, deadline_s)
            trip.gate_closed = barred
            return await self._run(trip)
        finally:
            self._registry.unpin(pin)

    async def _run(self, request: _Request) -> KlineAnswer:
        try:
            served, now = await self._serve(request)
        except (UpstreamUnavailable, UpstreamFailed):
            older = await self._answer_stale(request)
            if older is None:
                raise
            return older
        return self._finish(request, served, now, stale=False)

    def _begin(
        self,
        question: KlineQuestion,
        series: Series,
        directives: FreshnessDirectives,
        caller: Caller,
        deadline_s: float,
    ) -> _Request:
        now = self._clocks.now(question.key.market)
        trading = self._symbols.symbols(question.key.market).trades(question.key.subject, by_pair=question.key.by_pair)
        open_ttl_ms = int(self._limits.open_ttls_s[question.key.interval] * 1000)
        floor = fresh_floor(directives, tail_ttl_ms(series.tail, open_ttl_ms, now, trading=trading), now)
        floor = TailFloor(min(floor.as_of_ms, now.ms))  # a moment ahead of our clock can only mean now
        return _Request(question, directives, caller, series, open_ttl_ms, trading, floor, deadline_s)

    async def _serve(self, request: _Request) -> tuple[Serve, Instant]:
        for _ in range(_MAX_ROUNDS):
            step, now = await self._plan(request, lambda _: request.floor)
            if isinstance(step, Serve):
                if request.gate_closed is not None and not _independent_of_now(request.question, step, now):
                    raise request.gate_closed
                return step, now
            if request.directives.only_if_cached:
                raise NotCached
            if request.gate_closed is not None:
                raise request.gate_closed
            before = request.series.tail
            asked = await self._read_missing(request, step, now)
            tail = request.series.tail if asked and step.refresh else None
            if tail is not None and tail is not before and tail.as_of_ms < request.floor.as_of_ms:
                break  # sent after the question came, and older all the same: by its Age there is nothing newer
        raise InvalidBody("no-progress", str(request.series.key))

    async def _plan(
        self, request: _Request, floor_at: Callable[[Instant], TailFloor]
    ) -> tuple[Serve | ReadWindows, Instant]:
        """Plan as of the tail where it will be shown: coinm's windows hang on that moment."""
        while True:
            now = self._clocks.now(request.question.key.market)
            tail, floor = request.series.tail, floor_at(now)
            as_of_ms = tail.as_of_ms if tail is not None and floor.admits(tail, now) else now.ms
            step = plan(request.series, request.question.row_query(as_of_ms), floor, now)
            if not isinstance(step, LoadBlocks):
                return step, now
            load = self._registry.persistence.load_blocks(request.series, step.indexes)  # each time, less of it rests
            await self._wait_for_store(load, request.deadline_s)

    async def _wait_for_store(self, work: Awaitable[None], deadline_s: float) -> None:
        """Wait for a store; at most until the deadline."""
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock.now())):
                await work
        except TimeoutError as error:
            raise DeadlinePassed(1.0, "the disk was too slow") from error

    async def _read_missing(self, request: _Request, step: ReadWindows, now: Instant) -> bool:
        """Whether it was asked for; else there is another moment, or what another replica knew, to plan by."""
        series, tail, how = request.series, request.series.tail, request.cache_status
        if request.cache_status is CacheStatus.HIT:
            request.cache_status = _cache_status(request, step)
        crossed = step.refresh and tail is not None and tail.close_passed(now.late_ms)
        if step.refresh and not request.directives.no_cache and await self._prefer_stale_answer(request, step):
            request.cache_status = how
            return False
        if crossed and await self._wait_for_close(request, now):
            return False
        flights: list[Flight] = []
        for window in step.windows:
            turn = Priority(request.caller.lane, request.deadline_s, request.caller.name, crossed, paced=step.refresh)
            flight, shared = self._flights.join(
                series, window, request.floor, turn, _reason(step, close_passed=crossed)
            )
            flights.append(flight)
            request.collapsed = request.collapsed and shared
        for flight in flights:
            await self._flights.wait(flight, request.deadline_s)
        if all(
            flight.satisfied_by_peers and not flight.waited_for_peer for flight in flights
        ):  # it was known, only not here
            request.cache_status = how
        return True

    async def _wait_for_close(self, request: _Request, now: Instant) -> bool:
        """Wait out a close that may still be ahead, by the early edge; whether there was anything to wait for.

        What is read before then may show the candle unfinished, and would have to be read again.
        """
        tail = request.series.tail
        close = tail.newest_close_ms if tail is not None else None
        worth = _MAX_CLOCK_ERRORS * now.error_ms < request.question.interval.length_ms
        if close is None or now.early_ms > close or close - now.early_ms >= _MAX_CLOSE_WAIT_MS or not worth:
            return False
        await self._clock.sleep((close + 1 - now.early_ms) / 1000)
        return True

    async def _prefer_stale_answer(self, request: _Request, step: ReadWindows) -> bool:
        """Where this lane can't be asked now, ages stretch before anybody waits or is refused.

        Rule: docs/design.md#cannot-ask.

        Another replica may have asked: whether it did, and there is something to plan by again.
        """
        weight = sum(window.weight(request.series.endpoint) for window in step.windows)
        refusal = self._governor.refusal_now(request.question.key.market, request.caller.lane, weight, paced=True)
        if refusal is None:
            return False
        if await self._flights.sharing.pull(request.series, step.windows[0]):
            return True
        if await self._plan_stale(request) is not None:
            raise refusal
        return False

    async def _plan_stale(self, request: _Request) -> tuple[Serve, Instant] | None:
        def floor_at(now: Instant) -> TailFloor:
            ttl_ms = request.ttl_ms(now)
            return stale_floor(request.directives, ttl_ms, max(int(self._limits.max_stale_s * 1000), ttl_ms), now)

        step, now = await self._plan(request, floor_at)
        return (step, now) if isinstance(step, Serve) else None

    async def _answer_stale(self, request: _Request) -> KlineAnswer | None:
        """An older answer within the caller's limits, with the mark where its tail is past its TTL."""
        if request.gate_closed is not None:  # there is no tail, and no clock to tell an age by
            return None
        found = await self._plan_stale(request)
        if found is None:
            return None
        served, now = found
        tail = request.series.tail
        marked = served.reaches_tail and tail is not None and not request.floor.admits(tail, now)
        request.cache_status = CacheStatus.HIT
        return self._finish(request, served, now, stale=marked)

    def _finish(self, request: _Request, served: Serve, now: Instant, *, stale: bool) -> KlineAnswer:
        series, tail = request.series, request.series.tail
        self._registry.touch(series, served)
        self._recheck_empty_ranges(request, served, now)
        if served.reaches_tail and tail is not None:
            as_of_ms = tail.as_of_ms
            ttl_ms = request.ttl_ms(now)
            until_ms = as_of_ms + ttl_ms
            if tail.open_until_ms is not None:
                until_ms = min(until_ms, tail.open_until_ms)
            if not request.trading:  # its emptiness may be believed for a day, but not that it doesn't trade
                listed_ms = int(self._symbols.fresh_for_s(request.question.key.market) * 1000)
                until_ms = min(until_ms, now.ms + listed_ms)
            lifetime_s = ttl_ms / 1000
            immutable = False
        else:
            as_of_ms = now.ms if request.gate_closed is None else now.early_ms
            immutable = _immutable(request.question, served, series, now)
            lifetime_s = (
                _IMMUTABLE_LIFETIME_S if immutable else _settled_lifetime_s(served, series, now, request.open_ttl_ms)
            )
            # settled rows are as of now whenever they are shown; an emptiness that ends sooner is not
            until_ms = now.ms + _SETTLED_LIFETIME_S * 1000 if lifetime_s >= _SETTLED_LIFETIME_S else -1
        settled = not served.reaches_tail
        return KlineAnswer(
            body=served.body(),
            rows=served.rows,
            as_of_ms=as_of_ms,
            lifetime_s=lifetime_s,
            valid_until_ms=-1 if stale else until_ms,
            cache_status=request.cache_status,
            collapsed=request.collapsed and request.cache_status is not CacheStatus.HIT,
            stale=stale,
            settled=settled,
            immutable=immutable,
            series=series,
            versions=(series.settled_version, 0 if settled else series.tail_version),
        )

    def _recheck_empty_ranges(self, request: _Request, served: Serve, now: Instant) -> None:
        """Emptiness that is believed no more is read again behind the answer; the second answer after shows it."""
        series = request.series
        if request.gate_closed is not None:
            return
        for void in series.empty_ranges.due(served.lo_ms, served.hi_ms, now.ms, request.open_ttl_ms):
            window = _recheck_window(series, void)
            turn = Priority(Lane.NORMAL, self._clock.now() + self._limits.deadline_s)
            try:
                self._flights.join(series, window, TailFloor(0), turn, "check")
            except MdcacheError:
                return  # the same read failed less than a second ago; somebody will ask again


def _independent_of_now(question: KlineQuestion, served: Serve, now: Instant) -> bool:
    """Whether an answer is the same whatever time it is now: it ends in the past, or is full from its start."""
    if question.end_ms is not None and question.end_ms < now.early_ms:
        return not served.reaches_tail
    return question.start_ms is not None and not question.endpoint.nearest_end and served.rows == question.limit


def _immutable(question: KlineQuestion, served: Serve, series: Series, now: Instant) -> bool:
    """Both ends are given, all rows are settled and over a day old, and no emptiness among them may still fill."""
    end = question.end_ms
    if not question.bounded or end is None or end + question.interval.length_ms + _DAY_MS > now.early_ms:
        return False
    return not series.empty_ranges.touches(served.lo_ms, served.hi_ms)


def _settled_lifetime_s(served: Serve, series: Series, now: Instant, ttl_ms: int) -> float:
    """How long settled rows may be held: until an emptiness among them is looked at again, or can end by itself."""
    until_ms = series.empty_ranges.trusted_until_ms(served.lo_ms, served.hi_ms, ttl_ms)
    if served.hi_ms >= served.lo_ms > now.ms:  # it all lies ahead
        until_ms = served.lo_ms - 1
    return _SETTLED_LIFETIME_S if until_ms is None else min(_SETTLED_LIFETIME_S, max(0, until_ms - now.late_ms) / 1000)


def _recheck_window(series: Series, empty_range: EmptyRange) -> Window:
    rows = series.interval.count(empty_range.start_ms, empty_range.end_ms) + 1
    limit = page_limit(series.endpoint, rows) if rows <= series.endpoint.max_limit else page_limit(series.endpoint, 1)
    return Window(WindowKind.RANGE, empty_range.start_ms, empty_range.end_ms, limit)


def _cache_status(request: _Request, step: ReadWindows) -> CacheStatus:
    if step.refresh:
        return (
            CacheStatus.REQUESTED
            if request.directives.no_cache or request.directives.min_as_of_ms is not None
            else CacheStatus.REFRESHED
        )
    known = len(request.series.coverage) or len(request.series.stored)
    return CacheStatus.PARTIAL if known or request.series.tail is not None else CacheStatus.MISS


def _reason(step: ReadWindows, *, close_passed: bool) -> str:
    if close_passed:
        return "close"
    return "refresh" if step.refresh else "rows"
