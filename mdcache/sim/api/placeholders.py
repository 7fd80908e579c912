"""Compute the values of the templates' placeholders, for one symbol at one moment.

Prices and volumes are those of the symbol's candles. Everything else is random, keyed by seed, symbol and a bucket of
time, so that the same question always has the same answer, and answers change with time.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from hashlib import shake_128
from struct import unpack

from mdcache.sim.api.query import Query
from mdcache.sim.config import DAY_MS, SymbolSpec
from mdcache.sim.default_symbols import base_and_quote
from mdcache.sim.prices.instruments import Instruments
from mdcache.sim.prices.node import DRAW, Node
from mdcache.sim.prices.order_book import Level, OrderBook, Side
from mdcache.sim.prices.price_history import TICK_MS, HistoryKind
from mdcache.sim.prices.printing import SAMPLE_DECIMALS, decimals

FUNDING_MS = 8 * 3_600_000  # fundingIntervalHours: 8, Get-Funding-Rate-Info page
_MINUTE_MS, _FIVE_MINUTES_MS, _HALF_HOUR_MS = 60_000, 300_000, 1_800_000
_USUAL_RATE = 10_000  # a funding rate of 0.0001 in 10^-8
_RISKS = ("low", "low", "medium", "high")
_NO_PRICES = Node(0, 0, 0, 0, 0, 0, 0, 0, 0)
_THREE, _FOUR, _EIGHT = decimals(3, 3), decimals(4, 4), decimals(8, 8)


def draws(seed: int, count: int, *about: object) -> tuple[int, ...]:
    """Return random numbers in [0, DRAW), always the same for the same arguments."""
    key = "|".join(map(str, (seed, *about)))
    return unpack(f"<{count}H", shake_128(key.encode()).digest(2 * count))


def trade_step_ms(spec: SymbolSpec) -> int:
    """Return the time from one trade to the next in lists of trades; 0 if there are none."""
    return max(1, DAY_MS // spec.trades_per_day) if spec.trades_per_day else 0


def is_perpetual(spec: SymbolSpec) -> bool:
    """Return whether a contract pays funding."""
    return spec.contract_type in {None, "PERPETUAL"}


class Placeholders:
    """A symbol at a moment, as a mapping for templates; `candle` is that of [begin_ms, end_ms)."""

    def __init__(
        self, instruments: Instruments, query: Query, spec: SymbolSpec, at_ms: int, begin_ms: int, end_ms: int
    ) -> None:
        self._instruments = instruments
        self.query, self.spec, self.at_ms = query, spec, at_ms
        self.begin_ms, self.end_ms = begin_ms, end_ms
        self.units = instruments.units(spec)
        self.base, self.quote = base_and_quote(spec)
        self.perpetual = is_perpetual(spec)

    def __getitem__(self, name: str) -> object:
        """Return the value of a placeholder."""
        return _PLACEHOLDERS[name](self)

    @cached_property
    def last(self) -> int:
        """The price of the last trade; 0 before the first."""
        return self.sample("trades")

    @cached_property
    def candle(self) -> Node:
        """What was traded in the span; the last price if nothing was."""
        traded = self._instruments.instrument(self.spec, "trades").candle(self.begin_ms, self.end_ms, self.at_ms)
        price = self.last
        return traded if traded.trades else _NO_PRICES._replace(open=price, high=price, low=price, close=price)

    @cached_property
    def index(self) -> int:
        """The index price in 10^-8."""
        return self.sample("index")

    @cached_property
    def interest(self) -> int:
        """The open interest in the units of quantities."""
        held = self.spec.trades_per_day * self.units.trade_size(self.last)
        return held * (3 * DRAW + self.draw("interest", _FIVE_MINUTES_MS)) // (4 * DRAW)

    @property
    def future(self) -> int:
        """The last price in 10^-8."""
        unit: int = 10 ** (SAMPLE_DECIMALS - self.units.price_places)
        return self.last * unit

    @property
    def last_trade_ms(self) -> int:
        """When a symbol last traded, as tickers show it; 0 before it ever did."""
        end_ms = self.at_ms if self.spec.halted_ms is None else min(self.at_ms, self.spec.halted_ms)
        return end_ms // TICK_MS * TICK_MS if self.last else 0

    @property
    def last_id(self) -> int:
        """The number of the last trade of the span; -1 if it has none."""
        traded = self.candle.trades
        return (min(self.end_ms, self.at_ms) - self.spec.listed_ms) // trade_step_ms(self.spec) if traded else -1

    @property
    def last_trade(self) -> int:
        """The number of the last trade, as streams have it."""
        history = self._instruments.instrument(self.spec, "trades").history
        return history.trades_before(self.at_ms // TICK_MS + 1) - 1

    @property
    def long(self) -> int:
        """The share of long positions in 10^-4: 35 to 65 %."""
        return 3_500 + 3_000 * self.draw(self.query.endpoint, _FIVE_MINUTES_MS) // DRAW

    def sample(self, kind: HistoryKind) -> int:
        """Return the last price of a kind; 0 if there was none yet."""
        return self._instruments.instrument(self.spec, kind).price(self.at_ms)

    def draw(self, what: str, step_ms: int) -> int:
        """Return a random number in [0, DRAW) that changes every `step_ms`."""
        bucket = self.at_ms // step_ms
        return draws(self._instruments.seed, 1, self.spec.market, self.spec.symbol, what, bucket)[0]

    @property
    def book(self) -> OrderBook:
        """The symbol's order book."""
        return self._instruments.book(self.spec)

    def printed_levels(self, side: Side) -> str:
        """Return one side of the order book as it is printed."""
        return self.units.levels(self.book.levels(side, self.query.limit, self.at_ms))

    def best(self, side: Side) -> Level:
        """Return the best price of a side and its quantity; zeros for none."""
        return next(iter(self.book.levels(side, 1, self.at_ms)), (0, 0))


