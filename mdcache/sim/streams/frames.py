"""The frames that a topic sends, and when (docs/binance.md#kline-streams).

No connection is known here. `next_ms` is when it may have something to send; `take` returns it. Frames show a candle as
it is at their event time. If nobody takes candles for seconds, only the newest frame and the final ones come.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from mdcache.sim.config import Market
from mdcache.sim.played_facts import PlayedFacts
from mdcache.sim.prices.price_history import TICK_MS
from mdcache.sim.streams.events import kline_event
from mdcache.sim.streams.topics import KlineTopic, SeriesDirectory, StreamedSeries

_CADENCE_MS: dict[Market, int] = {"spot": 2_000, "usdm": TICK_MS, "coinm": TICK_MS}  # web-socket-streams.md
_SECONDS_CADENCE_MS = 1_000  # the same: of spot's 1s
_FINAL_AFTER_MS: dict[Market, int] = {"spot": 200, "usdm": 2_000, "coinm": 2_000}  # freqtrade#11571
_MOST_BEHIND_MS = 60_000  # then a topic begins anew: the clock was put ahead
_LATE_MS = 3_000  # on a busy machine
_SPREAD_MS = 40  # so that not all topics send in one millisecond


@dataclass(frozen=True, slots=True)
class PrintedFrame:
    """One event of a topic. `final`: the last one of a candle."""

    topic: str
    event_ms: int
    text: str
    final: bool = False


class KlineFrames:
    """The candles of one topic, from `now_ms` on. `quiet()`: whether nothing is sent where nothing was traded."""

    def __init__(
        self, name: str, topic: KlineTopic, directory: SeriesDirectory, now_ms: int, facts: PlayedFacts, *,
        micros: bool, quiet: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.name = name
        self._topic = topic
        self._directory = directory
        self._micros = micros
        self._quiet = quiet
        spread = int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big")
        self._cadence_ms = facts.number(topic.market, "frame_cadence_ms", _CADENCE_MS[topic.market])
        if topic.market == "spot" and topic.interval == "1s":
            self._cadence_ms = facts.number("spot", "seconds_cadence_ms", _SECONDS_CADENCE_MS)
        self._equal = facts.flag(topic.market, "frames_equal_rows", usual=True)
        self._phase_ms = spread % (self._cadence_ms if topic.market == "spot" else _SPREAD_MS)
        after_ms = facts.number(topic.market, "final_frame_lag_ms", _FINAL_AFTER_MS[topic.market])
        self._final_after_ms = after_ms + spread % _SPREAD_MS
        self._finals: deque[tuple[int, int]] = deque()  # (when, bucket) of final frames to come
        self._tick_ms = self._tick_after(now_ms)
        self._found: tuple[tuple[int, int], StreamedSeries | None] = ((-1, -1), None)
        self._index: int | None = None
        self._trades = 0  # of the last frame of the current bucket
        self._first_trade = 0
        self._begin(now_ms)

    @property
    def next_ms(self) -> int:
        """When there may be something to send."""
        return min(self._tick_ms, self._finals[0][0]) if self._finals else self._tick_ms

    def take(self, now_ms: int) -> list[PrintedFrame]:
        """Return what is due by now, in the order of event times."""
        if now_ms - self._tick_ms > max(self._cadence_ms, _LATE_MS):
            self._tick_ms = self._tick_after(now_ms - self._cadence_ms)
        frames: list[PrintedFrame | None] = []
        while self.next_ms <= now_ms:
            if self._finals and self._finals[0][0] <= self._tick_ms:
                when, index = self._finals.popleft()
                frames.append(self._final(index, when))
            else:
                frames.append(self._tick(self._tick_ms))
                self._tick_ms += self._cadence_ms
        return [frame for frame in frames if frame is not None]

    def _begin(self, now_ms: int) -> None:
        series = self._series(now_ms)
        if series is None:
            return
        index = series.rows.grid.index(now_ms)
        if now_ms < self._due(series, index - 1):
            self._finals.append((self._due(series, index - 1), index - 1))
        self._enter(series, index)

    def _tick(self, at_ms: int) -> PrintedFrame | None:
        series = self._series(at_ms)
        if series is None:
            return None
        index = series.rows.grid.index(at_ms)
        if index != self._index:
            self._enter(series, index)
        if self._topic.market == "spot" and self._finals[0][1] != index:
            return None  # the closed candle comes first; on futures the next one is shown meanwhile
        row = series.rows.row(index, at_ms)
        trades = 0 if row is None else _trades(row)
        if row is None or (trades == self._trades and self._quiet()):
            return None
        self._trades = trades
        return self._frame(series, row, at_ms, self._first_trade, final=False)

    def _final(self, index: int, at_ms: int) -> PrintedFrame | None:
        series = self._series(at_ms)
        row = None if series is None else series.rows.row(index, at_ms)
        if series is None or row is None or (not _trades(row) and self._quiet()):
            return None
        shown = row if self._equal or not _trades(row) else _with_one_trade_less(row)
        return self._frame(series, shown, at_ms, series.rows.trades_before(index), final=True)

    def _enter(self, series: StreamedSeries, index: int) -> None:
        self._index, self._trades = index, 0
        self._first_trade = series.rows.trades_before(index)
        self._finals.append((self._due(series, index), index))

    def _due(self, series: StreamedSeries, index: int) -> int:
        return series.rows.bounds(index)[1] + 1 + self._final_after_ms

    def _frame(self, series: StreamedSeries, row: bytes, at_ms: int, first_trade: int, *, final: bool) -> PrintedFrame:
        text = kline_event(
            self._topic, series.spec, row, event_ms=at_ms, first_trade=first_trade, final=final, micros=self._micros
        )
        return PrintedFrame(self.name, at_ms, text, final)

    def _series(self, at_ms: int) -> StreamedSeries | None:
        changes, (known, series) = self._directory.changes(at_ms), self._found
        if series is None or known != changes:
            series = self._directory.find(self._topic, at_ms)
            self._found = changes, series
        return series

    def _tick_after(self, ms: int) -> int:
        return (ms - self._phase_ms) // self._cadence_ms * self._cadence_ms + self._cadence_ms + self._phase_ms


class TimedFrames:
    """A topic with events at regular moments, of which none is left out, however late they are taken."""

    def __init__(self, name: str, step_ms: int, texts: Callable[[int], Sequence[str]], now_ms: int) -> None:
        self.name = name
        self._step_ms = step_ms
        self._texts = texts
        self._phase_ms = int.from_bytes(blake2b(name.encode(), digest_size=4).digest(), "big") % _SPREAD_MS
        self.next_ms = self._after(now_ms)

    def take(self, now_ms: int) -> list[PrintedFrame]:
        """Return what is due by now, in order."""
        if now_ms - self.next_ms > _MOST_BEHIND_MS:
            self.next_ms = self._after(now_ms - self._step_ms)
        frames: list[PrintedFrame] = []
        while self.next_ms <= now_ms:
            frames += [PrintedFrame(self.name, self.next_ms, text) for text in self._texts(self.next_ms)]
            self.next_ms += self._step_ms
        return frames

    def _after(self, ms: int) -> int:
        return (ms - self._phase_ms) // self._step_ms * self._step_ms + self._step_ms + self._phase_ms


def _with_one_trade_less(row: bytes) -> bytes:
    fields = row.split(b",")
    fields[8] = str(int(fields[8]) - 1).encode()
    return b",".join(fields)


def _trades(row: bytes) -> int:
    return int(row.split(b",")[8])
