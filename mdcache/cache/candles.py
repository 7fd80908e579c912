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

from mdcache.cache.answers import Answer, Caller, How
from mdcache.cache.directory import Directory
from mdcache.cache.flights import Flight, Flights
from mdcache.cache.library import Library
from mdcache.cache.prepare import prepared
from mdcache.candles.freshness import Floor, Wishes, fresh_floor, stale_floor, tail_ttl_ms
from mdcache.candles.plan import Load, Read, Serve, plan
from mdcache.candles.series import Series
from mdcache.candles.voids import Void
from mdcache.candles.window import Form, Window
from mdcache.clock import Clock, Instant
from mdcache.errors import AskFailed, BrokenBody, CannotAsk, DeadlinePassed, GateClosed, MdcacheError, NotCached
from mdcache.exchange.questions import Question
from mdcache.exchange.weights import page_limit
from mdcache.upstream.clocksync import ExchangeClocks
from mdcache.upstream.governor import Governor, Lane, Turn

_ROUNDS = 8  # reads that one question may lead to, one after the other
_CLOSE_WITHIN_MS = 1_000  # a clock that is further off is no reason to wait
_CLOSE_ERRORS = 4  # by so many the next candle has grown when a read sent by the early edge is held to the late one
_DAY_MS = 86_400_000
_SETTLED_S = 3_600  # lifetime told for settled rows: they are final, but a revision may come
_IMMUTABLE_S = 31_536_000


