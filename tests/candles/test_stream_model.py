"""Any history of frames and reads, against an exchange that knows every trade: no shown row is ever a lie."""

import heapq
import random
from collections.abc import Callable
from functools import partial
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.merge import merge
from mdcache.candles.plausibility import find_suspicion
from mdcache.candles.settling import ReadTime
from mdcache.candles.stream_tail import SilentSpan
from mdcache.candles.tail import Tail
from mdcache.candles.window import tail_window
from mdcache.errors import InvalidBody
from mdcache.exchange.rows import Row
from mdcache.exchange.streams import Frame
from tests.support.examples import examples
from tests.support.streamed_exchange import FUTURES, MINUTE, SPOT, T0, Pace, StreamedExchange, random_exchange
from tests.support.toy_exchange import make_series

pytestmark = pytest.mark.untraced

MINUTES = 8
PATHS = {SPOT: "/api/v3/klines", FUTURES: "/fapi/v1/klines"}


class World:
    """A series that is fed, the exchange, and what is under way between them.

    `lag_ms`: how far behind servers may be. `trip_ms`: how long a reply may take to be sent, and to be received.
    `error_ms`: how wrong our clock may be.
    """

    def __init__(self, seed: int, pace: Pace, *, lag_ms: int = 0, trip_ms: int = 0, error_ms: int = 0) -> None:
        self.rng = random.Random(seed)
        self.pace = pace
        self.lag_ms, self.trip_ms, self.error_ms = lag_ms, trip_ms, error_ms
        self.exchange = random_exchange(self.rng, MINUTES)
        self.series = make_series(PATHS[pace])
        self.now = T0
        self.shown_ms = -1
        self._right: set[Row] = set()  # rows that are as they were at their close
        self._number = count()
        self._ahead: list[tuple[int, int, Callable[[], None]]] = []

    def at(self, ms: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._ahead, (ms, next(self._number), what))

    def run(self, until_ms: int) -> None:
        while self._ahead and self._ahead[0][0] <= until_ms:
            self.now, _, what = heapq.heappop(self._ahead)
            what()
            self.check()

    # ------------------------------------------------------------------------------- what happens

    def deliver(self, frame: Frame) -> None:
        self.series.apply_frame(frame, self.pace.cadence_ms)

    def send_read(self, limit: int) -> None:
        """Ask for the newest rows: the reply shows them as they are when it is written."""
        sent_ms, rng = self.now, self.rng
        written_ms = sent_ms + rng.randrange(self.trip_ms + 1)
        rows = self.exchange.rows(written_ms - rng.randrange(self.lag_ms + 1), limit)
        received_ms = written_ms + rng.choice([0, rng.randrange(self.trip_ms + 1)])
        by_our_clock_ms = sent_ms + rng.randint(-self.error_ms, self.error_ms)
        self.at(received_ms, lambda: self.receive(rows, limit, by_our_clock_ms))

    def receive(self, rows: list[Row], limit: int, sent_ms: int) -> None:
        window, read = tail_window(limit), ReadTime(sent_ms, sent_ms - self.error_ms)
        try:
            if find_suspicion(self.series, rows, window, read) is not None:
                assert self.lag_ms or self.trip_ms, "a reply that is up to date was doubted"
                return
        except InvalidBody:
            assert self.lag_ms, "a reply that is up to date was refused"
            return
        merge(self.series, rows, window, read)
        self._check_settled()

    def fall_silent(self) -> None:
        since_ms = self.series.complete_until_ms()
        if since_ms is None:
            return
        until_ms = self.exchange.silent_until(since_ms, self.now)
        if until_ms is not None:
            self.series.note_silence(SilentSpan(since_ms, until_ms, self.series.tail_rows[-1].raw))

    # ------------------------------------------------------------------------------------- oracle

    def check(self) -> None:
        """What is shown is what the exchange would have said at its as-of, give or take what replies take and lag."""
        tail = self.series.live_tail
        if tail is None:
            return
        assert tail.as_of_ms <= self.now + self.error_ms, "in the future"
        assert tail.as_of_ms >= self.shown_ms, f"as-of went back by {self.shown_ms - tail.as_of_ms} ms"
        self.shown_ms = tail.as_of_ms
        self._check_rows(tail)
        newest = tail.rows[-1] if tail.rows else None
        if newest is not None and not self._complete(newest):
            assert not tail.final
            assert tail.open_until_ms == newest.close_ms or newest.close_ms < tail.as_of_ms

    def _check_rows(self, tail: Tail) -> None:
        as_of_ms = tail.as_of_ms
        opens = [row.open_ms for row in tail.rows]
        oldest_ms = as_of_ms - self.lag_ms - self.error_ms
        newest_ms = min(self.now, as_of_ms + self.trip_ms + self.error_ms)
        least = self.exchange.opens(tail.start_ms, oldest_ms)
        most = self.exchange.opens(tail.start_ms, newest_ms)
        assert opens[: len(least)] == least, "a row is missing"
        assert opens == most[: len(opens)], "a row that is not there yet"
        for row in tail.rows:
            if row.close_ms < oldest_ms and row in self._right:
                continue
            oldest = self.exchange.row(row.open_ms, oldest_ms)
            newest = self.exchange.row(row.open_ms, newest_ms)
            assert oldest.trades <= row.trades <= newest.trades, "not the candle as it was"
            if row.trades == newest.trades:
                assert row == newest
                if newest_ms > row.close_ms:
                    self._right.add(row)

    def _check_settled(self) -> None:
        for start, end in self.series.coverage:
            settled = [raw for _, raw in self.series.blocks.printed_rows(start, end)]
            opens = self.exchange.opens(start, end - 1)
            assert settled == [self.exchange.row(open_ms, self.now + MINUTE).raw for open_ms in opens]
            assert not opens or opens[-1] + MINUTE <= self.now

    def _complete(self, row: Row) -> bool:
        return row == self.exchange.row(row.open_ms, row.close_ms)


