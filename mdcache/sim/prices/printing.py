"""Print rows and numbers as Binance does: compact JSON, with each market's decimals (docs/binance.md#kline-row)."""

from collections.abc import Callable, Iterable

from mdcache.sim.config import SPOT_DECIMALS, SymbolSpec
from mdcache.sim.default_symbols import base_and_quote
from mdcache.sim.prices.node import Node

Printer = Callable[[int, int, Node], bytes]  # open time, close time (both ms), candle
COIN_DECIMALS = 8  # coinm prints turnover in the base asset with 8: Kline page of dapi
SAMPLE_DECIMALS = 8  # live fapi index rows, 2026-09-15, and the premium page's sample


def decimals(places: int, printed: int) -> Callable[[int], str]:
    """Return a printer of integers in 10^-places with `printed` (at least `places`) digits after the point."""
    padding = "0" * (printed - places)
    unit = 10**places

    def whole(value: int) -> str:
        return f"{value}.{padding}" if printed else str(value)

    def parts(value: int) -> str:
        sign = "-" if value < 0 else ""
        left, right = divmod(abs(value), unit)
        return f"{sign}{left}.{right:0{places}d}{padding}"

    return parts if places else whole


def trade_rows(price: Callable[[int], str], volume: Callable[[int], str], quote: Callable[[int], str]) -> Printer:
    """Return a printer of traded candles."""

    def row(open_ms: int, close_ms: int, node: Node) -> bytes:
        trades, open_, high, low, close, taker, maker, taker_quote, maker_quote = node
        return (
            f'[{open_ms},"{price(open_)}","{price(high)}","{price(low)}","{price(close)}"'
            f',"{volume(taker + maker)}",{close_ms},"{quote(taker_quote + maker_quote)}",{trades}'
            f',"{volume(taker)}","{quote(taker_quote)}","0"]'
        ).encode()

    return row


def sample_rows(price: Callable[[int], str]) -> Printer:
    """Return a printer of index, mark and premium candles: no volume, and the number of samples as trades."""

    def row(open_ms: int, close_ms: int, node: Node) -> bytes:
        samples, open_, high, low, close, *_ = node
        return (
            f'[{open_ms},"{price(open_)}","{price(high)}","{price(low)}","{price(close)}"'
            f',"0",{close_ms},"0",{samples},"0","0","0"]'
        ).encode()

    return row


def in_microseconds(row: bytes, close: bytes = b"999") -> bytes:
    """Return the row with times in microseconds: the first of the open's millisecond, the last of the close's."""
    fields = row[1:].split(b",")
    fields[0] += b"000"
    fields[6] += close
    return b"[" + b",".join(fields)


class Units:
    """A symbol's units (decimal places of integers), and its printers of prices, quantities and turnovers."""

    def __init__(self, spec: SymbolSpec) -> None:
        self.price_places, self.quantity_places = spec.price_decimals, spec.quantity_decimals
        self.contract_size = spec.contract_size if spec.market == "coinm" else None
        self.notional = 2_000 if "USD" in base_and_quote(spec)[1] else 1  # of an average trade, in the quote unit
        self.price_printed = spec.printed_decimals or spec.price_decimals
        quantity_printed = spec.quantity_decimals
        if spec.market == "spot":
            self.price_printed = quantity_printed = self.turnover_places = SPOT_DECIMALS
        elif spec.market == "usdm":
            self.turnover_places = self.price_printed + quantity_printed
        else:
            self.turnover_places = COIN_DECIMALS
        self.price = decimals(self.price_places, self.price_printed)
        self.quantity = decimals(self.quantity_places, quantity_printed)
        self.turnover = decimals(self.turnover_places, self.turnover_places)
        self._mean = decimals(self.price_printed, self.price_printed)

    def levels(self, levels: Iterable[tuple[int, int]]) -> str:
        """Print levels of an order book."""
        rows = (f'["{self.price(price)}","{self.quantity(size)}"]' for price, size in levels)
        return f"[{','.join(rows)}]"

    def trade_size(self, *prices: int) -> int:
        """Return the quantity of an average trade at the mean of some prices."""
        if self.contract_size is not None:
            return self.notional // self.contract_size
        unit: int = 10 ** (self.quantity_places + self.price_places)
        return len(prices) * self.notional * unit // max(1, sum(prices))

    def worth(self, price: int, quantity: int) -> int:
        """Return the turnover of a quantity at a price."""
        if self.contract_size is not None:
            unit: int = 10 ** (self.turnover_places + self.price_places)
            return quantity * self.contract_size * unit // max(1, price)
        unit = 10 ** (self.turnover_places - self.quantity_places - self.price_places)
        return quantity * price * unit

    def mean(self, node: Node) -> str:
        """Print the average price of a candle, turnover over volume; zero if nothing was traded."""
        volume, turnover = node.taker + node.maker, node.taker_quote + node.maker_quote
        if not volume or not turnover:
            return self._mean(0)
        unit: int = 10 ** (self.turnover_places + self.price_printed)
        if self.contract_size is not None:
            return self._mean(volume * self.contract_size * unit // turnover)
        scale: int = 10 ** (2 * self.turnover_places - self.quantity_places)
        return self._mean(turnover * unit // (volume * scale))
