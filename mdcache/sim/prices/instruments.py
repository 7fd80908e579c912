"""The instruments behind the names in questions: which history, printed how, with whose listing.

Builds tapes, instruments, trades and series when first asked for; no HTTP, no weights.
"""

from decimal import Decimal

from mdcache.sim.api.kline_query import KlineQuery
from mdcache.sim.api.routes import KlineKind
from mdcache.sim.api.trades import Trades
from mdcache.sim.config import Market, SimConfig, SymbolSpec
from mdcache.sim.default_symbols import base_and_quote
from mdcache.sim.listings import Listings
from mdcache.sim.prices.grid import grid
from mdcache.sim.prices.price_history import CHART_UNIT, Chart, HistorySpec, Kind, PriceHistory, SplitCache
from mdcache.sim.prices.printing import Printer, decimals, sample_rows, trade_rows
from mdcache.sim.prices.series import Instrument, PrintedSeries, RowCache
from mdcache.sim.prices.units import SAMPLE_DECIMALS, Units

_HISTORY_KINDS: dict[KlineKind, Kind] = {
    "indexPriceKlines": "index",
    "markPriceKlines": "mark",
    "premiumIndexKlines": "premium",
}


class Instruments:
    """All symbols of the exchange, their instruments and their series."""

    def __init__(self, config: SimConfig, listings: Listings) -> None:
        self.seed = config.seed
        self.listings = listings
        self._splits = SplitCache(config.cached_splits)
        self._rows = RowCache(config.cached_rows)
        self._charts: dict[tuple[str, str], Chart] = {}
        self._histories: dict[tuple[str, Kind], PriceHistory] = {}
        self._instruments: dict[tuple[SymbolSpec, Kind], Instrument] = {}
        self._series: dict[tuple[SymbolSpec, Kind, str, int], PrintedSeries] = {}
        self._units: dict[SymbolSpec, Units] = {}
        self._trades: dict[SymbolSpec, Trades] = {}

    def knows(self, market: Market, name: str, at_ms: int, *, pair: bool) -> bool:
        """Whether the market lists a symbol, or some contract of a pair."""
        if not pair:
            return self.listings.find(market, name, at_ms) is not None
        return any(name == spec.pair for spec in self.listings.visible(market, at_ms))

    def series(self, question: KlineQuery, at_ms: int) -> PrintedSeries | None:
        """The series a question is about; `None` where a known pair has no such contract."""
        kind = _HISTORY_KINDS.get(question.kind, "trades")
        specs = [spec for spec in self.listings.visible(question.market, at_ms) if _meant(spec, question)]
        if not specs:
            return None
        spec = min(specs, key=lambda one: one.listed_ms)
        key = (spec, kind, question.interval, question.offset_ms)
        series = self._series.get(key)
        if series is None:
            instrument = self.instrument(spec, kind)
            lines = grid(question.interval, offset_ms=question.offset_ms, listed_ms=instrument.listed_ms)
            series = self._series[key] = PrintedSeries(instrument, lines, self._rows)
        return series

    def instrument(self, spec: SymbolSpec, kind: Kind) -> Instrument:
        """What a symbol (or, for its index, its pair) traded or showed."""
        found = self._instruments.get((spec, kind))
        if found is None:
            history = self._history(spec, kind)
            printer = _printer(self.units(spec), kind)
            found = self._instruments[spec, kind] = Instrument(
                history, printer, listed_ms=spec.listed_ms, halted_ms=spec.halted_ms, outages=spec.outages
            )
        return found

    def trades(self, spec: SymbolSpec) -> Trades:
        """A symbol's trades one by one."""
        found = self._trades.get(spec)
        if found is None:
            found = self._trades[spec] = Trades(self.instrument(spec, "trades"))
        return found

    def units(self, spec: SymbolSpec) -> Units:
        """How a symbol counts and prints."""
        found = self._units.get(spec)
        if found is None:
            found = self._units[spec] = Units(spec)
        return found

    def _history(self, spec: SymbolSpec, kind: Kind) -> PriceHistory:
        identity = f"{spec.market}|{spec.pair if kind == 'index' else spec.symbol}"
        found = self._histories.get((identity, kind))
        if found is None:
            history_spec = _history_spec(spec, identity, kind, self.units(spec))
            found = self._histories[identity, kind] = PriceHistory(
                self.seed, history_spec, self._chart(spec), self._splits
            )
        return found

    def _chart(self, spec: SymbolSpec) -> Chart:
        base, quote = base_and_quote(spec)
        name = spec.chart or (base if "USD" in quote else base + quote)
        found = self._charts.get((name, spec.price))
        if found is None:
            start = int(Decimal(spec.price) * CHART_UNIT)
            found = self._charts[name, spec.price] = Chart(self.seed, name, start)
        return found


def _meant(spec: SymbolSpec, question: KlineQuery) -> bool:
    if question.kind == "continuousKlines":
        return (spec.pair, spec.contract_type) == (question.name, question.contract_type)
    return question.name == (spec.pair if question.kind == "indexPriceKlines" else spec.symbol)


def _history_spec(spec: SymbolSpec, identity: str, kind: Kind, units: Units) -> HistorySpec:
    """How a history counts."""
    if kind != "trades":
        return HistorySpec(identity, kind, SAMPLE_DECIMALS, 0, SAMPLE_DECIMALS, 0)
    _, quote = base_and_quote(spec)
    notional = 2_000 if "USD" in quote else 1
    return HistorySpec(
        identity, kind, units.price_places, units.quantity_places, units.turnover_places, spec.trades_per_day,
        notional, units.contract_size,
    )  # fmt: skip


def _printer(units: Units, kind: Kind) -> Printer:
    """How an instrument's candles are printed."""
    if kind != "trades":
        return sample_rows(decimals(SAMPLE_DECIMALS, SAMPLE_DECIMALS))
    return trade_rows(units.price, units.quantity, units.turnover)
