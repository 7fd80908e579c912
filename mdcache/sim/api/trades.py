"""The trades of one instrument one by one: by number, by time, the newest.

A trade's number counts the history's trades from the listing on, so that numbers rise with time; those that
would have fallen into an outage are missing.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from mdcache.sim.prices.node import Node
from mdcache.sim.prices.price_history import TICK_MS, TICKS_A_DAY, first_tick
from mdcache.sim.prices.series import Instrument
from mdcache.sim.prices.sessions import Stretch


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade: its number, when it happened, and price, volume and turnover as a node of one."""

    number: int
    time_ms: int
    node: Node

    @property
    def buyer_maker(self) -> bool:
        """Whether the seller was the taker."""
        return self.node.taker < self.node.maker


class Trades:
    """All trades of an instrument, as known at a moment."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._history = instrument.history
        self._first = first_tick(instrument.listed_ms)
        self._first_day = self._first // TICKS_A_DAY
        self._before_day = [0]  # trades of the history from the listing's day to the beginning of each day
        self._skipped = self._count(self._first)

    def last(self, at_ms: int) -> Trade | None:
        """The last trade, if there was one."""
        return next(self._backwards(at_ms, at_ms), None)

    def newest(self, limit: int, at_ms: int, end_ms: int | None = None) -> list[Trade]:
        """The newest trades up to and with `end_ms`, oldest first."""
        end_ms = at_ms if end_ms is None else min(end_ms, at_ms)
        return list(islice(self._backwards(at_ms, end_ms), limit))[::-1]

    def since(self, start_ms: int, end_ms: int | None, limit: int, at_ms: int) -> list[Trade]:
        """The oldest trades of [start_ms, end_ms]."""
        end_ms = at_ms if end_ms is None else min(end_ms, at_ms)
        return list(islice(self._forwards(first_tick(start_ms), at_ms, end_ms), limit))

    def numbered(self, number: int, limit: int, at_ms: int) -> list[Trade]:
        """The trades from a number on."""
        begin = self._tick_of(number, at_ms)
        found = self._forwards(begin, at_ms, at_ms)
        return list(islice((trade for trade in found if trade.number >= number), limit))

    def number_at(self, ms: int) -> int:
        """The number of the first trade at or after a moment."""
        return self._count(max(self._first, first_tick(ms))) - self._skipped

    def _count(self, tick: int) -> int:
        """How many trades the history has from the listing's day to before a tick."""
        day = tick // TICKS_A_DAY
        start = day * TICKS_A_DAY
        part = self._history.between(start, tick).trades if start < tick else 0
        return self._until(day) + part

    def _until(self, day: int) -> int:
        """How many trades the history has from the listing's day to before a day."""
        counts = self._before_day
        while len(counts) <= day - self._first_day:
            counts.append(counts[-1] + self._history.trades_on(self._first_day + len(counts) - 1))
        return counts[day - self._first_day]

    def _tick_of(self, number: int, at_ms: int) -> int:
        """The tick of a trade by its number; the tick after now where there is none yet."""
        wanted = number + self._skipped
        end = first_tick(at_ms + 1)
        if wanted >= self._count(max(self._first, end)):
            return end
        place = bisect_right(self._before_day, wanted) - 1
        return self._history.tick_of(self._first_day + place, wanted - self._before_day[place])

    def _stretches(self, at_ms: int) -> list[Stretch]:
        instrument = self._instrument
        return instrument.sessions(at_ms, instrument.closed(at_ms))

    def _forwards(self, begin: int, at_ms: int, end_ms: int) -> Iterator[Trade]:
        """The trades from a tick on, oldest first."""
        for opened, closed in self._stretches(at_ms):
            low = max(begin, first_tick(opened))
            high = min(first_tick(end_ms + 1), first_tick(closed))
            if low >= high:
                continue
            number = self._count(low) - self._skipped
            for tick, node in self._history.ticks(low, high):
                for one in self._history.singles(tick, node):
                    yield Trade(number, tick * TICK_MS, one)
                    number += 1

    def _backwards(self, at_ms: int, end_ms: int) -> Iterator[Trade]:
        """The trades up to a moment, newest first."""
        for opened, closed in reversed(self._stretches(at_ms)):
            low = first_tick(opened)
            high = min(first_tick(end_ms + 1), first_tick(closed))
            if low >= high:
                continue
            number = self._count(high) - self._skipped
            for tick, node in self._history.ticks(low, high, newest=True):
                for one in reversed(self._history.singles(tick, node)):
                    number -= 1
                    yield Trade(number, tick * TICK_MS, one)
