"""Silence is proven by tickers that all came: one that could not be used ends the proof (docs/design.md#silence)."""

import json
from dataclasses import replace

import pytest

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.stream_frames import StreamFrames
from mdcache.candles.settling import SettlePolicy
from mdcache.candles.tail import Tail
from mdcache.clock import Instant
from mdcache.events import Events
from mdcache.exchange.klines import KlineQuestion
from mdcache.exchange.markets import Market
from mdcache.exchange.measured import AS_ASSUMED, Measured
from mdcache.exchange.streams import MINI_TICKERS
from tests.candles.timeline import at, now, row, settle, show_tail
from tests.support.toy_exchange import make_series
from tests.support.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual

SPOT = "/api/v3/klines"


class Frames:
    """Frames of tickers that list another symbol each second, and a series that was read in minute 10."""

    def __init__(self, measured: Measured = AS_ASSUMED) -> None:
        self.now: Instant | None = None
        events = Events()
        self.registry = SeriesRegistry(VirtualClock(), events, SettlePolicy(3_000, 60_000), 1 << 20)
        self.frames = StreamFrames(self.registry, VirtualClock(), lambda _: self.now, events, measured)
        self.series = make_series(SPOT)
        show_tail(self.series, 9, 10, as_of=10.5)

    def tick(self, minute: float, data: bytes | None = None, *, measured: bool = True) -> None:
        self.now = now(minute) if measured else None
        listed = [{"e": "24hrMiniTicker", "E": at(minute), "s": "OTHER"}]
        self.frames.take(Market.SPOT, MINI_TICKERS, data or json.dumps(listed).encode())

    def take_longer(self, minute: float, first_trade: int, last_trade: int) -> None:
        """Take a frame of the quarter of an hour that opened at minute 0."""
        question = KlineQuestion(replace(self.series.key, interval="15m"), self.series.endpoint, None, None, 1)
        self.registry.get_or_create(question)
        topic = self.frames.add(question.key)
        assert topic is not None
        times = {"t": at(0), "T": at(15) - 1, "f": first_trade, "L": last_trade, "n": last_trade - first_trade + 1}
        sums = {"o": "1", "c": "1", "h": "2", "l": "1", "v": "5", "q": "5", "V": "0", "Q": "0", "B": "0"}
        candle = {**times, **sums, "s": "X", "i": "15m", "x": False}
        frame = {"e": "kline", "E": at(minute), "s": "X", "k": candle}
        assert self.frames.take(Market.SPOT, topic, json.dumps(frame).encode())

    def age_of_tail(self) -> int:
        """How far behind the last tick the tail is, in seconds."""
        self.frames.note_silence(self.series)
        assert self.series.live_tail is not None
        assert self.now is not None
        return (self.now.ms - self.series.live_tail.as_of_ms) // 1000


def ticks(frames: Frames, first_s: int, last_s: int) -> None:
    for second in range(first_s, last_s + 1):
        frames.tick(10.5 + second / 60)


async def test_a_quiet_tail_is_as_fresh_as_the_tickers() -> None:
    frames = Frames()
    ticks(frames, -4, 10)
    assert frames.age_of_tail() == 0


async def test_tickers_that_were_seen_to_leave_out_symbols_prove_nothing() -> None:
    frames = Frames(Measured(unlisted=frozenset({Market.SPOT})))
    ticks(frames, -4, 10)
    assert frames.age_of_tail() == 10


async def test_tickers_that_began_after_a_lagging_server_could_have_answered_prove_nothing() -> None:
    frames = Frames()
    ticks(frames, -2, 10)
    assert frames.age_of_tail() == 10


@pytest.mark.parametrize(("last_trade", "age_s"), [(1_659, 0), (1_660, 10), (1_658, 10)])
async def test_a_longer_candle_that_has_as_many_trades_proves_what_was_before_them(last_trade: int, age_s: int) -> None:
    """Eleven minutes of 60 trades each, and a quarter of an hour that begins with the first of them: number 1,000."""
    frames = Frames()
    settle(frames.series, 0, 8)
    ticks(frames, -2, 0)
    frames.take_longer(10.5 + 1 / 60, 1_000, last_trade)
    ticks(frames, 1, 10)
    assert frames.age_of_tail() == age_s


async def test_a_frame_after_the_close_of_its_candle_names_the_newest_trade_until_the_close_only() -> None:
    """What was traded since is in the next candle, of which no frame has come yet."""
    frames = Frames()
    hour = make_series(SPOT, "1h")
    hour.tail = Tail(at(0), (row(0, 660)._replace(close_ms=at(60) - 1),), at(14.9))
    frames.now = now(15.04)
    frames.take_longer(15.03, 1_000, 1_659)
    frames.frames.note_silence(hour)
    assert hour.live_tail is not None
    assert hour.live_tail.as_of_ms == at(15) - 1


async def test_without_tickers_a_longer_candle_proves_it_until_its_frame() -> None:
    frames = Frames()
    settle(frames.series, 0, 8)
    frames.now = now(10.7)
    frames.take_longer(10.6, 1_000, 1_659)
    assert frames.age_of_tail() == 6


@pytest.mark.parametrize(
    ("data", "measured"),
    [(b"[]", True), (b'[{"e":"24hrMiniTicker"}]', True), (None, False)],
    ids=["empty", "broken", "before the clock is measured"],
)
async def test_one_that_can_not_be_used_ends_the_proof(data: bytes | None, measured: bool) -> None:
    frames = Frames()
    ticks(frames, -4, 5)
    assert frames.age_of_tail() == 0
    frames.tick(10.6, data, measured=measured)
    ticks(frames, 7, 10)
    assert frames.age_of_tail() == 5