def disturb(world: World, frames: list[Frame]) -> None:
    """Send the frames as a bad day would: late, lost, twice, in another order, and without final ones."""
    rng = world.rng
    lost = [T0 + rng.randrange(MINUTES * MINUTE) for _ in range(rng.randrange(4))]
    delay_ms = rng.choice([0, 100, 3_000])
    for frame in frames:
        if any(0 <= frame.event_ms - begin < rng.choice([5_000, 70_000]) for begin in lost):
            continue
        if frame.final and rng.random() < 0.1:  # a candle may be repeated after its end
            again = Frame(frame.event_ms + rng.randrange(1_500), frame.row, final=False)
            world.at(again.event_ms, partial(world.deliver, again))
        if frame.final and rng.random() < 0.2:
            continue
        for _ in range(rng.choice([1, 1, 1, 1, 2])):
            late_ms = delay_ms if rng.random() < 0.95 else rng.randrange(9_000)
            world.at(frame.event_ms + late_ms, partial(world.deliver, frame))


def ask_now_and_then(world: World) -> None:
    rng, ms = world.rng, T0
    mean_ms = rng.choice([2_000, 15_000, 90_000])
    while ms < T0 + MINUTES * MINUTE:
        limit = 100 if rng.random() < 0.9 else 3
        world.at(ms, partial(world.send_read, limit))
        ms += rng.choice([0, 100, rng.randrange(2 * mean_ms), MINUTE - ms % MINUTE + rng.randrange(-300, 3_000)])
    if rng.random() < 0.5:
        for second in range(MINUTES * 60):
            world.at(T0 + second * 1000 + 50, world.fall_silent)


def bad_day(world: World) -> None:
    phase_ms = world.rng.randrange(world.pace.cadence_ms)
    quiet = world.rng.random() < 0.7
    end_ms = T0 + MINUTES * MINUTE
    disturb(world, world.exchange.frames(world.pace, T0, end_ms, quiet=quiet, phase_ms=phase_ms))
    ask_now_and_then(world)
    world.run(end_ms)


@pytest.mark.parametrize("pace", [SPOT, FUTURES], ids=["spot", "futures"])
@given(seed=st.integers(0, 2**32))
@examples(15, 1_000)
def test_what_is_shown_is_what_the_exchange_would_have_said(pace: Pace, seed: int) -> None:
    bad_day(World(seed, pace))


@pytest.mark.parametrize("pace", [SPOT, FUTURES], ids=["spot", "futures"])
@given(seed=st.integers(0, 2**32))
@examples(15, 1_000)
def test_replies_take_time(pace: Pace, seed: int) -> None:
    bad_day(World(seed, pace, trip_ms=700))


