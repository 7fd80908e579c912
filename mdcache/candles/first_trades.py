"""How many trades a symbol had since a moment: told by the first trade of each open candle. Pure.

Trades are numbered one by one, so the numbers of two candles' first trades differ by the trades between their open
times (docs/design.md#trade-counts).
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple


class TradeCount(NamedTuple):
    """The number of trades from one moment to another."""

    open_ms: int
    end_ms: int
    trades: int


class FirstTrades:
    """The first trade of the newest candle of each interval, by symbol, of one market."""

    def __init__(self) -> None:
        self._first: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)

    def take(self, symbol: str, interval: str, open_ms: int, number: int) -> None:
        """Record the number of the first trade of a candle; a negative number is none."""
        if number >= 0 and open_ms >= self._first[symbol].get(interval, (0, 0))[0]:
            self._first[symbol][interval] = open_ms, number

    def counts(self, symbol: str, interval: str) -> list[TradeCount]:
        """Return the trades up to the open time of an interval's newest candle, the latest beginning first."""
        known = self._first.get(symbol, {})
        if interval not in known:
            return []
        end_ms, end = known[interval]
        return [
            TradeCount(open_ms, end_ms, end - number) for open_ms, number in self.opened(symbol) if open_ms < end_ms
        ]

    def opened(self, symbol: str) -> Iterator[tuple[int, int]]:
        """Yield the open times of the newest candles and the numbers of their first trades, the latest one first.

        A greater number than that of a later candle is left out: the numbers have begun anew since.
        """
        least: int | None = None
        for open_ms, number in sorted(set(self._first.get(symbol, {}).values()), reverse=True):
            if least is None or number <= least:
                least = number
                yield open_ms, number
