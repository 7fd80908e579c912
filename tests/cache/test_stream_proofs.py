"""Everything that extends a live tail, together, against an exchange that knows every trade: silence, the numbers of
trades, and counted trades (docs/design.md#silence, #trade-counts).

Frames of several intervals and of `!miniTicker@arr` arrive late, in any order, or not at all; reads are answered by
servers that lag by up to `SETTLE_S`; trades have gaps in their numbers, and begin anew. Whatever extends a tail beyond
what was read must show every trade until its as-of.
"""

import heapq
import json
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.stream_frames import StreamFrames
from mdcache.candles.derivation import Derivation, NotDerived, can_derive
from mdcache.candles.freshness import TailFloor
from mdcache.candles.merge import merge
from mdcache.candles.plausibility import find_suspicion
from mdcache.candles.series import Series
from mdcache.candles.settling import ReadTime, SettlePolicy
from mdcache.candles.window import tail_window
from mdcache.clock import Instant, SystemClock
from mdcache.errors import InvalidBody
from mdcache.events import Events
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import KlineQuestion, SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.rows import Row
from mdcache.exchange.streams import MINI_TICKERS
from tests.support.examples import examples
from tests.support.streamed_exchange import FUTURES, MINUTE, SPOT, Pace

pytestmark = pytest.mark.untraced

T0 = 29_850_000 * MINUTE // 86_400_000 * 86_400_000  # a midnight
MINUTES = 7
SETTLE_MS = 3_000
PATHS = {SPOT: "/api/v3/klines", FUTURES: "/fapi/v1/klines"}
INTERVAL_SETS = (
    ["1m"],
    ["1m", "3m"],
    ["1m", "3m", "5m"],
    ["1m", "5m", "1h"],
    ["3m", "1h"],
    ["1m", "1M"],
    ["1m", "3m", "5m", "1w"],
)


@dataclass(frozen=True)
class Trades:
    """The trades of a symbol, in order: when, and their numbers."""

    times: list[int]
    numbers: list[int]

    def row(self, interval: str, open_ms: int, at_ms: int) -> tuple[Row, int, int]:
        """A candle as it is at a moment, with the numbers of its first and last trade."""
        close_ms = INTERVALS[interval].next_open(open_ms) - 1
        first = bisect_left(self.times, open_ms)
        last = bisect_right(self.times, min(close_ms, at_ms))
        trades = max(0, last - first)
        number = self.numbers[last - 1] if trades else -1
        text = f'[{open_ms},"1","2","1","1","{trades}",{close_ms},"{trades}",{trades},"0","0","0"]'
        return Row(open_ms, close_ms, trades, text.encode()), self.numbers[first] if trades else -1, number

    def traded(self, after_ms: int, until_ms: int) -> bool:
        return bisect_right(self.times, until_ms) > bisect_right(self.times, after_ms)


def random_trades(rng: random.Random, *, gaps: bool, restarts: bool) -> Trades:
    times: list[int] = []
    rates = [0, 0.02, 0.2, 0.2, 1, 8]
    for minute in range(-90, MINUTES):
        rate = rng.choice(rates)
        open_ms = T0 + minute * MINUTE
        number = int(rate * 60) + (rng.random() < rate * 60 % 1)
        times += [open_ms + rng.randrange(MINUTE) for _ in range(number)]
        if rng.random() < 0.4:
            times += [open_ms + rng.choice([0, 1, 500, MINUTE - 1, MINUTE - 150, MINUTE - 1_000])]
    times.sort()
    numbers, number = [], rng.choice([0, 100, 10**9])
    restart = rng.randrange(len(times)) if restarts and times else -1
    for place in range(len(times)):
        number = rng.choice([0, 5]) if place == restart else number
        numbers.append(number)
        number += 1 + (gaps and rng.random() < 0.05)
    return Trades(times, numbers)


