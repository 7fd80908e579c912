"""Any history of frames and reads, against an exchange that knows every trade: no shown row is ever a lie."""

import heapq
import random
from collections.abc import Callable
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
from tests.support.streamed_exchange import FUTURES, MINUTE, SPOT, T0, Pace, random_exchange
from tests.support.toy_exchange import make_series

MINUTES = 8
PATHS = {SPOT: "/api/v3/klines", FUTURES: "/fapi/v1/klines"}
UNCONFIRMED_MS = 5_000  # a candle read just after its close is shown so long without its final frame


class World:
    """A series that is fed, the exchange, and what is under way between them.

    `lag_ms`: how far behind servers may be. `trip_ms`: how long a reply may take to be sent and received.
    """

    def __init__(self, seed: int, pace: Pace, *, lag_ms: int = 0, trip_ms: int = 0) -> None:
        self.rng = random.Random(seed)
        self.pace = pace
        self.lag_ms, self.trip_ms = lag_ms, trip_ms
        self.exchange = random_exchange(self.rng, MINUTES)
        self.series = make_series(PATHS[pace])
        self.now = T0
        self.shown_ms = -1
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
        self.at(received_ms, lambda: self.receive(rows, limit, sent_ms))

    def receive(self, rows: list[Row], limit: int, sent_ms: int) -> None:
        window, read = tail_window(limit), ReadTime(sent_ms, sent_ms)
        try:
            if find_suspicion(self.series, rows, window, read) is not None:
                assert self.lag_ms or self.trip_ms, "a reply that is up to date was doubted"
                return
        except InvalidBody:
            assert self.lag_ms, "a reply that is up to date was refused"
            return
        merge(self.series, rows, window, read)

    def fall_silent(self) -> None:
        since_ms = self.series.complete_until_ms()
        if since_ms is None:
            return
        until_ms = self.exchange.silent_until(since_ms, self.now)
        if until_ms is not None:
            self.series.note_silence(SilentSpan(since_ms, until_ms, self.series.tail_rows[-1].raw))

    # ------------------------------------------------------------------------------------- oracle

    def check(self) -> None:
        """Whatever is shown is what the exchange would have said at its as-of, or at most `lag_ms` before."""
        tail = self.series.live_tail
        if tail is None:
            return
        assert tail.as_of_ms <= self.now, "in the future"
        assert tail.as_of_ms >= self.shown_ms, f"as-of went back by {self.shown_ms - tail.as_of_ms} ms"
        self.shown_ms = tail.as_of_ms
        self._check_rows(tail)
        self._check_settled()
        newest = tail.rows[-1] if tail.rows else None
        if newest is not None and not self._complete(newest):
            assert not tail.final
            assert tail.open_until_ms == newest.close_ms or newest.close_ms < tail.as_of_ms

    def _check_rows(self, tail: Tail) -> None:
        as_of_ms = tail.as_of_ms
        opens = [row.open_ms for row in tail.rows]
        least = self.exchange.opens(tail.start_ms, as_of_ms - self.lag_ms)
        most = self.exchange.opens(tail.start_ms, min(self.now, as_of_ms + self.trip_ms))
        assert opens[: len(least)] == least, "a row is missing"
        assert opens == most[: len(opens)], "a row that is not there yet"
        for row in tail.rows:
            oldest = self.exchange.row(row.open_ms, as_of_ms - self.lag_ms)
            newest = self.exchange.row(row.open_ms, min(self.now, as_of_ms + self.trip_ms))
            assert oldest.trades <= row.trades <= newest.trades, "not the candle as it was"
            if as_of_ms - row.close_ms > UNCONFIRMED_MS:
                assert self._complete(row)
            if row.trades == newest.trades:
                assert row == newest

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
        if frame.final and rng.random() < 0.2:
            continue
        for _ in range(rng.choice([1, 1, 1, 1, 2])):
            late_ms = delay_ms if rng.random() < 0.95 else rng.randrange(9_000)
            world.at(frame.event_ms + late_ms, lambda frame=frame: world.deliver(frame))  # type: ignore[misc]


def ask_now_and_then(world: World) -> None:
    rng, ms = world.rng, T0
    mean_ms = rng.choice([2_000, 15_000, 90_000])
    while ms < T0 + MINUTES * MINUTE:
        limit = 100 if rng.random() < 0.9 else 3
        world.at(ms, lambda limit=limit: world.send_read(limit))  # type: ignore[misc]
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