@dataclass(frozen=True, slots=True)
class Candlesticks(Answer):
    """Rows of a series. `versions`: of the series when it was built; it stands while they do."""

    rows: int
    series: Series
    versions: tuple[int, int]

    def stands(self, now: Instant) -> bool:
        """Whether it may be shown again as it is."""
        versions = (self.series.settled_version, 0 if self.settled else self.series.tail_version)
        return now.late_ms <= self.stands_until_ms and versions == self.versions


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings the data path works by, in seconds."""

    deadline_s: float
    max_stale_s: float
    open_ttls_s: dict[str, float]


@dataclass(slots=True)
class _Trip:
    """What one question has been through so far."""

    question: Question
    wishes: Wishes
    caller: Caller
    series: Series
    open_ttl_ms: int
    trading: bool
    floor: Floor
    deadline_s: float
    how: How = How.HIT
    collapsed: bool = True
    barred: GateClosed | None = None

    def ttl_ms(self, now: Instant) -> int:
        """How long the tail that is there now is fresh."""
        return tail_ttl_ms(self.series.tail, self.open_ttl_ms, now, trading=self.trading)


class Candles:
    """Answers kline questions from what is known, and has the rest read."""

    def __init__(
        self,
        library: Library,
        flights: Flights,
        directory: Directory,
        clocks: ExchangeClocks,
        governor: Governor,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._library = library
        self._flights = flights
        self._directory = directory
        self._clocks = clocks
        self._governor = governor
        self._clock = clock
        self._limits = limits

    async def answer(self, question: Question, wishes: Wishes, caller: Caller) -> Candlesticks:
        """The answer to `question` as fresh as `wishes` say; raises what `errors.py` tells."""
        deadline_s = self._clock.now() + self._limits.deadline_s
        key = question.key
        barred = await prepared(
            self._clocks,
            self._directory,
            key.market,
            [(key.subject, key.by_pair)],
            deadline_s - self._clock.now(),
        )
        question.check_span()
        if ahead_ms := wishes.ahead_ms(self._clocks.now(key.market)):
            await self._clock.sleep(ahead_ms / 1000)
        pin = self._library.pin(question.key)
        try:
            series = self._library.get(question)
            if not series.opened:
                await self._at_rest(self._library.rest.open(series), deadline_s)
            trip = self._depart(question, series, wishes, caller, deadline_s)
            trip.barred = barred
            return await self._travel(trip)
        finally:
            self._library.unpin(pin)

    async def _travel(self, trip: _Trip) -> Candlesticks:
        try:
            served, now = await self._serve(trip)
        except (CannotAsk, AskFailed):
            older = await self._stand_in(trip)
            if older is None:
                raise
            return older
        return self._arrive(trip, served, now, marked=False)

    def _depart(self, question: Question, series: Series, wishes: Wishes, caller: Caller, deadline_s: float) -> _Trip:
        now = self._clocks.now(question.key.market)
        trading = self._directory.symbols(question.key.market).trades(
            question.key.subject, by_pair=question.key.by_pair
        )
        open_ttl_ms = int(self._limits.open_ttls_s[question.key.interval] * 1000)
        floor = fresh_floor(wishes, tail_ttl_ms(series.tail, open_ttl_ms, now, trading=trading), now)
        floor = Floor(min(floor.as_of_ms, now.ms))  # a moment ahead of our clock can only mean now
        return _Trip(question, wishes, caller, series, open_ttl_ms, trading, floor, deadline_s)

    async def _serve(self, trip: _Trip) -> tuple[Serve, Instant]:
        for _ in range(_ROUNDS):
            step, now = await self._plan(trip, lambda _: trip.floor)
            if isinstance(step, Serve):
                if trip.barred is not None and not _timeless(trip.question, step, now):
                    raise trip.barred
                return step, now
            if trip.wishes.only_if_cached:
                raise NotCached
            if trip.barred is not None:
                raise trip.barred
            before = trip.series.tail
            asked = await self._read(trip, step, now)
            tail = trip.series.tail if asked and step.refresh else None
            if tail is not None and tail is not before and tail.as_of_ms < trip.floor.as_of_ms:
                break  # sent after the question came, and older all the same: by its Age there is nothing newer
        raise BrokenBody("no-progress", str(trip.series.key))

    async def _plan(self, trip: _Trip, floor_at: Callable[[Instant], Floor]) -> tuple[Serve | Read, Instant]:
        """Plan as of the tail where it will be shown: coinm's windows hang on that moment."""
        while True:
            now = self._clocks.now(trip.question.key.market)
            tail, floor = trip.series.tail, floor_at(now)
            as_of_ms = tail.as_of_ms if tail is not None and floor.admits(tail, now) else now.ms
            step = plan(trip.series, trip.question.ask(as_of_ms), floor, now)
            if not isinstance(step, Load):
                return step, now
            load = self._library.rest.load(trip.series, step.indexes)  # each time, less of it rests
            await self._at_rest(load, trip.deadline_s)

    async def _at_rest(self, work: Awaitable[None], deadline_s: float) -> None:
        """Wait for a store; at most until the deadline."""
        try:
            async with asyncio.timeout(max(0.0, deadline_s - self._clock.now())):
                await work
        except TimeoutError as error:
            raise DeadlinePassed(1.0, "the disk was too slow") from error

    async def _read(self, trip: _Trip, step: Read, now: Instant) -> bool:
        """Whether it was asked for; else there is another moment, or what another replica knew, to plan by."""
        series, tail, how = trip.series, trip.series.tail, trip.how
        if trip.how is How.HIT:
            trip.how = _why(trip, step)
        crossed = step.refresh and tail is not None and tail.crossed(now.late_ms)
        if step.refresh and not trip.wishes.no_cache and await self._prefer_stale(trip, step):
            trip.how = how
            return False
        if crossed and await self._close_passes(trip, now):
            return False
        flights: list[Flight] = []
        for window in step.windows:
            turn = Turn(trip.caller.lane, trip.deadline_s, trip.caller.name, crossed, paced=step.refresh)
            flight, shared = self._flights.join(series, window, trip.floor, turn, _reason(step, crossed=crossed))
            flights.append(flight)
            trip.collapsed = trip.collapsed and shared
        for flight in flights:
            await self._flights.land(flight, trip.deadline_s)
        if all(flight.spared and not flight.waited for flight in flights):  # it was known, only not here
            trip.how = how
        return True

    async def _close_passes(self, trip: _Trip, now: Instant) -> bool:
        """Wait out a close that may still be ahead, by the early edge; whether there was anything to wait for.

        What is read before then may show the candle unfinished, and would have to be read again.
        """
        tail = trip.series.tail
        close = tail.newest_close_ms if tail is not None else None
        worth = _CLOSE_ERRORS * now.error_ms < trip.question.interval.length_ms
        if close is None or now.early_ms > close or close - now.early_ms >= _CLOSE_WITHIN_MS or not worth:
            return False
        await self._clock.sleep((close + 1 - now.early_ms) / 1000)
        return True

    async def _prefer_stale(self, trip: _Trip, step: Read) -> bool:
        """Where this lane can't be asked now, ages stretch before anybody waits or is refused (6.5.6).

        Another replica may have asked: whether it did, and there is something to plan by again.
        """
        weight = sum(window.weight(trip.series.rule) for window in step.windows)
        refusal = self._governor.refusal_now(trip.question.key.market, trip.caller.lane, weight, paced=True)
        if refusal is None:
            return False
        if await self._flights.sharing.look(trip.series, step.windows[0]):
            return True
        if await self._plan_stale(trip) is not None:
            raise refusal
        return False

    async def _plan_stale(self, trip: _Trip) -> tuple[Serve, Instant] | None:
        def floor_at(now: Instant) -> Floor:
            ttl_ms = trip.ttl_ms(now)
            return stale_floor(trip.wishes, ttl_ms, max(int(self._limits.max_stale_s * 1000), ttl_ms), now)

        step, now = await self._plan(trip, floor_at)
        return (step, now) if isinstance(step, Serve) else None

    async def _stand_in(self, trip: _Trip) -> Candlesticks | None:
        """An older answer within the caller's limits, with the mark where its tail is past its TTL."""
        if trip.barred is not None:  # there is no tail, and no clock to tell an age by
            return None
        found = await self._plan_stale(trip)
        if found is None:
            return None
        served, now = found
        tail = trip.series.tail
        marked = served.reaches_tail and tail is not None and not trip.floor.admits(tail, now)
        trip.how = How.HIT
        return self._arrive(trip, served, now, marked=marked)

    def _arrive(self, trip: _Trip, served: Serve, now: Instant, *, marked: bool) -> Candlesticks:
        series, tail = trip.series, trip.series.tail
        self._library.served(series, served)
        self._look_again(trip, served, now)
        if served.reaches_tail and tail is not None:
            as_of_ms = tail.as_of_ms
            ttl_ms = trip.ttl_ms(now)
            until_ms = as_of_ms + ttl_ms
            if tail.open_until_ms is not None:
                until_ms = min(until_ms, tail.open_until_ms)
            if not trip.trading:  # its emptiness may be believed for a day, but not that it doesn't trade
                listed_ms = int(self._directory.believed_s(trip.question.key.market) * 1000)
                until_ms = min(until_ms, now.ms + listed_ms)
            lifetime_s = ttl_ms / 1000
            immutable = False
        else:
            as_of_ms = now.ms if trip.barred is None else now.early_ms
            immutable = _immutable(trip.question, served, series, now)
            lifetime_s = _IMMUTABLE_S if immutable else _settled_s(served, series, now, trip.open_ttl_ms)
            # settled rows are as of now whenever they are shown; an emptiness that ends sooner is not
            until_ms = now.ms + _SETTLED_S * 1000 if lifetime_s >= _SETTLED_S else -1
        settled = not served.reaches_tail
        return Candlesticks(
            body=served.body(),
            rows=served.rows,
            as_of_ms=as_of_ms,
            lifetime_s=lifetime_s,
            stands_until_ms=-1 if marked else until_ms,
            how=trip.how,
            collapsed=trip.collapsed and trip.how is not How.HIT,
            marked=marked,
            settled=settled,
            immutable=immutable,
            series=series,
            versions=(series.settled_version, 0 if settled else series.tail_version),
        )

    def _look_again(self, trip: _Trip, served: Serve, now: Instant) -> None:
        """Emptiness that is believed no more is read again behind the answer; the second answer after shows it."""
        series = trip.series
        if trip.barred is not None:
            return
        for void in series.voids.due(served.lo_ms, served.hi_ms, now.ms, trip.open_ttl_ms):
            window = _check_window(series, void)
            turn = Turn(Lane.NORMAL, self._clock.now() + self._limits.deadline_s)
            try:
                self._flights.join(series, window, Floor(0), turn, "check")
            except MdcacheError:
                return  # the same read failed less than a second ago; somebody will ask again


