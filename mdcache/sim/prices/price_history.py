"""The trading history of one instrument, computed from a seed for any span of time.

A history is a tree: days are drawn one by one around a chart of daily prices, then divided (`node.split`) into hours,
minutes, seconds and quarter seconds. Everything in a quarter second ("tick") happens at its first millisecond. Any span
of ticks is the merge of about a hundred nodes. This module does not know outages, halts or printing: a history never
ends.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b, shake_128
from struct import unpack
from typing import Literal

from mdcache.sim.prices.node import (
    DRAW,
    EMPTY,
    HIGH_FROM,
    LOW_FROM,
    RATE_BITS,
    Node,
    Scale,
    draws_needed,
    merge,
    singles,
    split,
)
from mdcache.sim.prices.printing import SAMPLE_DECIMALS, Units

HistoryKind = Literal["trades", "index", "mark", "premium"]
Divided = Callable[["PriceHistory", int, int], tuple[Node, ...]]  # `PriceHistory.divide`, cached

TICK_MS = 250
RADIX = (24, 60, 60, 4)  # hours of a day, minutes, seconds, ticks
SPANS = (345_600, 14_400, 240, 4, 1)  # ticks in a day, hour, minute, second, tick
TICKS_A_DAY = SPANS[0]
CHART_START_DAY = 17_167  # 2017-01-01, half a year before the first listing
CHART_UNIT = 10**8
SAMPLES_A_DAY = {"index": 86_400, "mark": 86_400, "premium": 17_280}  # 60 and 12 a minute: docs/binance.md#kline-row


def first_tick(ms: int) -> int:
    """Return the number of the first tick at or after a moment."""
    return -(-ms // TICK_MS)


class Chart:
    """Daily prices in 10^-8 of the quote unit: a seeded random walk that reverts to its start."""

    def __init__(self, seed: int, name: str, start: int) -> None:
        self._key = blake2b(f"{seed}|chart|{name}".encode(), digest_size=16).digest()
        self._start = start
        self._prices = [start]

    def price(self, day: int) -> int:
        """Return the price at a day's beginning (days since the Unix epoch)."""
        wanted = max(0, day - CHART_START_DAY)
        while len(self._prices) <= wanted:
            last = self._prices[-1]
            draw = unpack("<2H", shake_128(self._key + len(self._prices).to_bytes(4, "little")).digest(4))
            change = (draw[0] + draw[1] - DRAW) * 60_000 // DRAW  # up to 6 % a day, mostly less
            moved = last + last * change // 1_000_000 + (self._start - last) // 256
            self._prices.append(max(self._start // 50, moved, 1))
        return self._prices[wanted]


class PriceHistory:
    """Candles of any span of ticks, for one instrument."""

    def __init__(
        self, seed: int, identity: str, kind: HistoryKind, units: Units, trades_per_day: int, chart: Chart,
        divided: Divided,
    ) -> None:  # fmt: skip
        self._kind: HistoryKind = kind
        self._units = units
        self._trades_per_day = trades_per_day
        self._chart = chart
        self._divided = divided
        self._key = blake2b(f"{seed}|{identity}|{kind}".encode(), digest_size=16).digest()
        self._trades_to_day = [0]  # before each day from the chart's start on
        self._even = kind != "trades"
        self._price_unit: int = 10 ** (SAMPLE_DECIMALS if self._even else units.price_places)
        self._scale = Scale(1, inverse=False) if self._even else _scale(units)

    def between(self, begin: int, end: int) -> Node:
        """Return the merge of the ticks [begin, end)."""
        return self.merged(((begin, end),))

    def merged(self, stretches: Iterable[tuple[int, int]]) -> Node:
        """Return the merge of several spans of ticks [begin, end), in order."""
        found: list[Node] = []
        for begin, end in stretches:
            if begin < end:
                self._cover(begin, end, found)
        return merge(found)

    def _cover(self, begin: int, end: int, found: list[Node]) -> None:
        """Add the fewest nodes that cover [begin, end)."""
        for day in range(begin // TICKS_A_DAY, (end - 1) // TICKS_A_DAY + 1):
            start = day * TICKS_A_DAY
            if begin <= start and start + TICKS_A_DAY <= end:
                found.append(self._day(day))
            else:
                self._collect(0, day, begin, end, found)

    def last_close(self, begin: int, end: int) -> int | None:
        """Return the close of the last trade in the ticks [begin, end), if there is one."""
        for day in range((end - 1) // TICKS_A_DAY, begin // TICKS_A_DAY - 1, -1):
            found: list[Node] = []
            self._cover(max(begin, day * TICKS_A_DAY), min(end, (day + 1) * TICKS_A_DAY), found)
            for node in reversed(found):
                if node.trades:
                    return node.close
        return None

    def first_trade(self, begin: int, end: int) -> int | None:
        """Return the tick of the first trade in [begin, end), if there is one."""
        low, high = begin, end
        for span in SPANS:
            for start in range(low // span * span, high, span):
                part = max(low, start), min(high, start + span)
                if self.between(*part).trades:
                    low, high = part
                    break
            else:
                return None
        return low

    def trades(self, tick: int) -> list[Node]:
        """Return the trades of a tick one by one; merged, they are the tick."""
        whole = self.between(tick, tick + 1)
        draws = self._draws(8, tick, 3 * whole.trades)
        return singles(whole, draws[: whole.trades], draws[whole.trades :], self._scale) if whole.trades else []

    def trades_before(self, tick: int) -> int:
        """Return the number of trades before a tick, counted from the chart's start; 0 before it."""
        day = tick // TICKS_A_DAY
        if day < CHART_START_DAY:
            return 0
        known = self._trades_to_day
        while len(known) <= day - CHART_START_DAY:
            known.append(known[-1] + self._trades(self._draws(9, CHART_START_DAY + len(known) - 1, 8)))
        start = day * TICKS_A_DAY
        return known[day - CHART_START_DAY] + (self.between(start, tick).trades if start < tick else 0)

    def _trades(self, draws: tuple[int, ...]) -> int:
        """Return the number of trades (or samples) of the day with these draws."""
        return SAMPLES_A_DAY.get(self._kind) or self._trades_per_day * (DRAW // 2 + draws[2]) // DRAW

    def _collect(self, level: int, index: int, begin: int, end: int, found: list[Node]) -> None:
        """Add the fewest nodes that cover [begin, end) within one node."""
        parts = self._parts(level, index)
        span, radix = SPANS[level + 1], RADIX[level]
        base = index * radix
        first, cut_first = divmod(max(begin - base * span, 0), span)
        last, cut_last = divmod(min(end - base * span, radix * span), span)
        if cut_first:
            if parts[first].trades:
                self._collect(level + 1, base + first, begin, end, found)
            first += 1
            if first > last:
                return
        found.extend(parts[first:last])
        if cut_last and parts[last].trades:
            self._collect(level + 1, base + last, begin, end, found)

    def _parts(self, level: int, index: int) -> tuple[Node, ...]:
        return self._divided(self, level, index)

    def divide(self, level: int, index: int) -> tuple[Node, ...]:
        """Divide a day (level 0), hour, minute or second by its number since the epoch."""
        whole = self._day(index) if level == 0 else self._part(level, index)
        count = RADIX[level]
        draws = self._draws(level, index, draws_needed(count))
        return split(whole, count, draws, even=self._even, scale=self._scale)

    def _part(self, level: int, index: int) -> Node:
        parent, place = divmod(index, RADIX[level - 1])
        return self._parts(level - 1, parent)[place]

    def _draws(self, level: int, index: int, count: int) -> tuple[int, ...]:
        data = shake_128(self._key + bytes((level,)) + index.to_bytes(6, "little")).digest(2 * count)
        return unpack(f"<{count}H", data)

    def _day(self, day: int) -> Node:
        draws = self._draws(9, day, 8)
        if self._kind == "premium":
            start, end = (draws[0] - DRAW // 2) * 2, (draws[1] - DRAW // 2) * 2  # within 0.00065
            room = DRAW
        else:
            start, end = self._price(day), self._price(day + 1)
            start += start * (draws[0] - DRAW // 2) // (DRAW * 1000)  # a gap of at most 0.05 %
            room = max(start, end) // 40
        trades = self._trades(draws)
        if not trades:
            return EMPTY
        if trades == 1:
            end = start
        top = max(start, end) + (room * draws[3] // DRAW if trades >= HIGH_FROM else 0)
        bottom = min(start, end) - (room * draws[4] // DRAW if trades >= LOW_FROM else 0)
        if self._even:
            return Node(trades, start, top, bottom, end, 0, 0, 0, 0)
        return self._with_volume(trades, (start, top, max(1, bottom), end), draws[5:])

    def _price(self, day: int) -> int:
        return max(2, self._chart.price(day) * self._price_unit // CHART_UNIT)

    def _with_volume(self, trades: int, prices: tuple[int, int, int, int], draws: tuple[int, ...]) -> Node:
        mean = self._units.trade_size(*prices)
        volume = trades + trades * mean * (DRAW // 4 + draws[0]) // DRAW
        taker = volume * (26_000 + draws[1] % 13_000) // DRAW  # 40 to 60 %
        maker = volume - taker
        (rate,) = self._scale.rates([sum(prices)])
        return Node(trades, *prices, taker, maker, taker * rate >> RATE_BITS, maker * rate >> RATE_BITS)


def _scale(units: Units) -> Scale:
    """Return the value of a unit of volume in units of turnover."""
    shift = units.turnover_places - units.quantity_places
    if units.contract_size is None:
        return Scale(10 ** (shift - units.price_places), inverse=False)
    return Scale(units.contract_size * 10 ** (shift + units.price_places), inverse=True)
