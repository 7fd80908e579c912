"""A toy exchange with streams, for a series of minutes: every trade is known, and each rule is in its plainest form."""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from mdcache.exchange.rows import Row
from mdcache.exchange.streams import Frame

MINUTE = 60_000
T0 = 29_850_000 * MINUTE


@dataclass(frozen=True)
class Pace:
    """How a market's streams send. `final_ms`: after the close; `waits`: the next candle does, for the final frame."""

    cadence_ms: int
    final_ms: int
    waits: bool


SPOT, FUTURES = Pace(2_000, 200, waits=True), Pace(250, 2_000, waits=False)


class StreamedExchange:
    """Trades at `trades` (milliseconds), rows for all minutes from `first_ms` on but those of `halted`."""

    def __init__(self, first_ms: int, trades: Iterable[int], halted: Iterable[int] = ()) -> None:
        self.first_ms = first_ms
        self.halted = frozenset(halted)
        self.trades = sorted(each for each in trades if each // MINUTE * MINUTE not in self.halted)

    def count(self, from_ms: int, to_ms: int) -> int:
        """How many trades happened in `from_ms`..`to_ms`, both inclusive."""
        return bisect_right(self.trades, to_ms) - bisect_left(self.trades, from_ms)

    def row(self, open_ms: int, at_ms: int) -> Row:
        """A candle as it is at a moment: its text tells the number of its trades, and of all before it."""
        close_ms = open_ms + MINUTE - 1
        trades, before = self.count(open_ms, min(close_ms, at_ms)), self.count(0, open_ms - 1)
        text = f'[{open_ms},"{before}","9","0","{before + trades}","{trades}",{close_ms},"0",{trades},"0","0","0"]'
        return Row(open_ms, close_ms, trades, text.encode())

    def opens(self, from_ms: int, to_ms: int) -> list[int]:
        """Where rows open in `from_ms`..`to_ms`, both inclusive."""
        first = -(-max(from_ms, self.first_ms) // MINUTE) * MINUTE
        return [open_ms for open_ms in range(first, to_ms + 1, MINUTE) if open_ms not in self.halted]

    def rows(self, at_ms: int, limit: int) -> list[Row]:
        """The newest rows at a moment."""
        return [self.row(open_ms, at_ms) for open_ms in self.opens(at_ms - limit * MINUTE * 3, at_ms)[-limit:]]

    def frames(self, pace: Pace, from_ms: int, to_ms: int, *, quiet: bool, phase_ms: int = 0) -> list[Frame]:
        """All frames of the topic. `quiet`: none where nothing was traded."""
        sent: list[Frame] = []
        last: dict[int, int] = {}
        for event_ms in range(from_ms + phase_ms, to_ms, pace.cadence_ms):
            open_ms = event_ms // MINUTE * MINUTE
            if open_ms in self.halted or (pace.waits and event_ms - open_ms < pace.final_ms):
                continue
            row = self.row(open_ms, event_ms)
            if row.trades != last.get(open_ms, 0 if quiet else -1) or not (quiet or pace is FUTURES):
                sent.append(Frame(event_ms, row, final=False))
            last[open_ms] = row.trades
        for open_ms in self.opens(from_ms - MINUTE, to_ms):
            event_ms = open_ms + MINUTE - 1 + pace.final_ms
            row = self.row(open_ms, event_ms)
            if from_ms <= event_ms < to_ms and (row.trades or not quiet):
                sent.append(Frame(event_ms, row, final=True))
        return sorted(sent, key=lambda frame: frame.event_ms)

    def silent_until(self, since_ms: int, at_ms: int) -> int | None:
        """Until when all of `!miniTicker@arr`, which comes at full seconds, proves that nothing was traded."""
        proven_ms, from_ms = at_ms // 1000 * 1000, since_ms // 1000 * 1000
        return proven_ms if proven_ms > since_ms and not self.count(from_ms + 1, proven_ms) else None


def random_exchange(rng: random.Random, minutes: int) -> StreamedExchange:
    """An exchange that trades in bursts, with quiet minutes, and now and then minutes without a row."""
    trades: list[int] = []
    halted: list[int] = []
    for minute in range(-20, minutes):
        open_ms = T0 + minute * MINUTE
        dice = rng.random()
        if dice < 0.04:
            halted.append(open_ms)
        elif dice < 0.2:
            trades += [open_ms + rng.randrange(MINUTE) for _ in range(rng.randrange(3))]
        else:
            trades += [open_ms + rng.randrange(MINUTE) for _ in range(rng.choice([5, 60, 400]))]
        if rng.random() < 0.3:
            trades += [open_ms + rng.choice([0, 1, MINUTE - 1, MINUTE - 150])]
    return StreamedExchange(T0 - 20 * MINUTE, trades, halted)
