"""Rows of one instrument at one interval, as printed at a moment.

Combines history, trading sessions and grid. A row exists for every bucket in which the instrument traded for at least a
millisecond, from its first trade on; without trades it repeats the previous close. Closed rows are cached in printed
form.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice

from mdcache.sim.config import DAY_MS, Outage, SymbolSpec
from mdcache.sim.prices.grid import Grid
from mdcache.sim.prices.node import EMPTY, Node
from mdcache.sim.prices.price_history import SPANS, TICK_MS, PriceHistory, first_tick
from mdcache.sim.prices.printing import Printer
from mdcache.sim.prices.sessions import Stretch, cut_close_ms, joined, sessions, unfilled

_NEVER_MS = 1 << 62
_FIRST_TRADE_WITHIN = 400 * DAY_MS // TICK_MS


@dataclass(frozen=True, slots=True)
class AsOf:
    """The moment as of which rows are printed, and how late final states appear (ms; 0: at once)."""

    at_ms: int
    late_ms: int = 0
    short_ms: int = 0


@dataclass(frozen=True, slots=True)
class RowWindow:
    """The rows to return: open times in [start_ms, end_ms], at most `limit`, the newest or the oldest."""

    start_ms: int | None
    end_ms: int | None
    limit: int
    newest: bool


class RowCache:
    """The cache of printed closed rows, about `size` at most; the series unused for longest is dropped first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0
        self._series: OrderedDict[object, dict[int, bytes]] = OrderedDict()

    def rows(self, key: object) -> dict[int, bytes]:
        """Return the cached rows of a series, by bucket number; the caller adds to it and then calls `added`."""
        rows = self._series.setdefault(key, {})
        self._series.move_to_end(key)
        return rows

    def added(self, count: int) -> None:
        """Count new rows, and drop series if there are too many."""
        self._count += count
        while self._count > self._size and self._series:
            self._count -= len(self._series.popitem(last=False)[1])


class Instrument:
    """A history with its listing, halt, outages and printing. `goes_on`: after the halt there are rows, too."""

    def __init__(self, history: PriceHistory, printer: Printer, spec: SymbolSpec, *, goes_on: bool = False) -> None:
        self.history = history
        self.printer = printer
        self._spec = spec
        self._printed_until_ms = None if goes_on else spec.halted_ms
        self._traded_until_ms = _NEVER_MS if spec.halted_ms is None else spec.halted_ms

    def state(self, at_ms: int) -> tuple[Outage, ...]:
        """Return the outages not filled in at that moment, on which rows depend."""
        return unfilled(self._spec.outages, at_ms)

    def closures(self, at_ms: int) -> list[Stretch]:
        """Return the outages begun and not filled in by that moment."""
        return joined(one for one in self.state(at_ms) if one.start_ms <= at_ms)

    def sessions(self, at_ms: int) -> list[Stretch]:
        """Return when it traded, up to and including `at_ms`."""
        until_ms = self._printed_until_ms
        end_ms = at_ms + 1 if until_ms is None else min(at_ms + 1, until_ms)
        if end_ms <= self._spec.listed_ms or self._first_ms is None:
            return []
        return sessions(self._first_ms, end_ms, self.closures(at_ms))

    @cached_property
    def _first_ms(self) -> int | None:
        """When trading really began; `None` if it never does."""
        begin = first_tick(self._spec.listed_ms)
        found = self.history.first_trade(begin, begin + _FIRST_TRADE_WITHIN)
        return None if found is None else found * TICK_MS

    def candle(self, begin_ms: int, end_ms: int, at_ms: int) -> Node:
        """Return what was traded in [begin_ms, end_ms), as known at a moment."""
        return self.traded(begin_ms, min(end_ms, at_ms + 1), self.sessions(at_ms))

    def candle_around(self, ms: int) -> Node:
        """Return the full minute of a moment; its hour or day if nothing was traded in it."""
        node = EMPTY
        for span in SPANS[2::-1]:
            begin = ms // TICK_MS // span * span
            node = self.history.between(begin, begin + span)
            if node.trades:
                break
        return node

    def price(self, at_ms: int) -> int:
        """Return the last trade's price at a moment; 0 before the first."""
        traded_in = self.sessions(at_ms)
        return self.close_before(at_ms + 1, traded_in) if traded_in else 0

    def traded(self, open_ms: int, end_ms: int, traded_in: Sequence[Stretch]) -> Node:
        """Return what was traded in [open_ms, end_ms) during the sessions."""
        parts = []
        place = max(0, bisect_right(traded_in, (open_ms,)) - 1)
        for begin, end in islice(traded_in, place, None):
            if begin >= end_ms:
                break
            until_ms = min(end, end_ms, self._traded_until_ms)
            if max(begin, open_ms) < until_ms:
                parts.append((max(begin, open_ms), until_ms))
        return self.history.merged([(first_tick(begin), first_tick(end)) for begin, end in parts])

    def close_before(self, open_ms: int, traded_in: Sequence[Stretch]) -> int:
        """Return the last trade's price before a moment; the very first trade's if there was none."""
        for begin, end in reversed(traded_in):
            first, last = first_tick(begin), first_tick(min(end, open_ms, self._traded_until_ms))
            if first < last:
                price = self.history.last_close(first, last)
                if price is not None:
                    return price
        begin = first_tick(open_ms if self._first_ms is None else self._first_ms)
        return self.history.between(begin, begin + 1).open


