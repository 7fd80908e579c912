"""Statistics of a stretch of trading: ticker/24hr, ticker/tradingDay, ticker, avgPrice."""

from mdcache.sim.api.facts import Facts
from mdcache.sim.api.order_book import best
from mdcache.sim.api.query import DataQuery
from mdcache.sim.api.trades import Trade
from mdcache.sim.config import DAY_MS, SymbolSpec
from mdcache.sim.prices.node import Node
from mdcache.sim.prices.printing import Json, decimals

_MINUTE_MS = 60_000
_AVERAGE_MINUTES = 5  # rest-api.md, GET /api/v3/avgPrice
_UNITS_MS = {"m": _MINUTE_MS, "h": 60 * _MINUTE_MS, "d": DAY_MS}
_PERCENT = decimals(3, 3)


class Stretch:
    """What a ticker tells of [open_ms, end_ms), as known at a moment."""

    def __init__(self, facts: Facts, spec: SymbolSpec, open_ms: int, end_ms: int, at_ms: int) -> None:
        self.open_ms, self.end_ms = open_ms, end_ms
        self.units = facts.units(spec)
        self.last = facts.last(spec, at_ms)
        node = facts.traded(spec, open_ms, end_ms, at_ms)
        self.count = node.trades
        self.first_id = facts.trades(spec).number_at(open_ms) if node.trades else -1
        self.last_id = self.last.number if node.trades and self.last else -1
        price = self.last.node.close if self.last else 0
        self.node = node if node.trades else Node(0, price, price, price, price, 0, 0, 0, 0)

    def change(self) -> Json:
        """The change of the price, in its unit and in percent, and the average."""
        change = self.node.close - self.node.open
        percent = 100_000 * change // self.node.open if self.node.open else 0
        return {
            "priceChange": self.units.price(change),
            "priceChangePercent": _PERCENT(percent),
            "weightedAvgPrice": self.units.mean(self.node),
        }

    def prices(self) -> Json:
        """Open, high and low."""
        return {
            "openPrice": self.units.price(self.node.open),
            "highPrice": self.units.price(self.node.high),
            "lowPrice": self.units.price(self.node.low),
        }

    def close(self) -> Json:
        """The last price."""
        return {"lastPrice": self.units.price(self.node.close)}

    def sums(self, asked: DataQuery, close_time: int) -> Json:
        """Volumes, times and trade numbers; `close_time` in the unit asked for."""
        node = self.node
        turnover = "baseVolume" if asked.market == "coinm" else "quoteVolume"
        return {
            "volume": self.units.quantity(node.taker + node.maker),
            turnover: self.units.turnover(node.taker_quote + node.maker_quote),
            "openTime": asked.time(self.open_ms),
            "closeTime": close_time,
            "firstId": self.first_id,
            "lastId": self.last_id,
            "count": self.count,
        }


def day_ticker(facts: Facts, asked: DataQuery, spec: SymbolSpec, at_ms: int) -> Json:
    """The last 24 hours of a symbol; on futures they begin with a whole minute."""
    open_ms = at_ms - DAY_MS
    if spec.market != "spot":
        open_ms -= open_ms % _MINUTE_MS
    told = Stretch(facts, spec, open_ms, at_ms + 1, at_ms)
    sums = told.sums(asked, asked.time(at_ms))
    body: Json = {"symbol": spec.symbol}
    if asked.mini:
        return body | told.prices() | told.close() | sums
    last = {"lastQty": told.units.quantity(_size(told.last))}
    if spec.market == "spot":
        (bid_price, bid), (ask_price, ask) = best(facts, spec, at_ms)
        before = facts.last(spec, open_ms - 1)
        quotes = {
            "bidPrice": told.units.price(bid_price),
            "bidQty": told.units.quantity(bid),
            "askPrice": told.units.price(ask_price),
            "askQty": told.units.quantity(ask),
        }
        previous = {"prevClosePrice": told.units.price(before.node.close if before else told.node.open)}
        return body | told.change() | previous | told.close() | last | quotes | told.prices() | sums
    if spec.market == "coinm":
        body["pair"] = spec.pair
    return body | told.change() | told.close() | last | told.prices() | sums


def trading_day(facts: Facts, asked: DataQuery, spec: SymbolSpec, at_ms: int) -> Json:
    """The running day of a time zone."""
    open_ms = (at_ms + asked.offset_ms) // DAY_MS * DAY_MS - asked.offset_ms
    close_time = asked.time(open_ms + DAY_MS) - 1
    return _spot(Stretch(facts, spec, open_ms, open_ms + DAY_MS, at_ms), asked, spec, close_time)


def rolling(facts: Facts, asked: DataQuery, spec: SymbolSpec, at_ms: int) -> Json:
    """A window of the size asked for, from a whole minute on."""
    size_ms = int(asked.window_size[:-1]) * _UNITS_MS[asked.window_size[-1]]
    open_ms = (at_ms - size_ms) // _MINUTE_MS * _MINUTE_MS
    return _spot(Stretch(facts, spec, open_ms, at_ms + 1, at_ms), asked, spec, asked.time(at_ms))


def average(facts: Facts, asked: DataQuery, at_ms: int) -> Json:
    """GET avgPrice: the last five minutes' average, or the last price if nobody traded."""
    (spec,) = asked.specs
    told = Stretch(facts, spec, at_ms - _AVERAGE_MINUTES * _MINUTE_MS, at_ms + 1, at_ms)
    price = told.units.mean(told.node) if told.count else told.units.price(told.node.close)
    closed_ms = told.last.time_ms if told.last else 0
    return {"mins": _AVERAGE_MINUTES, "price": price, "closeTime": asked.time(closed_ms)}


def _spot(told: Stretch, asked: DataQuery, spec: SymbolSpec, close_time: int) -> Json:
    change = {} if asked.mini else told.change()
    return {"symbol": spec.symbol} | change | told.prices() | told.close() | told.sums(asked, close_time)


def _size(trade: Trade | None) -> int:
    return trade.node.taker + trade.node.maker if trade else 0
