"""How Binance prints: compact JSON, each market with its own decimals (BINANCE 2.1)."""

import json
from collections.abc import Callable

from mdcache.sim.prices.node import Node

Json = dict[str, object]
Printer = Callable[[int, int, Node], bytes]  # open time, close time (both ms), candle


def decimals(places: int, printed: int) -> Callable[[int], str]:
    """A printer of integers in 10^-places with `printed` (at least `places`) digits after the point."""
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
    """Rows of traded candles."""

    def row(open_ms: int, close_ms: int, node: Node) -> bytes:
        trades, open_, high, low, close, taker, maker, taker_quote, maker_quote = node
        return (
            f'[{open_ms},"{price(open_)}","{price(high)}","{price(low)}","{price(close)}"'
            f',"{volume(taker + maker)}",{close_ms},"{quote(taker_quote + maker_quote)}",{trades}'
            f',"{volume(taker)}","{quote(taker_quote)}","0"]'
        ).encode()

    return row


def sample_rows(price: Callable[[int], str]) -> Printer:
    """Rows of index, mark and premium candles: no volume, and the number of samples for trades."""

    def row(open_ms: int, close_ms: int, node: Node) -> bytes:
        samples, open_, high, low, close, *_ = node
        return (
            f'[{open_ms},"{price(open_)}","{price(high)}","{price(low)}","{price(close)}"'
            f',"0",{close_ms},"0",{samples},"0","0","0"]'
        ).encode()

    return row


def in_microseconds(row: bytes) -> bytes:
    """The same row with times in microseconds: the open's first, the close's last of its millisecond."""
    fields = row[1:].split(b",")
    fields[0] += b"000"
    fields[6] += b"999"
    return b"[" + b",".join(fields)


def compact(body: object) -> bytes:
    """A body of any shape as Binance writes it."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
