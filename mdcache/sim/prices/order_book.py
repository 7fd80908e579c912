"""Order books, tick by tick: drawn around the last price, so that any two ticks' books differ by a known list.

Prices stand on a grid of steps, one level a step, bids below the spread and asks above; if the last price is none of
them, it is the best bid. Sizes are drawn by chunks of
steps; chunks near the spread are drawn again every few ticks, those far from it never, so that little changes from tick
to tick. Books have no end: how many levels are shown is the reader's choice.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import lru_cache
from hashlib import shake_128
from itertools import islice
from struct import unpack
from typing import Literal

from mdcache.sim.config import SymbolSpec
from mdcache.sim.prices.node import DRAW
from mdcache.sim.prices.price_history import TICK_MS
from mdcache.sim.prices.printing import Units

Side = Literal["bids", "asks"]
Level = tuple[int, int]  # price, quantity

_FIRST_UPDATE = 1_027_024
_CHUNK = 32  # steps
_NEAR = 6  # chunks to either side of the spread that change
_SLOWEST = 16  # ticks until a chunk near the spread changes, at most
_STEPS_BELOW = 200_000  # about: the price in steps
_READ_CHUNK = f"<{_CHUNK}H"


class OrderBook:
    """The book of one symbol. `price`: the last trade's price at a moment, 0 before the first."""

    def __init__(self, seed: int, spec: SymbolSpec, units: Units, price: Callable[[int], int]) -> None:
        self._spec = spec
        usual = int(Decimal(spec.price) * 10**spec.price_decimals)
        self._step = max(1, usual // _STEPS_BELOW)
        self._most = 2 * units.trade_size(usual)
        self._key = f"{seed}|{spec.market}|{spec.symbol}|book|"
        self._sizes = lru_cache(4_096)(self._draw)
        self._last = lru_cache(64)(lambda tick: price(tick * TICK_MS))

    def update_id(self, at_ms: int) -> int:
        """Return the number of the last update: one a tick, whether anything changed or not."""
        return _FIRST_UPDATE + max(0, at_ms // TICK_MS - self._spec.listed_ms // TICK_MS)

    def levels(self, side: Side, count: int, at_ms: int) -> list[Level]:
        """Return one side, the best first; nothing while the symbol does not trade."""
        tick = at_ms // TICK_MS
        trades = self._last(tick) and self._spec.status_at(at_ms) == "TRADING"
        return list(islice(self._side(side, tick), count)) if trades else []

    def changes(self, after_ms: int, at_ms: int) -> dict[Side, list[Level]] | None:
        """Return the levels that changed from one moment to another, at their new sizes (0: gone).

        Returns:
            The levels, or nothing if no update lies between, or at either moment there was no book.
        """
        begin, end = after_ms // TICK_MS, at_ms // TICK_MS
        trades = self._spec.status_at(after_ms) == self._spec.status_at(at_ms) == "TRADING"
        if begin == end or not trades or not self._last(begin) or not self._last(end):
            return None
        before, now = self._top(begin), self._top(end)
        bids: list[Level] = []
        asks: list[Level] = []
        low, high = min(before, now) // _CHUNK - _NEAR, max(before, now) // _CHUNK + _NEAR
        for chunk in range(max(0, low), high + 1):
            old, new = self._revision(chunk, before, begin), self._revision(chunk, now, end)
            first = chunk * _CHUNK
            if old == new and (first > max(before, now) or first + _CHUNK - 1 <= min(before, now)):
                continue
            pairs = zip(self._sizes(chunk, old), self._sizes(chunk, new), strict=True)
            for step, (was, size) in enumerate(pairs, first):
                if (step <= before) != (step <= now):  # crossed by the spread: leaves one side for the other
                    (bids if step <= now else asks).append((step * self._step, size))
                    (asks if step <= now else bids).append((step * self._step, 0))
                elif was != size:
                    (bids if step <= now else asks).append((step * self._step, size))
        old_bid, new_bid = self._between(begin), self._between(end)
        bids += [(price, 0) for price, _ in old_bid if price not in dict(new_bid)] + new_bid
        return {"bids": [one for one in bids[::-1] if one[0]], "asks": asks}  # step 0 has no price

    def _side(self, side: Side, tick: int) -> Iterator[Level]:
        top = self._top(tick)
        step, way = (top, -1) if side == "bids" else (top + 1, 1)
        if side == "bids":
            yield from self._between(tick)
        while step > 0:
            chunk, place = divmod(step, _CHUNK)
            yield step * self._step, self._sizes(chunk, self._revision(chunk, top, tick))[place]
            step += way

    def _top(self, tick: int) -> int:
        """Return the step of the best bid on the grid; 0 for none."""
        return self._last(tick) // self._step

    def _between(self, tick: int) -> list[Level]:
        """Return the bid at the last price, if that is not on the grid."""
        price = self._last(tick)
        return [(price, self._sizes(-1, tick)[0])] if price % self._step else []

    def _revision(self, chunk: int, top: int, tick: int) -> int:
        if abs(chunk - top // _CHUNK) > _NEAR:
            return 0
        return 1 + (tick + chunk) // (1 + chunk * 7 % _SLOWEST)

    def _draw(self, chunk: int, revision: int) -> tuple[int, ...]:
        data = shake_128(f"{self._key}{chunk}|{revision}".encode()).digest(2 * _CHUNK)
        return tuple(1 + self._most * draw // DRAW for draw in unpack(_READ_CHUNK, data))