@pytest.mark.parametrize("pace", [SPOT, FUTURES], ids=["spot", "futures"])
@given(seed=st.integers(0, 2**32))
@examples(15, 1_000)
def test_servers_lag(pace: Pace, seed: int) -> None:
    bad_day(World(seed, pace, trip_ms=300, lag_ms=2_500))


@pytest.mark.parametrize("pace", [SPOT, FUTURES], ids=["spot", "futures"])
@given(seed=st.integers(0, 2**32))
@examples(15, 1_000)
def test_our_clock_is_wrong(pace: Pace, seed: int) -> None:
    bad_day(World(seed, pace, trip_ms=300, error_ms=400))


# ---------------------------------------------------------------------------------------- progress


def busy_world(seed: int, pace: Pace, delay_ms: int, lost: tuple[int, int] = (0, 0)) -> World:
    """Trades all the time, every frame `delay_ms` late; those with event times within `lost` never come."""
    world = World(seed, pace)
    end_ms = T0 + MINUTES * MINUTE
    trades = range(T0 - 20 * MINUTE, end_ms, pace.cadence_ms // 4)
    world.exchange = StreamedExchange(T0 - 20 * MINUTE, [each + world.rng.randrange(40) for each in trades])
    phase_ms = world.rng.randrange(pace.cadence_ms)
    for frame in world.exchange.frames(pace, T0, end_ms, quiet=True, phase_ms=phase_ms):
        if not lost[0] <= frame.event_ms < lost[1]:
            world.at(frame.event_ms + delay_ms, partial(world.deliver, frame))
    return world


def check_ages(world: World, delay_ms: int, from_ms: int, to_ms: int) -> None:
    """The tail is no older than its frames, but between a close and the final frame."""
    pace = world.pace
    for now_ms in sorted(world.rng.randrange(from_ms, to_ms) for _ in range(300)):
        world.run(now_ms)
        assert world.series.live_tail is not None
        as_of_ms = world.series.live_tail.as_of_ms
        close_ms = now_ms // MINUTE * MINUTE - 1
        since_final_ms = now_ms - close_ms - pace.final_ms - delay_ms
        if since_final_ms < 0:
            assert as_of_ms >= close_ms - pace.cadence_ms - delay_ms
        elif pace.waits and since_final_ms <= pace.cadence_ms:
            assert as_of_ms >= close_ms
        else:
            assert now_ms - as_of_ms <= pace.cadence_ms + delay_ms


@pytest.mark.parametrize("pace", [SPOT, FUTURES], ids=["spot", "futures"])
@given(seed=st.integers(0, 2**32), delay_ms=st.integers(0, 900), read_ms=st.integers(4_000, MINUTE - 1))
@examples(10, 200)
def test_an_undisturbed_stream_needs_one_read(pace: Pace, seed: int, delay_ms: int, read_ms: int) -> None:
    world = busy_world(seed, pace, delay_ms)
    world.at(T0 + read_ms, lambda: world.send_read(100))
    check_ages(world, delay_ms, T0 + read_ms + pace.cadence_ms + delay_ms, T0 + MINUTES * MINUTE)
    assert world.series.live_tail is not None
    assert len(world.series.live_tail.rows) >= MINUTES


@pytest.mark.parametrize("pace", [SPOT, FUTURES], ids=["spot", "futures"])
@given(seed=st.integers(0, 2**32), begin_ms=st.integers(MINUTE, 4 * MINUTE), lasts_ms=st.integers(1, 90_000))
@examples(10, 200)
def test_after_lost_frames_one_read_is_enough(pace: Pace, seed: int, begin_ms: int, lasts_ms: int) -> None:
    lost = (T0 + begin_ms, T0 + begin_ms + lasts_ms)
    world = busy_world(seed, pace, 100, lost)
    world.at(T0 + 10_000, lambda: world.send_read(100))
    close_ms = lost[1] // MINUTE * MINUTE  # a read just after a close needs the final frame, which may be lost
    world.at(max(lost[1], close_ms + 3_100), lambda: world.send_read(100))
    check_ages(world, 100, max(lost[1], close_ms + 3_100) + pace.cadence_ms + 100, T0 + MINUTES * MINUTE)
