"""What can be said of a symbol at a moment: its last trade, its best prices, its index, its luck.

Everything follows from the symbol's own tapes and from draws keyed by seed, symbol and time.
"""

from hashlib import shake_128
from struct import unpack

from mdcache.sim.api.trades import Trade
from mdcache.sim.config import SymbolSpec
from mdcache.sim.prices.instruments import Instruments
from mdcache.sim.prices.node import DRAW, Node
from mdcache.sim.prices.price_history import TICK_MS, Kind

Level = tuple[int, int]  # price, quantity
Sides = tuple[list[Level], list[Level]]  # bids, asks


class Facts:
    """Facts about symbols, computed anew at each question."""

    def __init__(self, instruments: Instruments) -> None:
        self.instruments = instruments
        self.units = instruments.units
        self.trades = instruments.trades

    def draws(self, count: int, *about: object) -> tuple[int, ...]:
        """Random numbers in [0, DRAW) that always are the same for the same things."""
        key = "|".join(map(str, (self.instruments.seed, *about)))
        return unpack(f"<{count}H", shake_128(key.encode()).digest(2 * count))

    def last(self, spec: SymbolSpec, at_ms: int) -> Trade | None:
        """The last trade, if there was one."""
        return self.instruments.trades(spec).last(at_ms)

    def traded(self, spec: SymbolSpec, start_ms: int, end_ms: int, at_ms: int) -> Node:
        """The candle of [start_ms, end_ms), as known at a moment."""
        instrument = self.instruments.instrument(spec, "trades")
        return instrument.traded(start_ms, min(end_ms, at_ms + 1), instrument.sessions(at_ms, instrument.closed(at_ms)))

    def sample(self, spec: SymbolSpec, kind: Kind, at_ms: int) -> int:
        """An index's or mark price's last sample; 0 where there was none yet."""
        instrument = self.instruments.instrument(spec, kind)
        open_for = instrument.sessions(at_ms, instrument.closed(at_ms))
        return instrument.close_before(at_ms + 1, open_for) if open_for else 0

    def sides(self, spec: SymbolSpec, at_ms: int, levels: int) -> Sides:
        """The best bids and asks round the last trade, the best first; none while it does not trade."""
        last = self.last(spec, at_ms)
        if last is None or spec.status_at(at_ms) != "TRADING":
            return [], []
        tick = at_ms // TICK_MS
        price = last.node.close
        best_bid = price if last.buyer_maker else price - 1
        mean = 2 * (last.node.taker + last.node.maker)
        bids, asks = (self.draws(2 * levels, spec.market, spec.symbol, side, tick) for side in ("bids", "asks"))
        return _side(best_bid, -1, mean, bids), _side(best_bid + 1, 1, mean, asks)


def _side(best: int, step: int, mean: int, draws: tuple[int, ...]) -> list[Level]:
    """One side of the book, from its best price on; no price below one unit."""
    found: list[Level] = []
    price = best
    for gap, size in zip(draws[::2], draws[1::2], strict=True):
        if price < 1:
            break
        found.append((price, 1 + mean * size // DRAW))
        price += step * (1 + gap * gap // (DRAW * DRAW // 4))
    return found
