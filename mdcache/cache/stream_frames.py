"""Apply the frames of streams to their series: the consumer of all connections (docs/design.md#stream-fed)."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from mdcache.cache.dead_topics import DeadTopics
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.first_trades import FirstTrades
from mdcache.candles.last_trades import LastTrades
from mdcache.candles.series import Series
from mdcache.candles.silence import SilenceWatch
from mdcache.candles.stream_tail import SilentSpan
from mdcache.clock import Clock, Instant
from mdcache.errors import InvalidBody
from mdcache.events import BodyRejected, Events
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.measured import AS_ASSUMED, Measured
from mdcache.exchange.streams import MINI_TICKERS, read_frame, read_mini_tickers, topic_of

_MAX_AHEAD_MS = 1_000  # of our clock; a frame further ahead has no true time


@dataclass(slots=True)
class FrameCounts:
    """The frames of a market since the start: with news, with nothing new, and those that could not be used."""

    news: int = 0
    old: int = 0
    rejected: int = 0


class StreamFrames:
    """Knows which series each topic feeds. `counts`: by market; `dead_topics`: watches the topics.

    Args:
        registry: The series.
        clock: Measures waits.
        exchange_now: The exchange's time of a market, `None` while it is not measured.
        events: Receives the frames that can't be used.
        measured: What is known of frames.
    """

    def __init__(
        self,
        registry: SeriesRegistry,
        clock: Clock,
        exchange_now: Callable[[Market], Instant | None],
        events: Events,
        measured: Measured = AS_ASSUMED,
    ) -> None:
        self.counts = {market: FrameCounts() for market in Market}
        self.dead_topics = DeadTopics(clock, measured.cadence_ms)
        self._measured = measured
        self._registry = registry
        self._clock = clock
        self._exchange_now = exchange_now
        self._events = events
        self._keys: defaultdict[tuple[Market, str], set[SeriesKey]] = defaultdict(set)
        self._silence = {market: SilenceWatch() for market in Market}
        self._first_trades = {market: FirstTrades() for market in Market}
        self._last_trades = {market: LastTrades() for market in Market}
        self._taken_s: dict[SeriesKey, float] = {}
        self._waiting: dict[SeriesKey, asyncio.Event] = {}

    def add(self, key: SeriesKey) -> str | None:
        """Apply the frames of a series' topic from now on; return the topic, or nothing if there is none."""
        topic = topic_of(key)
        if topic is not None:
            self._keys[key.market, topic].add(key)
            self.dead_topics.follow(key)
        return topic

    def remove(self, key: SeriesKey) -> str | None:
        """Stop it; return the topic if no other series needs it."""
        topic = topic_of(key)
        if topic is None:
            return None
        keys = self._keys[key.market, topic]
        keys.discard(key)
        self._taken_s.pop(key, None)
        self._waiting.pop(key, None)
        self.dead_topics.forget(key)
        if keys:
            return None
        del self._keys[key.market, topic]
        return topic

    def applies(self, key: SeriesKey) -> bool:
        """Return whether the series is in memory, so that frames can be applied to it."""
        return self._registry.find(key) is not None

    def take(self, market: Market, topic: str, data: bytes) -> bool:
        """Take a frame; return whether it proved something new. Nothing is counted of topics that feed no series."""
        keys = self._keys.get((market, topic), ())
        if not keys and topic != MINI_TICKERS:
            return False
        counts, now = self.counts[market], self._exchange_now(market)
        try:
            news = now is not None and self._take(market, topic, data, keys, now)
        except InvalidBody as error:
            if topic == MINI_TICKERS:
                self._silence[market].interrupt()
            counts.rejected += 1
            self._events.emit(BodyRejected(market, topic, error.reason, error.detail))
            return False
        if now is None and topic == MINI_TICKERS:
            self._silence[market].interrupt()
        if news:
            counts.news += 1
        else:
            counts.old += 1
        return news

    def interrupt(self, market: Market) -> None:
        """Note that frames of `!miniTicker@arr` may be missing."""
        self._silence[market].interrupt()

    def taken_s_ago(self, key: SeriesKey) -> float | None:
        """Return how many seconds ago a series had a new frame; nothing if never."""
        taken_s = self._taken_s.get(key)
        return None if taken_s is None else self._clock.now() - taken_s

    def confirm_closed(self, series: Series) -> None:
        """Confirm closed candles that were read too soon by the number of their trades."""
        if series.key.kind == "klines" and series.doubtful:
            series.confirm_closed(self._first_trades[series.key.market].counts(series.key.subject, series.key.interval))

    def note_silence(self, series: Series) -> None:
        """Extend the live tail of a series until the time for which its symbol was surely not traded.

        Frames of the symbol's other topics tell as well, as they name the same last trade.
        """
        key, since_ms = series.key, series.complete_until_ms()
        if since_ms is None or key.kind != "klines":
            return
        now = self._exchange_now(key.market)
        last_trade = series.last_trade(self._first_trades[key.market].opened(key.subject))
        seen_ms = self._last_trades[key.market].newest_until_ms(key.subject, last_trade)
        from_ms = since_ms if seen_ms is None else max(since_ms, seen_ms)
        listed_ms = None
        if key.market not in self._measured.unlisted:
            listed_ms = self._silence[key.market].silent_until_ms(key.subject, from_ms)
        until_ms = from_ms if listed_ms is None else max(from_ms, listed_ms)
        if now is not None and until_ms > since_ms:
            series.note_silence(SilentSpan(since_ms, min(until_ms, now.late_ms), series.tail_rows[-1].raw))

    async def wait(self, key: SeriesKey, seconds: float) -> bool:
        """Wait for the next frame of a series; return False if none came in time."""
        event = self._waiting.setdefault(key, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True

    def _take(self, market: Market, topic: str, data: bytes, keys: Collection[SeriesKey], now: Instant) -> bool:
        if topic == MINI_TICKERS:
            event_ms, symbols = read_mini_tickers(data, market)
            return self._silence[market].take(event_ms, symbols, now)
        return sum(self._apply(key, data, now) for key in keys) > 0

    def _apply(self, key: SeriesKey, data: bytes, now: Instant) -> bool:
        frame = read_frame(data, key)
        series = self._registry.find(key)
        if frame.event_ms > now.late_ms + _MAX_AHEAD_MS or series is None:
            return False
        if frame.event_ms > now.late_ms:  # no as-of lies in the future, whatever the clock of a server says
            frame = replace(frame, event_ms=max(now.late_ms, frame.row.open_ms))
        known = series.frames
        if key.kind == "klines":
            until_ms = min(frame.event_ms, frame.row.close_ms)
            self._last_trades[key.market].take(key.subject, frame.last_trade, until_ms)
            if key.zone_minutes == 0:
                self._first_trades[key.market].take(key.subject, key.interval, frame.row.open_ms, frame.first_trade)
        if not series.apply_frame(frame, self._measured.cadence_ms(key)):
            return False
        if series.frames != known:
            self._registry.note_frames(series)
        self._taken_s[key] = self._clock.now()
        self.dead_topics.note_frame(key)
        if (event := self._waiting.pop(key, None)) is not None:
            event.set()
        return True
