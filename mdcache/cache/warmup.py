"""Warm-up: read spans of series before any client asks for them, through the data path or from dump files.

One job at a time, and one question at a time within it, in the low lane, oldest first. What is known costs nothing: a
job that was cancelled, or whose process ended, continues where it stopped when it is started again. While Binance
can't be asked the job waits. Any other error ends the series, and the job goes on with the next one. A job from dump
files asks Binance nothing (`dump_loader.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from mdcache.cache.answers import Caller
from mdcache.cache.dump_loader import DumpLoader
from mdcache.cache.job import Job, JobSlot, JobState
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.candles.dump_merge import DumpMerge
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.clock import Clock
from mdcache.dumps.faults import DumpsUnavailable, DumpUnusable
from mdcache.dumps.files import DumpFile
from mdcache.dumps.sources import DumpSource
from mdcache.errors import MdcacheError, Refusal, UpstreamUnavailable
from mdcache.events import BackgroundTask, Event, Events, UpstreamCalled
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import KlineQuestion, parse_klines
from mdcache.exchange.markets import KLINE_ENDPOINTS, KlineEndpoint, Market
from mdcache.upstream.priority import Lane

_MIN_WAIT_S, _MAX_WAIT_S = 0.25, 60.0  # an operator may open a gate, and a limit may be raised
_MAX_UNUSABLE = 100  # files of which the progress says why
_WARMUP_CALLER = Caller(lane=Lane.LOW)


@dataclass(frozen=True, slots=True)
class WarmupRequest:
    """What to read: klines of each symbol in each interval, with open times from `since_ms` to `until_ms` (inclusive).

    `until_ms` is `None` for now. `dumps`: the folder or URL of dump files to take them from; `None`: from Binance.
    """

    market: Market
    symbols: tuple[str, ...]
    intervals: tuple[str, ...]
    since_ms: int
    until_ms: int | None = None
    dumps: str | None = None


@dataclass(frozen=True, slots=True)
class WarmupProgress:
    """The progress of the running job, or of the last one.

    `detail`: what it waits for, or why it failed. `weight`: of the low lane's reads of this path since it began.
    `pages`: pages answered, from memory and disk too. `pages_left`: at most, since a series may begin later. `errors`:
    by series, the error that ended it. From dump files: `rows` were taken, `known` were known already and equal,
    `differing` known otherwise, `left` can't be used; `unusable`: why, by file, the first 100.
    """

    state: JobState = JobState.IDLE
    detail: str = ""
    series_done: int = 0
    series_total: int = 0
    rows: int = 0
    weight: int = 0
    pages: int = 0
    pages_left: int = 0
    seconds: float = 0.0
    errors: Mapping[str, str] = field(default_factory=dict)
    known: int = 0
    differing: int = 0
    left: int = 0
    unusable: Mapping[str, str] = field(default_factory=dict)


class KlineSource(Protocol):
    """The data path (`cache.candles.CandleCache`)."""

    async def answer(self, question: KlineQuestion, directives: FreshnessDirectives, caller: Caller) -> KlineAnswer:
        """Answer a question; raise the errors of `errors.py`."""


@dataclass(slots=True, kw_only=True)
class _WarmupJob(Job):
    """A job's remaining work and its results; `left`: pages to read, by series; the first series is in progress."""

    endpoint: KlineEndpoint
    since_ms: int
    until_ms: int
    total: int
    left: dict[tuple[str, str], int]
    rows: int = 0
    pages: int = 0
    dumps: str | None = None
    judged: DumpMerge = field(default_factory=DumpMerge)
    unusable: dict[str, str] = field(default_factory=dict)

    def step_ms(self, interval: str) -> int:
        """Return the longest span whose rows fit one page."""
        step = self.endpoint.max_limit * INTERVALS[interval].length_ms
        return step if self.endpoint.max_span_ms is None else min(step, self.endpoint.max_span_ms)

    def pages_from(self, at_ms: int, interval: str) -> int:
        """Return the greatest number of pages to the end."""
        return -(-max(0, self.until_ms + 1 - at_ms) // self.step_ms(interval)) if interval in INTERVALS else 0


class Warmup:
    """The job, if there is one. The weight of its reads is counted from `events`."""

    def __init__(self, source: KlineSource, dump_loader: DumpLoader, clock: Clock, events: Events) -> None:
        self._source = source
        self._dump_loader = dump_loader
        self._clock = clock
        self._jobs = JobSlot[_WarmupJob](BackgroundTask.WARMUP, clock, events)
        events.attach(self._add_weight)

    def start(self, request: WarmupRequest) -> bool:
        """Start a job; return False if one is running."""
        if self._jobs.is_taken:
            return False
        until_ms = self._clock.wall_ms() if request.until_ms is None else request.until_ms
        endpoint = KLINE_ENDPOINTS[f"{request.market.prefix}klines"]
        names = {(symbol, interval): 0 for symbol in request.symbols for interval in request.intervals}
        job = _WarmupJob(
            endpoint=endpoint,
            since_ms=request.since_ms,
            until_ms=until_ms,
            total=len(names),
            began_s=self._clock.now(),
            left=names,
            dumps=request.dumps,
        )
        names.update({name: job.pages_from(request.since_ms, name[1]) for name in names})
        self._jobs.start(job, self._run)
        return True

    def progress(self) -> WarmupProgress:
        """Return the progress of the job."""
        job = self._jobs.last
        if job is None:
            return WarmupProgress()
        return WarmupProgress(
            state=job.state,
            detail=job.detail,
            series_done=job.total - len(job.left),
            series_total=job.total,
            rows=job.rows + job.judged.taken,
            weight=job.weight,
            pages=job.pages,
            pages_left=sum(job.left.values()),
            seconds=job.seconds(self._clock.now()),
            errors=dict(job.errors),
            known=job.judged.same,
            differing=job.judged.differing,
            left=job.judged.left,
            unusable=dict(job.unusable),
        )

    async def cancel(self) -> None:
        """Cancel the job; return once it has ended. A read that was sent is still merged."""
        await self._jobs.cancel()

    async def aclose(self) -> None:
        """Cancel the job."""
        await self.cancel()

    # ------------------------------------------------------------------------------- the job's task

    def _add_weight(self, event: Event) -> None:
        job = self._jobs.last
        if (
            isinstance(event, UpstreamCalled)
            and job is not None
            and job.ended_s is None
            and (event.lane, event.path) == (_WARMUP_CALLER.lane.value, job.endpoint.path)
        ):
            job.weight += event.weight

    async def _run(self, job: _WarmupJob) -> None:
        if job.dumps is not None:
            try:
                await self._load_dumps(job, job.dumps)
            except DumpsUnavailable as error:
                job.set_state(JobState.FAILED, str(error))
                return
        while job.left:
            symbol, interval = next(iter(job.left))
            try:
                await self._read_series(job, symbol, interval)
            except MdcacheError as error:
                job.errors[f"{job.endpoint.market}/{symbol}/{interval}"] = str(error)
            del job.left[symbol, interval]

    async def _load_dumps(self, job: _WarmupJob, where: str) -> None:
        """Take all series from dump files; raise `DumpsUnavailable` if no more can be had."""
        source = self._dump_loader.open_source(where, job.endpoint.market)
        try:
            while job.left:
                symbol, interval = next(iter(job.left))
                try:
                    await self._load_series(job, source, symbol, interval)
                except Refusal as error:
                    job.errors[f"{job.endpoint.market}/{symbol}/{interval}"] = str(error)
                del job.left[symbol, interval]
        finally:
            await source.aclose()

    async def _load_series(self, job: _WarmupJob, source: DumpSource, symbol: str, interval: str) -> None:
        question = parse_klines(job.endpoint, f"symbol={quote(symbol)}&interval={quote(interval)}", {})

        def on_rows(until_ms: int, judged: DumpMerge) -> None:
            job.judged += judged
            left = job.pages_from(until_ms, interval)
            job.pages += max(0, job.left[symbol, interval] - left)
            job.left[symbol, interval] = min(left, job.left[symbol, interval])

        def on_unusable(file: DumpFile, error: DumpUnusable) -> None:
            if len(job.unusable) < _MAX_UNUSABLE:
                job.unusable[file.name] = str(error)

        await self._dump_loader.load(source, question.key, (job.since_ms, job.until_ms), on_rows, on_unusable)

    async def _read_series(self, job: _WarmupJob, symbol: str, interval: str) -> None:
        """Read one series, page by page."""
        endpoint, at_ms, seen = job.endpoint, job.since_ms, False
        while at_ms <= job.until_ms:
            end_ms = job.until_ms  # a page of the oldest rows skips what lies before the first row
            if endpoint.nearest_end and interval in INTERVALS:
                end_ms = min(end_ms, at_ms + job.step_ms(interval) - 1)
            answer = await self._ask(job, symbol, interval, at_ms, end_ms, endpoint.max_limit)
            job.pages += 1
            job.rows += answer.rows
            if not endpoint.nearest_end:
                if answer.rows < endpoint.max_limit:
                    return
                at_ms = _last_open_ms(answer.body) + 1
            else:
                at_ms = end_ms + 1
                if not answer.rows and not seen:
                    at_ms = await self._find_first_row(job, symbol, interval, at_ms)
                seen = True
            job.left[symbol, interval] = job.pages_from(at_ms, interval)

    async def _find_first_row(self, job: _WarmupJob, symbol: str, interval: str, at_ms: int) -> int:
        """Find a moment less than a page before the first row by bisection: pages of the newest rows skip nothing."""
        width_ms, step_ms = job.endpoint.max_span_ms or 0, job.step_ms(interval)
        while at_ms <= job.until_ms and width_ms > step_ms:
            end_ms = min(job.until_ms, at_ms + width_ms - 1)
            if (await self._ask(job, symbol, interval, at_ms, end_ms, 1)).rows:
                width_ms //= 2
            else:
                at_ms = end_ms + 1
        return at_ms

    async def _ask(
        self, job: _WarmupJob, symbol: str, interval: str, start_ms: int, end_ms: int, limit: int
    ) -> KlineAnswer:
        """Read one page, waiting as long as Binance can't be asked; raise any other error."""
        query = f"symbol={quote(symbol)}&interval={quote(interval)}&startTime={start_ms}&endTime={end_ms}&limit={limit}"
        question = parse_klines(job.endpoint, query, {})
        while True:
            try:
                answer = await self._source.answer(question, FreshnessDirectives(), _WARMUP_CALLER)
            except UpstreamUnavailable as error:
                job.set_state(JobState.WAITING, error.cause)
                await self._clock.sleep(min(max(error.retry_after_s, _MIN_WAIT_S), _MAX_WAIT_S))
            else:
                job.set_state(JobState.RUNNING)
                return answer


def _last_open_ms(body: bytes) -> int:
    """Return the open time of the last row; rows contain no nested list."""
    start = body.rindex(b"[") + 1
    return int(body[start : body.index(b",", start)])
