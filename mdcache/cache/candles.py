"""Answer kline questions: the whole data path, from the preconditions to the answer.

    check_preconditions                         the clock measured, the symbol listed
    live tails                                  what streams brought
    plan -> Serve                               the answer
         -> LoadBlocks -> a store -> memory     then plan again
         -> ReadWindow -> a flight -> merge     then plan again; each round knows more

While Binance can't be asked, or fails, an older tail may answer, marked as stale, inside the caller's limits.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace

from mdcache.cache.answers import CacheStatus, Caller
from mdcache.cache.exchange_info import ExchangeInfo
from mdcache.cache.flights import Flights
from mdcache.cache.kline_answers import KlineAnswer, is_independent_of_now, settled_lifetime, tail_lifetime, versions
from mdcache.cache.kline_request import KlineRequest
from mdcache.cache.live_tails import TailSources
from mdcache.cache.preconditions import check_preconditions
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.freshness import FreshnessDirectives, TailFloor, fresh_floor, tail_ttl_ms
from mdcache.candles.plan import LoadBlocks, ReadWindow, Serve, plan
from mdcache.candles.series import Series
from mdcache.candles.window import Window, WindowKind
from mdcache.clock import Clock, Instant
from mdcache.errors import (
    BodyFault,
    DeadlinePassed,
    GateClosed,
    InvalidBody,
    MdcacheError,
    NotCached,
    UpstreamFailed,
    UpstreamUnavailable,
)
from mdcache.events import ReadReason
from mdcache.exchange.klines import KlineQuestion
from mdcache.exchange.weights import page_limit
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.governor import Governor
from mdcache.upstream.priority import Lane, Priority

_MAX_ROUNDS = 8  # reads of one question, one after the other, that settled nothing
_MAX_READS = 40  # of one question: a page of 1,500 rows, if Binance returns fewer at once than it should
_MAX_CLOSE_WAIT_MS = 1_000  # a close further ahead is not waited for
_MAX_CLOCK_ERRORS = 4  # if this many clock errors exceed the interval, waiting for the close gains nothing


@dataclass(frozen=True, slots=True)
class CandleLimits:
    """Settings of the data path, in seconds; `open_ttls_s`: by interval, how long a tail is fresh."""

    deadline_s: float
    max_stale_s: float
    open_ttls_s: dict[str, float]


class CandleCache:
    """Answer kline questions from what is known, and fetch the rest. `limits` may be replaced at any time."""

    def __init__(
        self,
        registry: SeriesRegistry,
        flights: Flights,
        exchange_info: ExchangeInfo,
        clocks: ExchangeClocks,
        governor: Governor,
        clock: Clock,
        limits: CandleLimits,
        tail_sources: TailSources,
    ) -> None:
        self._registry = registry
        self._flights = flights
        self._exchange_info = exchange_info
        self._clocks = clocks
        self._governor = governor
        self._clock = clock
        self.limits = limits
        self._live_tails = tail_sources.streams
        self._derivations = tail_sources.derivations

    async def answer(self, question: KlineQuestion, directives: FreshnessDirectives, caller: Caller) -> KlineAnswer:
        """Answer a kline question.

        Args:
            question: What is asked.
            directives: How old the answer may be.
            caller: On whose behalf it is read.

        Returns:
            The answer; `stale` if its tail is older than it should be and Binance can't be asked.

        Raises:
            Refusal: Binance refuses this question, or would.
            NotCached: `only-if-cached`, and something must be read.
            UpstreamUnavailable: Binance can't be asked now, or not in time.
            UpstreamFailed: Binance was asked, and no usable reply came.
        """
        served, answer = await self.find(question, directives, caller)
        return replace(answer, body=served.body())

    async def find(
        self, question: KlineQuestion, directives: FreshnessDirectives, caller: Caller
    ) -> tuple[Serve, KlineAnswer]:
        """Answer a kline question, without joining its rows: the answer has an empty body.

        Arguments and errors are those of `answer`.
        """
        deadline_s = self._clock.now() + self.limits.deadline_s
        key = question.key
        names = [(key.subject, key.by_pair)]
        gate_closed = await check_preconditions(
            self._clocks, self._exchange_info, key.market, names, self.limits.deadline_s
        )
        question.check_span()
        if wait_ms := directives.wait_ms(self._clocks.now(key.market)):
            await self._clock.sleep(wait_ms / 1000)
        pin = self._registry.pin(key)
        try:
            series = self._registry.get_or_create(question)
            if not series.outline_loaded:
                await self._wait_for_store(self._registry.persistence.load_outline(series), deadline_s)
            if question.may_reach(self._clocks.now(key.market).ms):
                self._live_tails.note_asked(series)
            self._live_tails.extend(series)
            if self._derivations is not None:
                self._derivations.note_asked(series)
            request = self._begin(question, directives, caller, series, deadline_s, gate_closed)
            try:
                served, now = await self._serve(request)
            except (UpstreamUnavailable, UpstreamFailed):
                if (answer := await self._answer_stale(request)) is None:
                    raise
                return answer
            return self._finish(request, served, now, stale=False)
        finally:
            self._registry.unpin(pin)

    def _begin(
        self,
        question: KlineQuestion,
        directives: FreshnessDirectives,
        caller: Caller,
        series: Series,
        deadline_s: float,
        gate_closed: GateClosed | None,
    ) -> KlineRequest:
        key = question.key
        now = self._clocks.now(key.market)
        trading = self._exchange_info.table.symbols(key.market).trades(key.subject, by_pair=key.by_pair)
        open_ttl_ms = int(self.limits.open_ttls_s[key.interval] * 1000)
        floor = fresh_floor(directives, tail_ttl_ms(series.live_tail, open_ttl_ms, now, trading=trading), now)
        return KlineRequest(question, directives, caller, series, open_ttl_ms, trading, floor, deadline_s, gate_closed)

    # ------------------------------------------------------------------------------- planning

    async def _serve(self, request: KlineRequest) -> tuple[Serve, Instant]:
        """Plan, load and read until the question can be answered as fresh as it must be."""
        rounds = 0
        for _ in range(_MAX_READS):
            if rounds == _MAX_ROUNDS:
                break
            step, now = await self._plan(request)
            if isinstance(step, Serve):
                if request.gate_closed is not None and not is_independent_of_now(request.question, step, now):
                    raise request.gate_closed
                return step, now
            if step.refresh and await self._derive(request, now):
                continue
            if request.directives.only_if_cached:
                raise NotCached
            if request.gate_closed is not None:
                raise request.gate_closed
            before, covered = request.series.live_tail, request.series.coverage.version
            was_read = await self._read(request, step, now)
            rounds += request.series.coverage.version == covered
            if was_read and before is not None:
                self._live_tails.note_read(request.series, before)
            tail = request.series.live_tail if was_read and step.refresh else None
            if tail is not None and tail is not before and tail.as_of_ms < request.floor.as_of_ms:
                break  # sent after the question arrived and still older: its Age shows that there is nothing newer
        raise InvalidBody(BodyFault.NO_PROGRESS, str(request.series.key))

    async def _plan(self, request: KlineRequest, *, stale: bool = False) -> tuple[Serve | ReadWindow, Instant]:
        """Plan the next step, once every stored block that it needs is loaded; `stale`: an older tail may answer."""
        series = request.series
        while True:
            self._live_tails.extend(series)
            now = self._clocks.now(request.question.key.market)
            floor = request.stale_floor(self.limits.max_stale_s, now) if stale else request.floor
            as_of_ms = now.ms
            tail = series.live_tail
            if tail is not None and floor.admits(tail, now):
                as_of_ms = tail.as_of_ms  # the moment at which the tail is served: coinm's windows depend on it
            step = plan(series, request.question.row_query(as_of_ms), floor, now)
            if not isinstance(step, LoadBlocks):
                return step, now
            load = self._registry.persistence.load_blocks(series, step.indexes)  # fewer are left each time
            await self._wait_for_store(load, request.deadline_s)

    async def _wait_for_store(self, work: Awaitable[None], deadline_s: float) -> None:
        """Wait for a store, at most until the deadline."""
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock.now())):
                await work
        except TimeoutError as error:
            raise DeadlinePassed(1.0, "the disk was too slow") from error

    # ------------------------------------------------------------------------------- deriving

    async def _derive(self, request: KlineRequest, now: Instant) -> bool:
        """Derive the open candle from a shorter series, reading that if it is too old (docs/design.md#derivation).

        Return whether the tail is now as fresh as it must be.
        """
        if self._derivations is None or request.of_parts or request.gate_closed or request.directives.no_cache:
            return False
        derivation = self._derivations.find(request.series, now)
        if derivation is None:
            return False
        if derivation.as_of_ms < request.floor.as_of_ms:
            await self._read_parts(request, derivation.parts)
        return self._derivations.derive(derivation, request.floor)

    async def _read_parts(self, request: KlineRequest, parts: Series) -> None:
        """Refresh the tail of `parts` on behalf of a request; if that fails, its own series is read, as ever."""
        question = KlineQuestion(parts.key, parts.endpoint, None, None, 1)
        open_ttl_ms = int(self.limits.open_ttls_s[parts.key.interval] * 1000)
        reading = replace(
            request, question=question, series=parts, open_ttl_ms=open_ttl_ms, of_parts=True, collapsed=True
        )
        pin = self._registry.pin(parts.key)
        try:
            await self._serve(reading)
        except MdcacheError:
            return
        finally:
            self._registry.unpin(pin)
        request.cache_status = reading.cache_status
        request.collapsed = request.collapsed and reading.collapsed

    # ------------------------------------------------------------------------------- reading

    async def _read(self, request: KlineRequest, step: ReadWindow, now: Instant) -> bool:
        """Read what is missing.

        Return False if nothing was read because waiting or another replica already changed what is known; plan again.
        """
        series, window = request.series, step.window
        tail = series.live_tail
        close_passed = step.refresh and tail is not None and tail.close_passed(now.late_ms)
        if close_passed and await self._live_tails.wait_for_final(series, now):
            return False
        if step.refresh and not request.directives.no_cache and await self._prefer_stale(request, window):
            return False
        before, request.cache_status = request.cache_status, request.status_after(step)
        if close_passed and await self._wait_for_close(request, now):
            return False
        priority = request.caller.priority(request.deadline_s, close_passed=close_passed, paced=step.refresh)
        reason = ReadReason.REFRESH if step.refresh else ReadReason.MISSING_ROWS
        if close_passed:
            reason = ReadReason.CLOSE
        flight, joined = self._flights.join(series, window, request.floor, priority, reason)
        request.collapsed = request.collapsed and joined
        await self._flights.wait(flight, request.deadline_s)
        if flight.satisfied_by_peers and not flight.waited_for_peer:  # another replica knew it
            request.cache_status = before
        return True

    async def _prefer_stale(self, request: KlineRequest, window: Window) -> bool:
        """Raise why this lane can't refresh a tail now, if an older tail answers (docs/design.md#cannot-ask).

        Return True if another replica has refreshed it.
        """
        market, weight = request.question.key.market, window.weight(request.series.endpoint)
        refusal = self._governor.refusal_now(market, request.caller.lane, weight, paced=True)
        if refusal is None:
            return False
        if await self._flights.pull(request.series, window):
            return True
        step, _ = await self._plan(request, stale=True)
        if isinstance(step, Serve):
            raise refusal
        return False

    async def _wait_for_close(self, request: KlineRequest, now: Instant) -> bool:
        """Wait for a close that is still ahead by the clock's early bound. Return False if there is none.

        A read sent before then may show the candle unfinished, and would have to be repeated.
        """
        tail = request.series.live_tail
        close_ms = tail.newest_close_ms if tail is not None else None
        if close_ms is None or not 0 <= close_ms - now.early_ms < _MAX_CLOSE_WAIT_MS:
            return False
        if _MAX_CLOCK_ERRORS * now.error_ms >= request.question.interval.length_ms:
            return False
        await self._clock.sleep((close_ms + 1 - now.early_ms) / 1000)
        return True

    # ------------------------------------------------------------------------------- answering

    async def _answer_stale(self, request: KlineRequest) -> tuple[Serve, KlineAnswer] | None:
        """Answer from an older tail within the caller's limits, marked if it is past its TTL."""
        if request.gate_closed is not None:  # there is no tail, and no clock to measure its age
            return None
        step, now = await self._plan(request, stale=True)
        if not isinstance(step, Serve):
            return None
        tail = request.series.live_tail
        stale = step.reaches_tail and tail is not None and not request.floor.admits(tail, now)
        request.cache_status = CacheStatus.HIT
        return self._finish(request, step, now, stale=stale)

    def _finish(self, request: KlineRequest, served: Serve, now: Instant, *, stale: bool) -> tuple[Serve, KlineAnswer]:
        series, tail = request.series, request.series.live_tail
        self._registry.touch(series, served)
        self._recheck_empty_ranges(request, served, now)
        if served.reaches_tail and tail is not None:
            lifetime = tail_lifetime(tail, request.ttl_ms(now))
        else:
            as_of_ms = now.ms if request.gate_closed is None else now.early_ms
            lifetime = settled_lifetime(request.question, served, series, as_of_ms, now, request.open_ttl_ms)
        settled = not served.reaches_tail
        answer = KlineAnswer(
            body=b"",
            rows=served.rows,
            as_of_ms=lifetime.as_of_ms,
            lifetime_s=lifetime.lifetime_s,
            valid_until_ms=-1 if stale else lifetime.valid_until_ms,
            cache_status=request.cache_status,
            collapsed=request.collapsed and request.cache_status is not CacheStatus.HIT,
            stale=stale,
            settled=settled,
            immutable=lifetime.immutable,
            derived=not settled and tail is not None and tail.derived,
            series=series,
            versions=versions(series, settled=settled),
            newest_open=bool(served.tail_rows) and tail is not None and tail.shows_open(served.tail_rows[-1]),
        )
        return served, answer

    def _recheck_empty_ranges(self, request: KlineRequest, served: Serve, now: Instant) -> None:
        """Read empty ranges that are due again, in the background (docs/design.md#holes)."""
        if request.gate_closed is not None:
            return
        series = request.series
        for empty_range in series.empty_ranges.due(served.lo_ms, served.hi_ms, now.ms, request.open_ttl_ms):
            priority = Priority(Lane.NORMAL, self._clock.now() + self.limits.deadline_s)
            try:
                self._flights.join(
                    series, _recheck_window(series, empty_range), TailFloor(0), priority, ReadReason.RECHECK_EMPTY
                )
            except MdcacheError:
                return  # the same read failed less than a second ago; the next answer tries again


def _recheck_window(series: Series, empty_range: EmptyRange) -> Window:
    rows = series.interval.count(empty_range.start_ms, empty_range.end_ms) + 1
    limit = page_limit(series.endpoint, rows if rows <= series.endpoint.max_limit else 1)
    return Window(WindowKind.RANGE, empty_range.start_ms, empty_range.end_ms, limit)
