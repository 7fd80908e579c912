"""The instruments behind the names in questions: which tape, printed how, with whose listing.

Builds tapes, instruments and series when first asked for; no HTTP, no weights.
"""

from collections.abc import Iterable
from decimal import Decimal

from mdcache.sim.config import SPOT_DECIMALS, Market, SimConfig, SymbolSpec
from mdcache.sim.grid import grid
from mdcache.sim.printing import Printer, decimals, sample_rows, trade_rows
from mdcache.sim.questions import Question
from mdcache.sim.routes import KlineKind
from mdcache.sim.series import Instrument, RowCache, Series
from mdcache.sim.tape import CHART_UNIT, Chart, Kind, SplitCache, Tape, TapeSpec
from mdcache.sim.world import base_and_quote

COIN_DECIMALS = 8  # coinm prints turnover in the base asset with 8: Kline page of dapi
SAMPLE_DECIMALS = 8  # live fapi index rows, 2026-09-15, and the premium page's sample
_TAPE_KINDS: dict[KlineKind, Kind] = {
    "indexPriceKlines": "index",
    "markPriceKlines": "mark",
    "premiumIndexKlines": "premium",
}


class Book:
    """All symbols of the exchange and their series."""

    def __init__(self, config: SimConfig, symbols: Iterable[SymbolSpec]) -> None:
        self._seed = config.seed
        self._specs = tuple(symbols)
        self._splits = SplitCache(config.cached_splits)
        self._rows = RowCache(config.cached_rows)
        self._charts: dict[tuple[str, str], Chart] = {}
        self._instruments: dict[tuple[str, Kind], Instrument] = {}
        self._series: dict[tuple[str, Kind, str, int], Series] = {}

    def visible(self, market: Market, at_ms: int) -> list[SymbolSpec]:
        """What the market's `exchangeInfo` lists at a moment."""
        return [spec for spec in self._specs if spec.market == market and spec.visible(at_ms)]

    def knows(self, market: Market, name: str, at_ms: int, *, pair: bool) -> bool:
        """Whether the market lists a symbol, or some contract of a pair."""
        return any(name == (spec.pair if pair else spec.symbol) for spec in self.visible(market, at_ms))

    def series(self, question: Question, at_ms: int) -> Series | None:
        """The series a question is about; `None` where a known pair has no such contract."""
        kind = _TAPE_KINDS.get(question.kind, "trades")
        specs = [spec for spec in self.visible(question.market, at_ms) if _meant(spec, question)]
        if not specs:
            return None
        spec = min(specs, key=lambda one: one.listed_ms)
        identity = f"{question.market}|{spec.pair if kind == 'index' else spec.symbol}"
        key = (identity, kind, question.interval, question.offset_ms)
        series = self._series.get(key)
        if series is None:
            instrument = self._instrument(spec, identity, kind)
            lines = grid(question.interval, offset_ms=question.offset_ms, listed_ms=instrument.listed_ms)
            series = self._series[key] = Series(instrument, lines, self._rows)
        return series

    def _instrument(self, spec: SymbolSpec, identity: str, kind: Kind) -> Instrument:
        found = self._instruments.get((identity, kind))
        if found is None:
            tape_spec, printer = _form(spec, identity, kind)
            tape = Tape(self._seed, tape_spec, self._chart(spec), self._splits)
            found = self._instruments[identity, kind] = Instrument(
                tape, printer, listed_ms=spec.listed_ms, halted_ms=spec.halted_ms, outages=spec.outages
            )
        return found

    def _chart(self, spec: SymbolSpec) -> Chart:
        base, quote = base_and_quote(spec)
        name = spec.chart or (base if "USD" in quote else base + quote)
        found = self._charts.get((name, spec.price))
        if found is None:
            start = int(Decimal(spec.price) * CHART_UNIT)
            found = self._charts[name, spec.price] = Chart(self._seed, name, start)
        return found


def _meant(spec: SymbolSpec, question: Question) -> bool:
    if question.kind == "continuousKlines":
        return (spec.pair, spec.contract_type) == (question.name, question.contract_type)
    return question.name == (spec.pair if question.kind == "indexPriceKlines" else spec.symbol)


def _form(spec: SymbolSpec, identity: str, kind: Kind) -> tuple[TapeSpec, Printer]:
    """How an instrument counts and prints."""
    if kind != "trades":
        price = decimals(SAMPLE_DECIMALS, SAMPLE_DECIMALS)
        return TapeSpec(identity, kind, SAMPLE_DECIMALS, 0, SAMPLE_DECIMALS, 0), sample_rows(price)
    places, quantity = spec.price_decimals, spec.quantity_decimals
    size = None
    if spec.market == "spot":
        printed, volume, turnover = SPOT_DECIMALS, SPOT_DECIMALS, SPOT_DECIMALS
    elif spec.market == "usdm":
        printed, volume = spec.printed_decimals or places, quantity
        turnover = printed + volume
    else:
        printed, volume, turnover = spec.printed_decimals or places, quantity, COIN_DECIMALS
        size = spec.contract_size
    _, quote = base_and_quote(spec)
    notional = 2_000 if "USD" in quote else 1
    tape_spec = TapeSpec(identity, kind, places, quantity, turnover, spec.trades_per_day, notional, size)
    printer = trade_rows(decimals(places, printed), decimals(quantity, volume), decimals(turnover, turnover))
    return tape_spec, printer
