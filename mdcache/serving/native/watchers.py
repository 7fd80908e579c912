"""Watchers: look at each series that is listened to, once for all its listeners (docs/design.md#events).

A look is a question to the data path like any client's: it costs what the next poll would have cost, and is shared with
all others. Between two looks a watcher waits for a frame of the series, or until what was shown expires.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mdcache.background_work import cancel_all, supervise
from mdcache.cache.answers import Caller
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.series import Series
from mdcache.clock import Clock, Instant
from mdcache.errors import MdcacheError, Refusal
from mdcache.events import BackgroundTask, Events
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, KlineEndpoint, Market
from mdcache.serving.native.series_events import PrintedCandle, SeriesChanges, SeriesNames
from mdcache.serving.ports import CandleSource

_ANY_AGE, _CALLER = FreshnessDirectives(), Caller()
_PAGE_ROWS = 500
_WINDOW_BUCKETS = 400  # fewer than a page: old rows may lie off the grid
_LONGEST_MONTH_MS = 31 * 86_400_000
_WINDOW_MS = 199 * 86_400_000  # COIN-M takes 200 days
_MORE_ROWS = 3  # than buckets since the last look: the candle that was open then, and one that was shown
_LEAST_WAIT_S, _MOST_WAIT_S = 0.05, 60.0
_RETRY_S = 2.0
_FOLLOW_EACH_S = 2.0  # a watcher's series count as asked for while it waits
_MAX_SHOWN = 512


class FrameSource(Protocol):
    """The streams, as far as a watcher waits for them."""

    async def wait_for_frame(self, series: Series, seconds: float) -> bool:
        """Wait for the next frame of a series that is being asked for; return False if none came in time."""


class SeriesListener(Protocol):
    """A listener to series: an event stream, or a question that waits."""

    closed_only: bool

    def changed(self, watcher: "SeriesWatcher") -> None:
        """Note that something of a series changed."""


@dataclass(frozen=True, slots=True)
class WatcherSources:
    """What watchers are made of; `exchange_now`: of a market whose clock has been measured."""

    candles: CandleSource
    frames: FrameSource
    exchange_now: Callable[[Market], Instant]
    clock: Clock
    events: Events


class SeriesWatcher:
    """Watches one series for all its listeners. `told_s`: when they were last told that it changed."""

    def __init__(self, key: SeriesKey, sources: WatcherSources) -> None:
        self.key = key
        self.changes = SeriesChanges(SeriesNames(key))
        self.listeners: dict[SeriesListener, None] = {}
        self.told_s = -math.inf
        self._sources = sources
        self._endpoint = _endpoint(key)
        self._interval = INTERVALS[key.interval]
        self._shown: dict[int, bytes] = {}  # by open time: closed candles that may still be printed differently
        self._checked_ms: int | None = None  # as-of of the newest revision that was looked at
        self._task = supervise(BackgroundTask.WATCHERS, self._run, sources.clock, sources.events)

    async def aclose(self) -> None:
        """Look no more."""
        await cancel_all(self._task)

    async def closed_between(self, after_ms: int, until_ms: int) -> AsyncIterator[list[PrintedCandle]]:
        """Read the candles that closed after one time until another, in order, some at a time.

        Raises:
            MdcacheError: They can't be had now.
        """
        length_ms = self._interval.length_ms
        width_ms = min(_WINDOW_BUCKETS * length_ms, _WINDOW_MS)
        open_ms = after_ms + 1 - length_ms - (_LONGEST_MONTH_MS - length_ms) * self._interval.months
        for start_ms in range(max(0, open_ms), until_ms + 1, width_ms):
            end_ms = min(start_ms + width_ms - 1, until_ms)
            found, _ = await self._ask(KlineQuestion(self.key, self._endpoint, start_ms, end_ms, _PAGE_ROWS))
            yield [each for each in found if each.closed and after_ms < each.close_ms <= until_ms]

    # ------------------------------------------------------------------------------- looking

    async def _run(self) -> None:
        refused = False
        while True:
            try:
                answer = await self._look()
            except MdcacheError as error:
                self.changes.lose()
                if not refused:  # the same refusal is no news
                    self._tell()
                refused = isinstance(error, Refusal)
                await self._sources.clock.sleep(_RETRY_S)
            else:
                refused = False
                self._tell()
                await self._wait(answer)

    async def _look(self) -> KlineAnswer:
        changes, now = self.changes, self._now()
        rows = self._interval.count(changes.as_of_ms, now.late_ms) if changes.known else 0
        question = KlineQuestion(self.key, self._endpoint, None, None, min(rows + _MORE_ROWS, _PAGE_ROWS))
        found, answer = await self._ask(question)
        if changes.known and len(found) == question.limit and found[0].close_ms > changes.until_ms:
            async for missed in self.closed_between(changes.until_ms, found[0].open_ms - 1):
                self._show(missed, answer)
        self._show(found, answer)
        self._find_revisions(answer.series)
        return answer

    async def _ask(self, question: KlineQuestion) -> tuple[list[PrintedCandle], KlineAnswer]:
        answer = await self._sources.candles.answer(question, _ANY_AGE, _CALLER)
        return self.changes.names.candles(answer.body, answer.as_of_ms, newest_open=answer.newest_open), answer

    def _show(self, candles: list[PrintedCandle], answer: KlineAnswer) -> None:
        before_ms = self.changes.until_ms
        self.changes.show(candles, answer.as_of_ms, stale=answer.stale)
        self._shown |= {each.open_ms: each.columns for each in candles if each.closed and each.close_ms > before_ms}
        while len(self._shown) > _MAX_SHOWN:
            del self._shown[next(iter(self._shown))]

    def _find_revisions(self, series: Series) -> None:
        """Find closed candles that are printed differently than they were shown."""
        newest_ms, tail = _revised_ms(series), series.live_tail
        found: set[int] = set()
        if self._checked_ms is not None and newest_ms > self._checked_ms:
            found = {open_ms for open_ms, as_of_ms in series.revised_as_of.items() if as_of_ms > self._checked_ms}
        self._checked_ms = max(newest_ms, self._checked_ms or -1)
        looked_at = sorted(found | self._shown.keys())
        # one by one: an audit may have found a row that is years older than those shown
        for known in (row for each in looked_at for row in series.known_between(each, each + 1, tail)):
            shown = self._shown.get(known.open_ms)
            candle = self.changes.names.candle(known.raw[1:-1].split(b","), self.changes.as_of_ms, closed=True)
            if candle.columns != shown and candle.close_ms <= self.changes.until_ms:
                self.changes.revise(candle)
                self._shown[known.open_ms] = candle.columns
        if tail is not None:
            self._shown = {open_ms: each for open_ms, each in self._shown.items() if open_ms >= tail.start_ms}

    # ------------------------------------------------------------------------------- waiting

    async def _wait(self, answer: KlineAnswer) -> None:
        """Wait until there may be something new for those that listen."""
        until_s = self._sources.clock.now() + self._expires_in_s(answer)
        wanted_open = self._wants_open()
        while (left_s := until_s - self._sources.clock.now()) > 0:
            framed = await self._sources.frames.wait_for_frame(answer.series, min(left_s, _FOLLOW_EACH_S))
            if self._wants_open() and (framed or not wanted_open):
                return
            if _revised_ms(answer.series) > (self._checked_ms or -1):
                self._find_revisions(answer.series)
                self._tell()
            if framed and self._closed_until_ms(answer.series) > self.changes.until_ms:
                return

    def _expires_in_s(self, answer: KlineAnswer) -> float:
        """Return after how long to look again, if no frame comes before."""
        now = self._now()
        until_ms = answer.valid_until_ms
        if answer.stale:
            return _RETRY_S
        if not self._wants_open():  # nothing is wanted before the next close
            newest, length_ms = self.changes.open, self._interval.length_ms
            until_ms = newest.close_ms if newest is not None else now.late_ms - now.late_ms % length_ms + length_ms
            until_ms = until_ms if newest is not None else min(until_ms, now.late_ms + int(_MOST_WAIT_S * 1000))
            return max(_LEAST_WAIT_S, (until_ms + 1 - now.late_ms) / 1000)
        return min(max(_LEAST_WAIT_S, (until_ms + 1 - now.late_ms) / 1000), _MOST_WAIT_S)

    def _wants_open(self) -> bool:
        return any(not each.closed_only for each in self.listeners)

    def _closed_until_ms(self, series: Series) -> int:
        tail = series.live_tail
        closed = () if tail is None else tail.rows[:-1] if tail.open_until_ms is not None else tail.rows
        return closed[-1].close_ms if closed else -1

    def _now(self) -> Instant:
        return self._sources.exchange_now(self.key.market)

    def _tell(self) -> None:
        self.told_s = self._sources.clock.now()
        for each in list(self.listeners):
            each.changed(self)


class SeriesWatchers:
    """The watchers of all series that are listened to."""

    def __init__(self, sources: WatcherSources) -> None:
        self._sources = sources
        self._watchers: dict[SeriesKey, SeriesWatcher] = {}
        self._leaving = asyncio.Lock()

    def __iter__(self) -> Iterator[SeriesKey]:
        return iter(self._watchers)

    def join(self, key: SeriesKey, listener: SeriesListener) -> SeriesWatcher:
        """Add a listener to the watcher of a series, which begins with its first one."""
        watcher = self._watchers.get(key)
        if watcher is None:
            watcher = self._watchers[key] = SeriesWatcher(key, self._sources)
        watcher.listeners[listener] = None
        return watcher

    async def leave(self, watchers: Iterable[SeriesWatcher], listener: SeriesListener) -> None:
        """Remove a listener from watchers; those that have no other end."""
        ended: list[SeriesWatcher] = []
        async with self._leaving:  # a thousand that leave in one moment hold nobody up
            for watcher in watchers:
                watcher.listeners.pop(listener, None)
                if not watcher.listeners and self._watchers.get(watcher.key) is watcher:
                    ended.append(self._watchers.pop(watcher.key))
            await asyncio.sleep(0)
        await asyncio.gather(*(watcher.aclose() for watcher in ended))

    async def aclose(self) -> None:
        """End all watchers."""
        watchers, self._watchers = list(self._watchers.values()), {}
        await asyncio.gather(*(watcher.aclose() for watcher in watchers))


def _revised_ms(series: Series) -> int:
    return max(series.revised_as_of.values(), default=-1)


def _endpoint(key: SeriesKey) -> KlineEndpoint:
    return KLINE_ENDPOINTS[f"{key.market.prefix}{key.kind}"]
