"""The instruments behind the symbols: which price history, printed how, traded when.

Builds histories, instruments and series when they are first asked for; no HTTP, no weights.
"""

from decimal import Decimal
from functools import lru_cache

from mdcache.sim.config import SimConfig, SymbolSpec
from mdcache.sim.default_symbols import base_and_quote
from mdcache.sim.prices.grid import grid
from mdcache.sim.prices.price_history import CHART_UNIT, Chart, HistoryKind, HistorySpec, PriceHistory
from mdcache.sim.prices.printing import SAMPLE_DECIMALS, Units, decimals, sample_rows, trade_rows
from mdcache.sim.prices.series import Instrument, PrintedSeries, RowCache


class Instruments:
    """All instruments of the exchange and their series."""

    def __init__(self, config: SimConfig) -> None:
        self.seed = config.seed
        self._divided = lru_cache(config.cached_splits)(PriceHistory.divide)
        self._rows = RowCache(config.cached_rows)
        self._charts: dict[tuple[str, str], Chart] = {}
        self._histories: dict[tuple[str, HistoryKind], PriceHistory] = {}
        self._instruments: dict[tuple[SymbolSpec, HistoryKind], Instrument] = {}
        self._series: dict[tuple[SymbolSpec, HistoryKind, str, int], PrintedSeries] = {}
        self._units: dict[SymbolSpec, Units] = {}

    def series(self, spec: SymbolSpec, kind: HistoryKind, interval: str, offset_ms: int) -> PrintedSeries:
        """Return a symbol's rows at one interval in one time zone."""
        key = (spec, kind, interval, offset_ms)
        found = self._series.get(key)
        if found is None:
            lines = grid(interval, offset_ms=offset_ms, listed_ms=spec.listed_ms)
            found = self._series[key] = PrintedSeries(self.instrument(spec, kind), lines, self._rows)
        return found

    def instrument(self, spec: SymbolSpec, kind: HistoryKind) -> Instrument:
        """Return what a symbol (or, for its index, its pair) traded or showed."""
        found = self._instruments.get((spec, kind))
        if found is None:
            units = self.units(spec)
            if kind == "trades":
                printer = trade_rows(units.price, units.quantity, units.turnover)
            else:
                printer = sample_rows(decimals(SAMPLE_DECIMALS, SAMPLE_DECIMALS))
            found = self._instruments[spec, kind] = Instrument(self._history(spec, kind), printer, spec)
        return found

    def units(self, spec: SymbolSpec) -> Units:
        """Return how a symbol counts and prints."""
        found = self._units.get(spec)
        if found is None:
            found = self._units[spec] = Units(spec)
        return found

    def _history(self, spec: SymbolSpec, kind: HistoryKind) -> PriceHistory:
        identity = f"{spec.market}|{spec.pair if kind == 'index' else spec.symbol}"
        found = self._histories.get((identity, kind))
        if found is None:
            history_spec = _history_spec(spec, identity, kind, self.units(spec))
            found = PriceHistory(self.seed, history_spec, self._chart(spec), self._divided)
            self._histories[identity, kind] = found
        return found

    def _chart(self, spec: SymbolSpec) -> Chart:
        base, quote = base_and_quote(spec)
        name = spec.chart or (base if "USD" in quote else base + quote)
        found = self._charts.get((name, spec.price))
        if found is None:
            found = Chart(self.seed, name, int(Decimal(spec.price) * CHART_UNIT))
            self._charts[name, spec.price] = found
        return found


def _history_spec(spec: SymbolSpec, identity: str, kind: HistoryKind, units: Units) -> HistorySpec:
    """Return how a history counts."""
    if kind != "trades":
        return HistorySpec(identity, kind, SAMPLE_DECIMALS, 0, SAMPLE_DECIMALS, 0)
    return HistorySpec(
        identity, kind, units.price_places, units.quantity_places, units.turnover_places, spec.trades_per_day,
        units.notional, units.contract_size,
    )  # fmt: skip