def _timeless(question: Question, served: Serve, now: Instant) -> bool:
    """Whether an answer is the same whatever time it is now: it ends in the past, or is full from its start."""
    if question.end_ms is not None and question.end_ms < now.early_ms:
        return not served.reaches_tail
    return question.start_ms is not None and not question.rule.nearest_end and served.rows == question.limit


def _immutable(question: Question, served: Serve, series: Series, now: Instant) -> bool:
    """Both ends are given, all rows are settled and over a day old, and no emptiness among them may still fill."""
    end = question.end_ms
    if not question.bounded or end is None or end + question.interval.length_ms + _DAY_MS > now.early_ms:
        return False
    return not series.voids.touch(served.lo_ms, served.hi_ms)


def _settled_s(served: Serve, series: Series, now: Instant, ttl_ms: int) -> float:
    """How long settled rows may be held: until an emptiness among them is looked at again, or can end by itself."""
    until_ms = series.voids.believed_until_ms(served.lo_ms, served.hi_ms, ttl_ms)
    if served.hi_ms >= served.lo_ms > now.ms:  # it all lies ahead
        until_ms = served.lo_ms - 1
    return _SETTLED_S if until_ms is None else min(_SETTLED_S, max(0, until_ms - now.late_ms) / 1000)


def _check_window(series: Series, void: Void) -> Window:
    rows = series.interval.count(void.start_ms, void.end_ms) + 1
    limit = page_limit(series.rule, rows) if rows <= series.rule.max_limit else page_limit(series.rule, 1)
    return Window(Form.RANGE, void.start_ms, void.end_ms, limit)


def _why(trip: _Trip, step: Read) -> How:
    if step.refresh:
        return How.REQUESTED if trip.wishes.no_cache or trip.wishes.min_as_of_ms is not None else How.REFRESHED
    known = len(trip.series.coverage) or len(trip.series.resting)
    return How.PARTIAL if known or trip.series.tail is not None else How.MISS


def _reason(step: Read, *, crossed: bool) -> str:
    if crossed:
        return "close"
    return "refresh" if step.refresh else "rows"