class PrintedSeries:
    """One instrument at one interval in one time zone."""

    def __init__(self, instrument: Instrument, grid: Grid, cache: RowCache) -> None:
        self._instrument = instrument
        self.grid = grid
        self._cache = cache

    def rows(self, window: RowWindow, as_of: AsOf) -> list[bytes]:
        """Return the printed rows of the window, oldest first."""
        closures = self._instrument.closures(as_of.at_ms)
        traded_in = self._instrument.sessions(as_of.at_ms)
        kept = self._cache.rows((self, self._instrument.state(as_of.at_ms)))
        before = len(kept)
        open_from = self.grid.index(as_of.at_ms - as_of.late_ms)  # the first bucket that may still change
        found: list[bytes] = []
        previous: int | None = None  # the last close, if it was just computed
        for index in self._buckets(window, traded_in):
            row = kept.get(index) if index < open_from else None
            if row is None:
                row, previous = self._print(index, as_of, traded_in, closures, None if as_of.late_ms else previous)
                if index < open_from:
                    kept[index] = row
            else:
                previous = None
            found.append(row)
        self._cache.added(len(kept) - before)
        return found

    def bounds(self, index: int) -> tuple[int, int]:
        """Return the first and the last millisecond of a bucket."""
        return self.grid.open_ms(index), self.grid.open_ms(index + 1) - 1

    def row(self, index: int, at_ms: int) -> bytes | None:
        """Return one bucket's row as it is at a moment, or nothing if the instrument did not trade in it."""
        traded_in = self._instrument.sessions(at_ms)
        open_ms, close_ms = self.bounds(index)
        if not any(begin <= close_ms and open_ms < end for begin, end in traded_in):
            return None
        return self._print(index, AsOf(at_ms), traded_in, self._instrument.closures(at_ms), None)[0]

    def trades_before(self, index: int) -> int:
        """Return the number of trades before a bucket, in the instrument's whole history."""
        return self._instrument.history.trades_before(first_tick(self.grid.open_ms(index)))

    def _print(
        self,
        index: int,
        as_of: AsOf,
        traded_in: Sequence[Stretch],
        closures: Sequence[Stretch],
        previous: int | None,
    ) -> tuple[bytes, int]:
        """Return a bucket's row and its close price."""
        open_ms = self.grid.open_ms(index)
        close_ms = self.grid.open_ms(index + 1) - 1
        end_ms = min(close_ms, as_of.at_ms) + 1
        if as_of.late_ms and as_of.at_ms <= close_ms + as_of.late_ms:
            end_ms = min(end_ms, max(open_ms + 1, close_ms + 1 - as_of.short_ms))
        node = self._instrument.traded(open_ms, end_ms, traded_in)
        if not node.trades:
            price = self._instrument.close_before(open_ms, traded_in) if previous is None else previous
            node = Node(0, price, price, price, price, 0, 0, 0, 0)
        printed_close = cut_close_ms(open_ms, close_ms, closures, as_of.at_ms)
        return self._instrument.printer(open_ms, printed_close, node), node.close

    def _buckets(self, window: RowWindow, traded_in: Sequence[Stretch]) -> list[int]:
        """Return the numbers of the buckets asked for, in order."""
        if not traded_in:
            return []
        grid = self.grid
        first = grid.index(traded_in[0][0])
        last = grid.index(traded_in[-1][1] - 1)
        if window.start_ms is not None:
            if window.start_ms > traded_in[-1][1]:
                return []
            first = max(first, grid.index(window.start_ms - 1) + 1)
        if window.end_ms is not None:
            if window.end_ms < grid.open_ms(first):
                return []
            last = min(last, grid.index(min(window.end_ms, traded_in[-1][1])))
        ranges: list[range] = []
        for begin, end in traded_in:
            low = max(first, grid.index(begin))
            high = min(last, grid.index(end - 1))
            if low <= high:
                ranges.append(range(low, high + 1))
                first = high + 1
        if not window.newest:
            return list(islice(chain.from_iterable(ranges), window.limit))
        newest = list(islice(chain.from_iterable(reversed(one) for one in reversed(ranges)), window.limit))
        return newest[::-1]
