"""The exchange's clocks: the time at Binance, for each market, and its possible error.

Each is our own clock (which neither steps nor stops) plus an offset measured with `/time`. The machine's wall clock is
read once, for the time before the first measurement.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mdcache.background_work import cancel_all
from mdcache.clock import Clock, Instant
from mdcache.errors import BodyFault, Fault, GateClosed, InvalidBody, MdcacheError, Refusal, ServerFailed
from mdcache.events import (
    BackgroundTask,
    BackgroundTaskFailed,
    ClockMeasured,
    ClockSuspect,
    ClockWitness,
    Events,
    ReadReason,
)
from mdcache.exchange import weights
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.models import Accepted, UpstreamReply, UpstreamRequest
from mdcache.upstream.priority import Lane, Priority
from mdcache.upstream.time_witnesses import DATE_STEP_MS, stated_time, weigh

FIRST_READS = 3  # docs/design.md#exchange-clock: 3 to 5 reads when a market is first used …
MOST_READS = 5
GOOD_ROUND_TRIP_S = 0.2  # … five where none of three took less than this
AGAIN_S = 300.0  # docs/design.md#exchange-clock: measured again every few minutes
DATE_SKEW_MS = 2_000  # docs/design.md#exchange-clock
TRUSTED_AFTER_CHECK_S = 60.0  # after a measurement that confirmed the clock, other Dates are ignored this long
RETRY_S = 5.0  # a failed background measurement is not repeated sooner
UNMEASURED_ERROR_MS = 60_000  # how wrong a machine's wall clock may be unnoticed
_READ_S = 8.0  # the time-out of a measurement
_MOST_BYTES = 1_024
_UNMEASURED_DOUBT_MS = 10**15
_ROUNDING_S = 0.000_001  # of sums of exchange times as floats, and some


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One read of `/time`: exchange time less ours in the middle of the round trip, and the round trip.

    `error_ms`: of the statement itself. `outlier`: the witness that contradicts it, by `off_ms`.
    """

    offset_ms: float
    round_trip_s: float
    date_bias_ms: int
    error_ms: int = 0
    outlier: ClockWitness | None = None
    off_ms: float = 0.0


@dataclass(slots=True)
class TimeRead:
    """A read of a market's `/time`. `wall_ms`: this machine's clock, as a witness."""

    market: Market
    priority: Priority
    wall_ms: Callable[[], int] | None = None
    endpoint: str = "time"
    reason: ReadReason = ReadReason.CLOCK

    def weight(self) -> int:
        """The weight, 1 in every market."""
        return weights.TIME

    def build_request(self) -> UpstreamRequest:
        """Return a GET without parameters."""
        return UpstreamRequest(f"{self.market.prefix}time", "", (), weights.TIME, _MOST_BYTES)

    async def accept(self, reply: UpstreamReply) -> Accepted[ClockSample]:
        """Return the sample; raise `InvalidBody` if neither the body nor a `Date` has a time."""
        wall_ms = None if self.wall_ms is None else self.wall_ms()
        found = weigh(stated_time(reply.body), reply.date_ms, wall_ms)
        if found is None:
            raise InvalidBody(BodyFault.NOT_JSON, "no time")
        middle_ms = (reply.sent_s + reply.round_trip_s / 2) * 1000
        bias_ms = 0 if reply.date_ms is None else _outside(found.ms, reply.date_ms)
        offset_ms = found.ms - middle_ms
        sample = ClockSample(offset_ms, reply.round_trip_s, bias_ms, found.error_ms, found.outlier, found.off_ms)
        return Accepted(sample)


@dataclass(slots=True)
class _MarketClock:
    """The state of one market's clock.

    `bias_ms`: how far its `Date` differs from its own `/time`. `doubt_ms`: how far a `Date` has contradicted it since
    it was measured. `outlier`: the witness that is left out. `assumed_ms`: the offset until it is measured.
    """

    assumed_ms: float
    offset_ms: float | None = None
    error_ms: int = UNMEASURED_ERROR_MS
    bias_ms: int = 0
    measured_s: float = -math.inf
    not_before_s: float = -math.inf
    doubt_ms: int = 0
    outlier: ClockWitness | None = None
    last_shown_ms: int = 0
    task: asyncio.Task[None] | None = None