def _percent(values: Placeholders) -> str:
    candle = values.candle
    return _THREE(100_000 * (candle.close - candle.open) // candle.open if candle.open else 0)


def _close_time(values: Placeholders) -> int:
    if values.query.endpoint == "ticker/tradingDay":
        return values.query.time(values.end_ms) - 1
    return values.query.time(values.at_ms)


def _reference(values: Placeholders) -> str:
    """Print a reference price: null while trading is halted."""
    return f'"{values["last"]}"' if values.spec.status_at(values.at_ms) == "TRADING" else "null"


def _no_funding(values: Placeholders) -> str:
    return "" if values.spec.market == "coinm" else "0.00000000"


def _funding_rate(values: Placeholders) -> str:
    return _EIGHT(_USUAL_RATE + values.draw("funding", FUNDING_MS) // 2 - DRAW // 4)


def _interest_value(values: Placeholders) -> str:
    """Print the value of the open interest in dollars, or in the base asset on coinm."""
    return _EIGHT(values.units.worth(values.last, values.interest) * 10**8 // 10**values.units.turnover_places)


def _bucket(step_ms: int) -> Callable[[Placeholders], object]:
    return lambda values: values.query.time(values.at_ms // step_ms * step_ms)


_PLACEHOLDERS: Mapping[str, Callable[[Placeholders], object]] = {
    "symbol": lambda values: values.spec.symbol,
    "pair": lambda values: values.spec.pair,
    "name": lambda values: values.query.name,
    "base": lambda values: values.base,
    "quote": lambda values: values.quote,
    "type": lambda values: values.spec.contract_type,
    "product": lambda values: 1 if values.spec.market == "usdm" else 2,
    "contract_type": lambda values: values.query.values.get("contractType"),
    # moments
    "now": lambda values: values.at_ms,
    "event": lambda values: values.query.time(values.at_ms),
    "tick": _bucket(TICK_MS),
    "half_hour": _bucket(_HALF_HOUR_MS),
    "today": _bucket(DAY_MS),
    "tomorrow": lambda values: values.at_ms // DAY_MS * DAY_MS + DAY_MS,
    "last_time": lambda values: values.query.time(values.last_trade_ms),
    "open_time": lambda values: values.query.time(values.begin_ms),
    "close_time": _close_time,
    "next_funding": lambda values: values.at_ms // FUNDING_MS * FUNDING_MS + FUNDING_MS if values.perpetual else 0,
    # prices and volumes
    "last": lambda values: values.units.price(values.last),
    "reference": _reference,
    "last_size": lambda values: values.units.quantity(values.units.trade_size(values.last) if values.last else 0),
    "open": lambda values: values.units.price(values.candle.open),
    "high": lambda values: values.units.price(values.candle.high),
    "low": lambda values: values.units.price(values.candle.low),
    "change": lambda values: values.units.price(values.candle.close - values.candle.open),
    "percent": _percent,
    "mean": lambda values: values.units.mean(values.candle),
    "mean_or_last": lambda values: values.units.mean(values.candle) if values.candle.trades else values["last"],
    "volume": lambda values: values.units.quantity(values.candle.taker + values.candle.maker),
    "turnover": lambda values: values.units.turnover(values.candle.taker_quote + values.candle.maker_quote),
    "first_id": lambda values: max(-1, values.last_id - values.candle.trades + 1) if values.candle.trades else -1,
    "last_id": lambda values: values.last_id,
    "first_trade": lambda values: values.last_trade - values.candle.trades + 1,
    "last_trade": lambda values: values.last_trade,
    "count": lambda values: values.candle.trades,
    # order books
    "update_id": lambda values: values.book.update_id(values.at_ms),
    "bids": lambda values: values.printed_levels("bids"),
    "asks": lambda values: values.printed_levels("asks"),
    "bid": lambda values: values.units.price(values.best("bids")[0]),
    "bid_size": lambda values: values.units.quantity(values.best("bids")[1]),
    "ask": lambda values: values.units.price(values.best("asks")[0]),
    "ask_size": lambda values: values.units.quantity(values.best("asks")[1]),
    # futures
    "mark": lambda values: _EIGHT(values.sample("mark")),
    "index": lambda values: _EIGHT(values.index),
    "index_below": lambda values: _EIGHT(values.index * 9 // 10),
    "index_above": lambda values: _EIGHT(values.index * 11 // 10),
    "index_number": lambda values: repr(round(values.index / 10**SAMPLE_DECIMALS, values.spec.price_decimals)),
    "funding_rate": lambda values: _funding_rate(values) if values.perpetual else _no_funding(values),
    "interest_rate": lambda values: "0.00010000" if values.perpetual else _no_funding(values),
    "risk": lambda values: _RISKS[values.draw("risk", _HALF_HOUR_MS) * len(_RISKS) // DRAW],
    "fund": lambda values: _EIGHT(values.draw("fund", DAY_MS) * 10**12),
    "interest": lambda values: values.units.quantity(values.interest),
    "interest_sum": lambda values: _EIGHT(values.interest * 10 ** (8 - values.units.quantity_places)),
    "interest_value": _interest_value,
    "supply": lambda values: _EIGHT(20 * values.interest * 10 ** (8 - values.units.quantity_places)),
    "long": lambda values: _FOUR(values.long),
    "short": lambda values: _FOUR(10_000 - values.long),
    "long_to_short": lambda values: _FOUR(10_000 * values.long // (10_000 - values.long)),
    "buys": lambda values: values.units.quantity(values.candle.taker),
    "sales": lambda values: values.units.quantity(values.candle.maker),
    "buys_value": lambda values: values.units.turnover(values.candle.taker_quote),
    "sales_value": lambda values: values.units.turnover(values.candle.maker_quote),
    "buys_to_sales": lambda values: _FOUR(10_000 * values.candle.taker // max(1, values.candle.maker)),
    "basis": lambda values: _EIGHT(values.future - values.index),
    "basis_rate": lambda values: _FOUR(10_000 * (values.future - values.index) // max(1, values.index)),
}
