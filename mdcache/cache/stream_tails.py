"""Follow the streams of the series that are asked for (docs/design.md#stream-fed).

All series of a symbol that were asked for are followed from the second question about it on, whatever its interval,
until they were not asked for `STREAM_IDLE_S`. So a scan of one interval follows nothing.
"""

import asyncio
from collections import Counter, defaultdict
from typing import Protocol

from mdcache.background_work import cancel_all, supervise
from mdcache.cache.settling_reads import SettlingReads
from mdcache.cache.stream_frames import StreamFrames
from mdcache.cache.stream_status import StreamsStatus, streams_status
from mdcache.candles.series import Series
from mdcache.candles.tail import Tail
from mdcache.clock import Clock, Instant
from mdcache.events import BackgroundTask, Events
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.measured import AS_ASSUMED, Measured
from mdcache.exchange.streams import topic_of
from mdcache.stream_events import TopicsDead
from mdcache.upstream.streams.market_streams import MarketStreamsStatus

_LOOK_EACH_S = 12.0  # at most one settling read of a family each time: five a minute
_LATE_S = 1.0  # a topic whose last frame is older than its cadence by this much may be dead

_Subject = tuple[Market, str]  # the symbol or pair of a market


class TopicFollower(Protocol):
    """The connections to streams, by the topics that are followed; calls may be repeated."""

    @property
    def markets(self) -> frozenset[Market]:
        """The markets that have streams."""

    def subscribe(self, market: Market, topic: str) -> None:
        """Follow a topic."""

    def unsubscribe(self, market: Market, topic: str) -> None:
        """Stop following it."""

    def renew(self, market: Market, topic: str) -> None:
        """Follow a topic anew that is dead; repeated for as long as it is."""

    def status(self) -> tuple[MarketStreamsStatus, ...]:
        """Return the state of each market that has streams."""

    async def aclose(self) -> None:
        """Close all connections."""


class StreamTails:
    """The live tails of the series that are asked for.

    Args:
        frames: Applies the frames.
        subscriptions: Follows topics.
        settling: Reads what the frames brought.
        clock: Measures idle times.
        events: Receives failures of the background task.
        idle_s: How long a series is followed after its last question, in seconds.
        measured: What is known of frames.
    """

    def __init__(
        self,
        frames: StreamFrames,
        subscriptions: TopicFollower,
        settling: SettlingReads,
        clock: Clock,
        events: Events,
        idle_s: float,
        measured: Measured = AS_ASSUMED,
    ) -> None:
        self._measured = measured
        self._frames = frames
        self._subscriptions = subscriptions
        self._settling = settling
        self._clock = clock
        self._events = events
        self._idle_s = idle_s
        self._asked_s: defaultdict[_Subject, dict[SeriesKey, float]] = defaultdict(dict)
        self._followed: set[SeriesKey] = set()
        self._known_dead: set[tuple[Market, str]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to settle rows, and to end what nobody asks for."""
        self._task = supervise(BackgroundTask.STREAM_TAILS, self._run, self._clock, self._events)

    async def aclose(self) -> None:
        """Stop it, and close all connections."""
        await cancel_all(self._task)
        await self._subscriptions.aclose()

    @property
    def followed(self) -> frozenset[SeriesKey]:
        """The series whose streams are followed."""
        return frozenset(self._followed)

    def dead_topics(self) -> set[tuple[Market, str]]:
        """Return the topics that are dead (docs/design.md#dead-topics)."""
        keys = self._frames.dead_topics.keys()
        return {(key.market, topic) for key in keys if (topic := topic_of(key)) is not None}

    def status(self) -> list[StreamsStatus]:
        """Return the state of each market that has streams."""
        dead = Counter(market.value for market, _ in self.dead_topics())
        return [
            streams_status(found, self._frames.counts[Market(found.market)], dead[found.market])
            for found in self._subscriptions.status()
        ]

    def note_asked(self, series: Series) -> None:
        """Record that a series was asked for; from the second question about its symbol on, streams are followed."""
        key = series.key
        if key.market not in self._subscriptions.markets or key.market in self._measured.unequal:
            return
        asked_s = self._asked_s[key.market, key.subject]
        asked_before = bool(asked_s)
        asked_s[key] = self._clock.now()
        if asked_before and key not in self._followed:
            for each in asked_s.keys() - self._followed:
                self._follow(each)

    def _follow(self, key: SeriesKey) -> None:
        self._followed.add(key)
        if (topic := self._frames.add(key)) is not None:
            self._subscriptions.subscribe(key.market, topic)

    def extend(self, series: Series) -> None:
        """Extend the as-of of the live tail by what else frames prove: counted trades, and the symbol's silence."""
        self._frames.confirm_closed(series)
        self._frames.note_silence(series)

    def note_read(self, series: Series, before: Tail) -> None:
        """Record that a read has replaced the live tail `before`, so that dead topics are found."""
        self._frames.dead_topics.note_read(series, before)

    async def wait_for_final(self, series: Series, now: Instant) -> bool:
        """Wait for the final frame of a candle that has just closed, if its topic is alive and sends it at once."""
        key, tail, within_ms = series.key, series.live_tail, self._measured.final_frame_ms(series.key.market)
        taken_s = self._frames.taken_s_ago(key)
        if not within_ms or tail is None or taken_s is None:
            return False
        close_ms, lately_s = tail.newest_close_ms, self._measured.cadence_ms(key) / 1000 + _LATE_S
        if close_ms is None or not tail.close_passed(now.late_ms) or taken_s > lately_s:
            return False
        until_s = self._clock.now() + (close_ms + within_ms - now.ms) / 1000
        while (left_s := until_s - self._clock.now()) > 0 and await self._frames.wait(key, left_s):
            tail = series.live_tail
            if tail is None or tail.open_until_ms != close_ms:  # else the frame was another one
                return True
        return False

    async def wait_for_frame(self, series: Series, seconds: float) -> bool:
        """Wait for the next frame of a series, which is asked for meanwhile; return False if none came in time."""
        self.note_asked(series)
        return await self._frames.wait(series.key, seconds)

    # ------------------------------------------------------------------------------- background

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_LOOK_EACH_S)
            self._forget_idle()
            self._renew_dead_topics()
            for family in Family:
                self._settling.start_one(key for key in self._followed if key.market.family is family)

    def _renew_dead_topics(self) -> None:
        """Follow dead topics anew, and tell which have been found since the last time."""
        for found in self._subscriptions.status():
            if not found.connections:
                self._frames.dead_topics.restart(Market(found.market))
        dead = self.dead_topics()
        for market, topic in dead:
            self._subscriptions.renew(market, topic)
        for market in Market:
            topics = [topic for where, topic in sorted(dead - self._known_dead) if where is market]
            if topics:
                self._events.emit(TopicsDead(market.value, len(topics), topics[0]))
        self._known_dead = dead

    def _forget_idle(self) -> None:
        """Follow no longer what nobody asks for, nor what is no longer in memory: no frame could be applied to it."""
        now_s = self._clock.now()
        for subject, asked_s in list(self._asked_s.items()):
            for key, last_s in list(asked_s.items()):
                if now_s - last_s > self._idle_s or (key in self._followed and not self._frames.applies(key)):
                    del asked_s[key]
                    self._unfollow(key)
            if not asked_s:
                del self._asked_s[subject]

    def _unfollow(self, key: SeriesKey) -> None:
        if key in self._followed:
            self._followed.discard(key)
            if (topic := self._frames.remove(key)) is not None:
                self._subscriptions.unsubscribe(key.market, topic)