class ExchangeClocks:
    """The clocks of all markets. `ask`: sends a `TimeRead` (the governor's `fetch`)."""

    def __init__(self, *, clock: Clock, events: Events, fetch: Callable[[TimeRead], Awaitable[ClockSample]]) -> None:
        self._clock = clock
        self._events = events
        self._fetch = fetch
        self._wall_offset_ms = clock.wall_ms() - clock.now() * 1000
        self._markets = {market: _MarketClock(self._wall_offset_ms) for market in Market}
        self.corrections = 0  # of any clock

    def now(self, market: Market) -> Instant:
        """Return a market's exchange time, which never goes back once it was measured.

        If a measurement sets the clock back, it stands still until that time is reached, and `error_ms` includes how
        far it is ahead. Before the first measurement it is what was assumed, or the wall clock's time, wrong by up to a
        minute.
        """
        known = self._markets[market]
        raw = self._raw(known)
        if known.offset_ms is None:
            return raw
        ahead_ms = known.last_shown_ms - raw.ms
        if ahead_ms > 0:
            return Instant(known.last_shown_ms, raw.error_ms + ahead_ms)
        known.last_shown_ms = raw.ms
        return raw

    def reaches_s(self, market: Market, ms: float) -> float:
        """Return when, by our own clock, the market's exchange time reaches `ms`, unless it is corrected before."""
        return (ms - self._offset_ms(self._markets[market])) / 1000 - _ROUNDING_S

    def assume(self, family: Family, ms: int) -> None:
        """Take this for a family's time until it is measured: another process measured it."""
        for market, known in self._markets.items():
            if market.family is family:
                known.assumed_ms = ms - self._clock.now() * 1000

    def family_now(self, family: Family) -> Instant:
        """Return a family's exchange time, from its best measured market; it follows every correction."""
        family_clocks = [known for market, known in self._markets.items() if market.family is family]
        return self._raw(min(family_clocks, key=lambda known: known.error_ms))

    def measured(self, market: Market) -> bool:
        """Return whether the market's clock was ever measured."""
        return self._markets[market].offset_ms is not None

    def doubted(self, market: Market) -> bool:
        """Return whether the clock is unmeasured, or a `Date` has contradicted it since."""
        return self.doubt_ms(market) > 0

    def doubt_ms(self, market: Market) -> int:
        """Return how far the clock may be wrong besides its error: anything if unmeasured, else what a `Date` said."""
        known = self._markets[market]
        return _UNMEASURED_DOUBT_MS if known.offset_ms is None else known.doubt_ms

    def offset_ms(self, market: Market) -> float | None:
        """Return exchange time less this machine's wall clock when the daemon started; `None` if unmeasured."""
        offset_ms = self._markets[market].offset_ms
        return None if offset_ms is None else offset_ms - self._wall_offset_ms

    async def ensure(self, market: Market) -> None:
        """Wait until the market's clock has been measured at least once; a stale one is measured in the background.

        All callers share one measurement. Raises its `UpstreamUnavailable` or `UpstreamFailed` if it was the first.
        """
        known = self._markets[market]
        if known.offset_ms is not None:
            if known.doubt_ms or self._clock.now() - known.measured_s >= AGAIN_S:
                self.measure_in_background(market)
            return
        task = known.task or self._start(market)
        await asyncio.shield(task)

    def measure_in_background(self, market: Market) -> None:
        """Measure the market's clock in the background, unless that is in progress, or failed a moment ago."""
        known = self._markets[market]
        if known.task is None and self._clock.now() >= known.not_before_s:
            self._start(market)

    def check_date(self, market: Market, date_ms: int | None, age_s: int, sent_s: float, received_s: float) -> int:
        """Check a reply's `Date` against the clock; return by how many milliseconds it contradicts it.

        The first contradiction makes the market's clock suspect, and starts a measurement.
        """
        known = self._markets[market]
        if date_ms is None or known.offset_ms is None:
            return 0
        first_ms = known.offset_ms + sent_s * 1000 - known.error_ms
        last_ms = known.offset_ms + received_s * 1000 + known.error_ms
        # a cache's Date may be the origin's (RFC 9111, with an Age) or its own; a clock that was ahead may be set right
        skew_ms = min(
            (
                _beyond(first_ms + bias_ms, last_ms + bias_ms, origin_ms)
                for origin_ms in {date_ms, date_ms + age_s * 1000}
                for bias_ms in {0, known.bias_ms}
            ),
            key=abs,
        )
        if abs(skew_ms) <= DATE_SKEW_MS:
            return 0
        doubt_ms = math.ceil(abs(skew_ms))
        if known.doubt_ms or self._clock.now() >= known.not_before_s:
            first = not known.doubt_ms
            known.doubt_ms = max(known.doubt_ms, doubt_ms)
            if first:
                self._events.emit(ClockSuspect(market.value, skew_ms))
                self.measure_in_background(market)
        return doubt_ms

    async def aclose(self) -> None:
        """Cancel the measurements in progress."""
        await cancel_all(*(known.task for known in self._markets.values()))

    # ------------------------------------------------------------------------------------ parts

    def _offset_ms(self, known: _MarketClock) -> float:
        return known.assumed_ms if known.offset_ms is None else known.offset_ms

    def _raw(self, known: _MarketClock) -> Instant:
        return Instant(math.floor(self._clock.now() * 1000 + self._offset_ms(known)), known.error_ms)

    def _report(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, GateClosed):  # which is told by the gate itself
            self._events.emit(BackgroundTaskFailed(BackgroundTask.CLOCK, str(error)))

    def _start(self, market: Market) -> asyncio.Task[None]:
        known = self._markets[market]
        known.task = asyncio.create_task(self._measure(market), name=f"clock of {market.value}")
        known.task.add_done_callback(self._report)
        return known.task

    async def _measure(self, market: Market) -> None:
        known = self._markets[market]
        try:
            samples = [await self._sample(market)]
            good_s = max(GOOD_ROUND_TRIP_S, known.error_ms / 250)  # no worse than half as exact as what is known
            worse = known.offset_ms is None or known.doubt_ms or samples[0].round_trip_s > good_s
            wanted = FIRST_READS if worse else 1
            while len(samples) < wanted:
                samples.append(await self._sample(market))
                slow = min(sample.round_trip_s for sample in samples) > GOOD_ROUND_TRIP_S
                if len(samples) == FIRST_READS and slow:
                    wanted = MOST_READS
        except MdcacheError:
            known.not_before_s = self._clock.now() + RETRY_S
            raise
        finally:
            known.task = None
        self._adopt(market, min(samples, key=lambda sample: sample.round_trip_s))

    async def _sample(self, market: Market) -> ClockSample:
        priority = Priority(Lane.HIGH, self._clock.now() + _READ_S)
        try:
            return await self._fetch(TimeRead(market, priority, self._clock.wall_ms))
        except Refusal as error:  # of our own read, and not of a client's question
            raise ServerFailed(Fault.STATUS, f"/time: {error.status}") from error

    def _adopt(self, market: Market, best: ClockSample) -> None:
        known = self._markets[market]
        now_s = self._clock.now()
        moved = known.offset_ms is None or abs(best.offset_ms - known.offset_ms) > DATE_SKEW_MS
        known.not_before_s = now_s + TRUSTED_AFTER_CHECK_S if known.doubt_ms and not moved else -math.inf
        # half the round trip, and the millisecond that serverTime truncates
        known.offset_ms, known.error_ms = best.offset_ms, math.ceil(best.round_trip_s * 500) + 1 + best.error_ms
        known.bias_ms, known.doubt_ms, known.measured_s = best.date_bias_ms, 0, now_s
        self.corrections += 1
        self._events.emit(ClockMeasured(market.value, best.offset_ms - self._wall_offset_ms, float(known.error_ms)))
        if best.outlier is not None and best.outlier is not known.outlier:
            self._events.emit(ClockSuspect(market.value, best.off_ms, best.outlier))
        known.outlier = best.outlier


def _outside(at_ms: float, date_ms: int) -> int:
    """Return how far a `Date` (a whole second) is from a moment; 0 if the moment is in its second."""
    return int(_beyond(at_ms, at_ms, date_ms))


def _beyond(first_ms: float, last_ms: float, date_ms: int) -> float:
    """Return how far the second at `date_ms` is outside `first_ms`..`last_ms`; negative if before."""
    if date_ms > last_ms:
        return date_ms - last_ms
    if date_ms + DATE_STEP_MS < first_ms:
        return date_ms + DATE_STEP_MS - first_ms
    return 0.0