class World:
    """Series of one symbol that are fed, the exchange, and what is under way between them.

    `lag_ms`: how far behind servers may be; `torn`: with each row by itself. `trip_ms`: how long a reply may take to be
    written, and to be received. `error_ms`: how wrong our clock may be, `off_ms`: how wrong it is. `extended`,
    `derived`: how often a tail was shown that more than a read proves, and a candle that was derived.
    """

    def __init__(self, seed: int, pace: Pace) -> None:
        rng = self.rng = random.Random(seed)
        self.pace, self.torn = pace, rng.random() < 0.3
        self.market = Market.SPOT if pace is SPOT else Market.USDM
        self.endpoint = KLINE_ENDPOINTS[PATHS[pace]]
        self.trades = random_trades(rng, gaps=rng.random() < 0.5, restarts=rng.random() < 0.2)
        self.lag_ms = rng.choice([0, 500, SETTLE_MS])
        self.trip_ms = rng.choice([0, 300])
        self.error_ms = rng.choice([0, 0, 150])
        self.off_ms = rng.choice([self.error_ms, -self.error_ms, 0, 0, -400])
        self.now_ms = T0
        events = Events()
        self.registry = SeriesRegistry(SystemClock(), events, SettlePolicy(SETTLE_MS, MINUTE), 1 << 26)
        self.frames = StreamFrames(self.registry, SystemClock(), lambda _: self.now(), events)
        self.intervals = rng.choice(INTERVAL_SETS)
        self.keys = {name: SeriesKey(self.market, "klines", "X", "", name) for name in self.intervals}
        if rng.random() < 0.2:
            self.keys["micros"] = replace(self.keys[self.intervals[0]], micros=True)
        self.topics: dict[str, str] = {}
        self.series: dict[str, Series] = {}
        self.reading: set[str] = set()
        self.extended = self.derived = 0
        self._number = count()
        self._ahead: list[tuple[int, int, Callable[[], None]]] = []
        self._shown_ms: dict[str, int] = {}
        self._read_ms: dict[str, int] = {}  # the as-of of the newest read, or of what was derived from one
        self.derivations: dict[str, Derivation] = {}
        for name, key in self.keys.items():
            self.series[name] = self.registry.get_or_create(KlineQuestion(key, self.endpoint, None, None, 1))
            topic = self.frames.add(key)
            assert topic is not None
            self.topics[name] = topic
        for name, series in self.series.items():
            if can_derive(series.key, self.keys.get("1m", series.key)) and rng.random() < 0.7:
                self.derivations[name] = Derivation(series, self.series["1m"])

    def now(self) -> Instant:
        return Instant(self.now_ms + self.off_ms, self.error_ms)

    def at(self, ms: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._ahead, (ms, next(self._number), what))

    def run(self, until_ms: int) -> None:
        while self._ahead and self._ahead[0][0] <= until_ms:
            self.now_ms, _, what = heapq.heappop(self._ahead)
            what()

    # ------------------------------------------------------------------------------- streams

    def send_all(self) -> None:
        """Send the frames of all topics, as on a bad day."""
        rng = self.rng
        end_ms = T0 + MINUTES * MINUTE
        outages = [T0 + rng.randrange(MINUTES * MINUTE) for _ in range(rng.randrange(3))]
        outages_ms = [(begin, begin + rng.choice([400, 5_000, 30_000])) for begin in outages]
        delay_ms = rng.choice([0, 30, 400])
        jitter_ms = rng.choice([1, 100, 1_500])
        for interval in self.intervals:
            phase_ms = rng.randrange(self.pace.cadence_ms)
            lost_finals = rng.choice([0.0, 0.0, 0.3])
            arrival_ms = 0
            for event_ms, open_ms in self._events_of(interval, phase_ms, T0, end_ms):
                row, first, last = self.trades.row(interval, open_ms, event_ms)
                final = event_ms > row.close_ms
                if any(begin <= event_ms < end for begin, end in outages_ms) or (final and rng.random() < lost_finals):
                    continue
                arrival_ms = max(arrival_ms, event_ms + delay_ms + rng.randrange(jitter_ms))
                data = frame_bytes(interval, event_ms, row, first, last, final=final)
                self.at(arrival_ms, partial(self._deliver, self.topics[interval], data))
        self._send_tickers(outages_ms, end_ms, delay_ms, jitter_ms)

    def _events_of(self, interval: str, phase_ms: int, from_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """The event times of a topic's frames, and the open times of their candles."""
        pace, found = self.pace, []
        length = INTERVALS[interval]
        open_ms = floor(interval, from_ms)
        shown = -1
        for event_ms in range(from_ms + phase_ms, end_ms, pace.cadence_ms):
            while length.next_open(open_ms) <= event_ms:
                close_ms = length.next_open(open_ms) - 1
                found.append((close_ms + pace.final_ms, open_ms))
                open_ms, shown = close_ms + 1, 0
            if pace.waits and event_ms - open_ms < pace.final_ms:
                continue
            row, _, _ = self.trades.row(interval, open_ms, event_ms)
            if row.trades and row.trades != shown:
                found.append((event_ms, open_ms))
            shown = row.trades
        return sorted(each for each in found if each[0] < end_ms)

    def _deliver(self, topic: str, data: bytes) -> None:
        self.frames.take(self.market, topic, data)

    def _send_tickers(self, outages: list[tuple[int, int]], end_ms: int, delay_ms: int, jitter_ms: int) -> None:
        rng = self.rng
        arrival_ms, phase_ms = 0, rng.randrange(1_000)
        before_ms = T0 - 1_000
        for event_ms in range(T0 + phase_ms, end_ms, 1_000):
            lost = any(begin <= event_ms < end for begin, end in outages)
            symbols = ["OTHER"] + ["X"] * self.trades.traded(before_ms, event_ms)
            before_ms = event_ms
            arrival_ms = max(arrival_ms, event_ms + delay_ms + rng.randrange(jitter_ms))
            if lost:
                self.at(arrival_ms, partial(self.frames.interrupt, self.market))
                continue
            listed = [{"e": "24hrMiniTicker", "E": event_ms, "s": each} for each in symbols]
            data = json.dumps(listed).encode()
            for late_ms in rng.choice([[0], [0], [0, 0], [0, 1_700]]) if rng.random() < 0.2 else [0]:
                self.at(arrival_ms + late_ms, partial(self._deliver, MINI_TICKERS, data))

    # ------------------------------------------------------------------------------- reads

    def read(self, name: str) -> None:
        rng, series = self.rng, self.series[name]
        if name in self.reading:
            return
        self.reading.add(name)
        sent_ms = self.now_ms
        interval = series.key.interval
        written_ms = sent_ms + rng.randrange(self.trip_ms + 1)
        lag_ms = rng.choice([0, self.lag_ms, rng.randrange(self.lag_ms + 1)])
        rows: list[Row] = []
        open_ms = floor(interval, written_ms - lag_ms)
        for _ in range(20):
            row_lag_ms = rng.choice([lag_ms, self.lag_ms]) if self.torn else lag_ms
            row, _, _ = self.trades.row(interval, open_ms, written_ms - row_lag_ms)
            rows.insert(0, in_micros(row) if series.key.micros else row)
            open_ms = floor(interval, open_ms - 1)
        received_ms = written_ms + rng.randrange(self.trip_ms + 1)
        self.at(received_ms, lambda: self._receive(name, rows, sent_ms + self.off_ms))

    def _receive(self, name: str, rows: list[Row], sent_ms: int) -> None:
        self.reading.discard(name)
        series = self.series[name]
        window, read = tail_window(20), ReadTime(sent_ms, sent_ms - self.error_ms)
        try:
            if find_suspicion(series, rows, window, read) is not None:
                return
        except InvalidBody:
            return
        merge(series, rows, window, read)
        assert series.tail is not None
        self._read_ms[name] = max(self._read_ms.get(name, -1), series.tail.as_of_ms)
        self.check(name)

    # ------------------------------------------------------------------------------- questions

    def ask_all(self) -> None:
        rng = self.rng
        for name in self.series:
            ms, cadence_s = T0 + rng.randrange(3 * MINUTE), rng.choice([0.3, 1, 2, 5])
            ttl_ms = rng.choice([1_000, 5_000, 60_000])
            while ms < T0 + MINUTES * MINUTE:
                self.at(ms, partial(self.ask, name, ttl_ms))
                ms += int(cadence_s * 1000 * rng.choice([0.1, 1, 1, 1.7]))

    def ask(self, name: str, ttl_ms: int) -> None:
        series = self.series[name]
        self.frames.confirm_closed(series)
        self.frames.note_silence(series)
        self.check(name)
        tail = series.live_tail
        fresh = tail is not None and TailFloor(self.now().ms - ttl_ms).admits(tail, self.now())
        if not fresh and not self._derive(name):
            self.read(name)

    def _derive(self, name: str) -> bool:
        derivation, tail = self.derivations.get(name), self.series[name].live_tail
        if derivation is None or tail is None or tail.cadence_ms:
            return False
        frame, parts = derivation.derive(), derivation.parts
        if isinstance(frame, NotDerived) or not derivation.target.apply_frame(frame, 0):
            return False
        assert parts.live_tail is not None
        if parts.live_tail.as_of_ms <= self._read_ms["1m"]:
            self._read_ms[name] = max(self._read_ms[name], frame.event_ms)
        self.derived += 1
        self.check(name)
        return True

    def check(self, name: str) -> None:
        """What is shown is what the exchange would have said at its as-of: all of it, if more than a read tells it."""
        series = self.series[name]
        tail = series.live_tail
        if tail is None or series.tail is None:
            return
        assert tail.as_of_ms >= self._shown_ms.get(name, -1), "as-of went back"
        self._shown_ms[name] = tail.as_of_ms
        assert tail.as_of_ms <= max(self.now().late_ms, tail.rows[-1].open_ms), "in the future"
        is_extended = tail.as_of_ms > self._read_ms[name]
        self.extended += is_extended
        at_ms, lag_ms = (tail.as_of_ms, 0) if is_extended else (tail.as_of_ms - self.off_ms, self.lag_ms)
        latest_ms = min(self.now_ms, at_ms + self.trip_ms + self.error_ms + max(0, -self.off_ms))
        interval = series.key.interval
        for row in tail.rows:
            oldest, _, _ = self.trades.row(interval, row.open_ms, at_ms - lag_ms)
            newest, _, _ = self.trades.row(interval, row.open_ms, latest_ms)
            assert oldest.trades <= row.trades, f"{name} {row} lacks trades until {at_ms}: {oldest}"
            assert row.trades <= newest.trades, f"{name} {row} at {at_ms}: trades that had not happened {newest}"
        newest_open = floor(interval, at_ms - lag_ms)
        assert tail.rows[-1].open_ms >= newest_open, "a row is missing"


def in_micros(row: Row) -> Row:
    raw = row.raw.replace(b"[%d," % row.open_ms, b"[%d000," % row.open_ms)
    return row._replace(raw=raw.replace(b",%d," % row.close_ms, b",%d999," % row.close_ms))


def floor(interval: str, ms: int) -> int:
    """Where the candle opens that is open at a moment."""
    if interval == "1M":
        month = datetime.fromtimestamp(ms / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return int(month.timestamp()) * 1000
    length_ms, monday_ms = INTERVALS[interval].length_ms, 4 * 86_400_000 if interval == "1w" else 0
    return (ms - monday_ms) // length_ms * length_ms + monday_ms


def frame_bytes(interval: str, event_ms: int, row: Row, first: int, last: int, *, final: bool) -> bytes:
    o, _, _, _, _, volume, _, quote, trades, _, _, _ = json.loads(row.raw)
    candle = {
        "t": o, "T": row.close_ms, "s": "X", "i": interval, "f": first, "L": last, "o": "1", "c": "1", "h": "2",
        "l": "1", "v": volume, "n": trades, "x": final, "q": quote, "V": "0", "Q": "0", "B": "0",
    }  # fmt: skip
    return json.dumps({"e": "kline", "E": event_ms, "s": "X", "k": candle}).encode()


def bad_day(seed: int, pace: Pace) -> World:
    world = World(seed, pace)
    world.send_all()
    world.ask_all()
    world.run(T0 + MINUTES * MINUTE)
    return world


@pytest.mark.parametrize("pace", [SPOT, FUTURES], ids=["spot", "futures"])
@given(seed=st.integers(0, 2**32))
@examples(3, 1_000)
def test_what_extends_a_tail_shows_every_trade_until_its_as_of(pace: Pace, seed: int) -> None:
    bad_day(seed, pace)


def test_tails_were_extended_and_candles_derived() -> None:
    """Else the test above could not fail."""
    world = bad_day(0, SPOT)
    assert world.extended > 100
    assert world.derived
