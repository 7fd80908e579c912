"""The audit: read settled rows again, chosen at random, and compare them (docs/design.md#audit).

A job reads as many rows as it was asked for; one at a time. The schedule reads a few now and then, if it is set. Both
read in the low lane, wait for their share, and end where Binance can't be asked or answers badly.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from mdcache.background_work import cancel_all, supervise
from mdcache.cache.audit_sample import AuditSample
from mdcache.cache.flights import Flights, Reread
from mdcache.cache.job import Job, JobSlot, JobState
from mdcache.cache.preconditions import SymbolChecks, check_preconditions
from mdcache.candles.merge import Revision
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.series import Series
from mdcache.candles.window import Window
from mdcache.clock import Clock
from mdcache.errors import Busy, GateClosed, MdcacheError, Refusal, UpstreamFailed, UpstreamUnavailable
from mdcache.events import (
    AuditVerdict,
    BackgroundTask,
    Event,
    Events,
    ReadReason,
    RowsAudited,
    UpstreamCalled,
)
from mdcache.upstream.exchange_clock import ExchangeClocks
from mdcache.upstream.priority import Lane, Priority

MAX_ROWS = 1_000_000  # of one job: 4,000 weight at most
_MIN_WINDOWS = 10  # of a job: rows from few places say less
_MAX_FAILURES = 3  # in a row
_MAX_SHOWN = 100  # differences
_READ_WITHIN_S = 8.0
_MIN_WAIT_S, _MAX_WAIT_S = 0.25, 60.0
_HOUR_S = 3_600.0
_LEAST_PAUSE_S = 1.0  # of the schedule, however small a block is


@dataclass(frozen=True, slots=True)
class AuditDifference:
    """A row that differs, as printed; `was` is empty where none was known, `now` where Binance has none any more."""

    series: str
    open_time_ms: int
    verdict: AuditVerdict
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class AuditProgress:
    """The progress of the running job, or of the last one.

    `detail`: what it waits for, or why it ended early. `rows`: read again, of `rows_asked`; `verdicts`: how they
    compare. `differences`: the first hundred, without those of dumps. `errors`: by series, why a window was not
    compared.
    """

    state: JobState = JobState.IDLE
    detail: str = ""
    rows_asked: int = 0
    rows: int = 0
    verdicts: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(map(str, AuditVerdict), 0))
    weight: int = 0
    seconds: float = 0.0
    differences: tuple[AuditDifference, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def differing(self) -> int:
        """The rows that are not the same, also those of dumps, which `differences` leaves out."""
        return sum(self.verdicts.values()) - self.verdicts[AuditVerdict.SAME.value]


@dataclass(slots=True, kw_only=True)
class _AuditJob(Job):
    """A job and its results."""

    which: SeriesFilter
    rows_asked: int
    verdicts: Counter[AuditVerdict] = field(default_factory=Counter)
    differences: list[AuditDifference] = field(default_factory=list)

    def stop(self, detail: str) -> None:
        """End it early."""
        self.set_state(JobState.STOPPED, detail)

    @property
    def rows(self) -> int:
        """The rows read again."""
        return self.verdicts.total()

    def add(self, series: Series, verdicts: Mapping[AuditVerdict, int], found: Reread) -> None:
        """Add what a window showed."""
        self.verdicts.update(verdicts)
        shown = [_difference(series, change, found) for change in found.found.changes]
        self.differences += shown[: _MAX_SHOWN - len(self.differences)]


class Audit:
    """Runs one job at a time, and the schedule.

    Args:
        sample: chooses rows.
        flights: read them.
        clocks: the exchange's clocks, which must be measured.
        symbols: knows the symbols.
        clock: waits.
        events: receives what was found.
        rng: spreads the schedules of several daemons.
        rows_per_hour: how many rows the schedule reads; 0 for no schedule.
    """

    def __init__(
        self,
        sample: AuditSample,
        flights: Flights,
        clocks: ExchangeClocks,
        symbols: SymbolChecks,
        clock: Clock,
        events: Events,
        rng: random.Random,
        rows_per_hour: int,
    ) -> None:
        self._sample = sample
        self._flights = flights
        self._clocks = clocks
        self._symbols = symbols
        self._clock = clock
        self._events = events
        self._rng = rng
        self._rows_per_hour = rows_per_hour
        self._jobs = JobSlot[_AuditJob](BackgroundTask.AUDIT, clock, events)
        self._reads: set[asyncio.Task[Reread]] = set()
        self._schedule: asyncio.Task[None] | None = None
        events.attach(self._add_weight)

    def start_schedule(self) -> None:
        """Start to read again as many rows an hour as are set."""
        if self._rows_per_hour and self._schedule is None:
            self._schedule = supervise(BackgroundTask.AUDIT, self._run_schedule, self._clock, self._events)

    def start(self, which: SeriesFilter, rows: int) -> bool:
        """Start a job over so many rows of the matching series; return False if one is running."""
        if self._jobs.is_taken:
            return False
        self._jobs.start(_AuditJob(which=which, rows_asked=rows, began_s=self._clock.now()), self._run)
        return True

    def progress(self) -> AuditProgress:
        """Return the progress of the job."""
        job = self._jobs.last
        if job is None:
            return AuditProgress()
        return AuditProgress(
            state=job.state,
            detail=job.detail,
            rows_asked=job.rows_asked,
            rows=job.rows,
            verdicts={verdict.value: job.verdicts[verdict] for verdict in AuditVerdict},
            weight=job.weight,
            seconds=job.seconds(self._clock.now()),
            differences=tuple(job.differences),
            errors=dict(job.errors),
        )

    async def cancel(self) -> None:
        """Cancel the job; return once it has ended. A read that was sent ends by itself."""
        await self._jobs.cancel()

    async def aclose(self) -> None:
        """Cancel the job and the schedule."""
        await self.cancel()
        await cancel_all(self._schedule, *self._reads)

    # ------------------------------------------------------------------------------- the job's task

    def _add_weight(self, event: Event) -> None:
        job = self._jobs.last
        if isinstance(event, UpstreamCalled) and event.reason is ReadReason.AUDIT and job and job.ended_s is None:
            job.weight += event.weight

    async def _run(self, job: _AuditJob) -> None:
        failures = 0
        async for series, window in self._sample.choose(job.which, _window_rows(job.rows_asked)):
            before = job.rows
            try:
                await self._reread_in_time(series, window, job)
            except GateClosed as error:
                job.stop(error.cause)
            except (UpstreamFailed, Refusal) as error:
                job.errors[str(series.key)] = str(error)
            failures = 0 if job.rows > before else failures + 1
            if failures == _MAX_FAILURES:
                job.stop(f"{failures} failures in a row")
            if job.state is JobState.STOPPED or job.rows >= job.rows_asked:
                return
        if not job.rows and not job.errors:
            job.stop("no final rows of this are kept")

    async def _reread_in_time(self, series: Series, window: Window, job: _AuditJob) -> None:
        """Read a window again, as soon as there is weight for it."""
        while True:
            try:
                await self._reread(series, window, job)
            except Busy as error:
                job.set_state(JobState.WAITING, error.cause)
                await self._clock.sleep(min(max(error.retry_after_s, _MIN_WAIT_S), _MAX_WAIT_S))
            else:
                return
            finally:
                job.set_state(JobState.RUNNING)

    async def _reread(self, series: Series, window: Window, job: _AuditJob | None) -> int:
        """Read a window again, and count what it shows; return the number of rows."""
        key, market = series.key, series.key.market
        names = [(key.subject, key.by_pair)]
        closed = await check_preconditions(self._clocks, self._symbols, market, names, _READ_WITHIN_S)
        if closed is not None:
            raise closed
        priority = Priority(Lane.LOW, self._clock.now() + _READ_WITHIN_S)
        read = asyncio.get_running_loop().create_task(self._flights.reread(series, window, priority))
        self._reads.add(read)
        read.add_done_callback(self._read_ended)
        await asyncio.wait({read})  # cancelling the job does not cancel what was sent
        found = read.result()
        verdicts = _verdicts(found)
        for verdict, rows in verdicts.items():
            self._events.emit(RowsAudited(market.value, verdict, rows))
        if job is not None:
            job.add(series, verdicts, found)
        return sum(verdicts.values())

    def _read_ended(self, read: "asyncio.Task[Reread]") -> None:
        self._reads.discard(read)
        if not read.cancelled():
            read.exception()  # nobody waits for it once its job was cancelled

    # ------------------------------------------------------------------------------- the schedule

    async def _run_schedule(self) -> None:
        row_s, rows = _HOUR_S / self._rows_per_hour, _window_rows(self._rows_per_hour)
        await self._clock.sleep(row_s * rows * self._rng.random())
        async for chosen in self._sample.choose_for_ever(rows):
            wait_s = _MAX_WAIT_S
            try:
                if chosen is not None and not self._jobs.is_taken:
                    wait_s = row_s * await self._reread(*chosen, None)
            except UpstreamUnavailable as error:
                wait_s = max(wait_s, error.retry_after_s)
            except MdcacheError:
                wait_s = _MAX_WAIT_S  # the events of its reads tell why
            await self._clock.sleep(max(wait_s, _LEAST_PAUSE_S))


def _window_rows(rows: int) -> int:
    """Return the most rows to read at once, of so many in all."""
    return -(-rows // _MIN_WINDOWS)


def _verdict(change: Revision, *, confirmed: bool) -> AuditVerdict:
    if not confirmed:
        return AuditVerdict.UNCONFIRMED
    if not change.was:
        return AuditVerdict.MISSING
    return AuditVerdict.DIFFERENT if change.now else AuditVerdict.GONE


def _verdicts(reread: Reread) -> dict[AuditVerdict, int]:
    """Count the rows of a window by verdict."""
    found = Counter(_verdict(change, confirmed=reread.confirmed) for change in reread.found.changes)
    found[AuditVerdict.SAME] = reread.found.same
    found[AuditVerdict.DIFFERENT] += reread.contradicted
    found[AuditVerdict.UNCONFIRMED] += reread.found.unproven
    return {verdict: rows for verdict, rows in found.items() if rows}


def _difference(series: Series, change: Revision, reread: Reread) -> AuditDifference:
    verdict = _verdict(change, confirmed=reread.confirmed)
    return AuditDifference(str(series.key), change.open_ms, verdict, change.was.decode(), change.now.decode())
