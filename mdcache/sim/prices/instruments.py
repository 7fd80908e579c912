"""The instruments behind the symbols: price history, printing and trading sessions of each.

Histories, instruments and series are made when they are first used. They depend only on the seed and the symbol, so the
exchanges of one process share them. No HTTP, no weights.
"""

from decimal import Decimal
from functools import cache, lru_cache

from mdcache.sim.config import DAY_MS, SymbolSpec
from mdcache.sim.default_symbols import base_and_quote
from mdcache.sim.prices.grid import grid
from mdcache.sim.prices.order_book import OrderBook
from mdcache.sim.prices.price_history import CHART_UNIT, Chart, HistoryKind, PriceHistory
from mdcache.sim.prices.printing import SAMPLE_DECIMALS, Units, decimals, sample_rows, trade_rows
from mdcache.sim.prices.series import Instrument, PrintedSeries, RowCache


class Instruments:
    """All instruments of the exchange and their series.

    `units`: how a symbol counts and prints. `instrument`: what a symbol (or, for its index, its pair) traded or
    showed. `series`: its rows at one interval in one time zone; `phase`: of `3d`, if not that of the listing;
    `goes_on`: with rows after its halt, too. `book`: its order book.
    """

    def __init__(self, seed: int, cached_splits: int, cached_rows: int) -> None:
        self.seed = seed
        self._divided = lru_cache(cached_splits)(PriceHistory.divide)
        self._rows = RowCache(cached_rows)
        self._chart = cache(self._make_chart)
        self._history = cache(self._make_history)
        self.units = cache(Units)
        self.instrument = cache(self._make_instrument)
        self.series = cache(self._make_series)
        self.book = cache(self._make_book)

    def _make_series(
        self,
        spec: SymbolSpec,
        kind: HistoryKind,
        interval: str,
        offset_ms: int,
        phase: int | None = None,
        *,
        goes_on: bool = False,
    ) -> PrintedSeries:
        since_ms = spec.listed_ms if phase is None else phase * DAY_MS
        lines = grid(interval, offset_ms=offset_ms, listed_ms=since_ms)
        return PrintedSeries(self.instrument(spec, kind, goes_on=goes_on), lines, self._rows)

    def _make_book(self, spec: SymbolSpec) -> OrderBook:
        return OrderBook(self.seed, spec, self.units(spec), self.instrument(spec, "trades").price)

    def _make_instrument(self, spec: SymbolSpec, kind: HistoryKind, *, goes_on: bool = False) -> Instrument:
        units = self.units(spec)
        printer = sample_rows(decimals(SAMPLE_DECIMALS, SAMPLE_DECIMALS))
        if kind == "trades":
            printer = trade_rows(units.price, units.quantity, units.turnover)
        base, quote = base_and_quote(spec)
        chart = self._chart(base if "USD" in quote else base + quote, spec.price)
        identity = f"{spec.market}|{spec.pair if kind == 'index' else spec.symbol}"
        return Instrument(
            self._history(identity, kind, units, spec.trades_per_day, chart), printer, spec, goes_on=goes_on
        )

    def _make_history(
        self, identity: str, kind: HistoryKind, units: Units, trades_per_day: int, chart: Chart
    ) -> PriceHistory:
        return PriceHistory(self.seed, identity, kind, units, trades_per_day, chart, self._divided)

    def _make_chart(self, name: str, price: str) -> Chart:
        return Chart(self.seed, name, int(Decimal(price) * CHART_UNIT))


@lru_cache(2)
def shared_instruments(seed: int, cached_splits: int, cached_rows: int) -> Instruments:
    """Return the instruments of all exchanges of this process with that seed and caches of these sizes."""
    return Instruments(seed, cached_splits, cached_rows)
