"""Print the events of streams in Binance's format (docs/binance.md#kline-event)."""

from mdcache.sim.config import Market, SymbolSpec
from mdcache.sim.prices.node import Node
from mdcache.sim.prices.printing import Units
from mdcache.sim.streams.topics import KlineTopic

_PRODUCT = {"usdm": 1, "coinm": 2}  # `st` on the all-market streams of both futures hosts


def kline_event(
    topic: KlineTopic, spec: SymbolSpec, row: bytes, *, event_ms: int, first_trade: int, final: bool, micros: bool
) -> str:
    """Print a candle.

    Args:
        topic: What it is sent for.
        spec: The symbol.
        row: The candle as REST prints it.
        event_ms: When it is sent.
        first_trade: The number of its first trade; unused if it has none.
        final: Whether it is the candle's last event.
        micros: Whether times are printed in microseconds.
    """
    opens, open_, high, low, close, volume, closes, quote, trades, taker, taker_quote, _ = row[1:-1].decode().split(",")
    ids = (first_trade, first_trade + int(trades) - 1) if trades != "0" else (-1, -1)
    start, end, event = (f"{opens}000", f"{closes}999", event_ms * 1000) if micros else (opens, closes, event_ms)
    head, symbol = _head(topic, spec)
    return (
        f'{{{head[0]},"E":{event},{head[1]},"k":{{"t":{start},"T":{end},{symbol}"i":"{topic.interval}",'
        f'"f":{ids[0]},"L":{ids[1]},"o":{open_},"c":{close},"h":{high},"l":{low},"v":{volume},"n":{trades},'
        f'"x":{"true" if final else "false"},"q":{quote},"V":{taker},"Q":{taker_quote},"B":"0"}}}}'
    )


def _head(topic: KlineTopic, spec: SymbolSpec) -> tuple[tuple[str, str], str]:
    """Return the event's name and subject, and the candle's symbol."""
    match topic.kind:
        case "kline":
            return ('"e":"kline"', f'"s":"{spec.symbol}"'), f'"s":"{spec.symbol}",'
        case "continuousKline":
            return ('"e":"continuous_kline"', f'"ps":"{spec.pair}","ct":"{spec.contract_type}"'), ""
        case "indexPriceKline":
            return ('"e":"indexPrice_kline"', f'"ps":"{spec.pair}"'), '"s":"0",'
        case "markPriceKline":
            return ('"e":"markPrice_kline"', f'"ps":"{spec.pair}"'), f'"s":"{spec.symbol}",'


def mini_ticker(spec: SymbolSpec, units: Units, day: Node, *, event: int) -> str:
    """Print one symbol's last 24 hours; `event` is the time in the unit asked for."""
    volume, quote = day.taker + day.maker, day.taker_quote + day.maker_quote
    return (
        f'{{"e":"24hrMiniTicker","E":{event},"s":"{spec.symbol}","c":"{units.price(day.close)}",'
        f'"o":"{units.price(day.open)}","h":"{units.price(day.high)}","l":"{units.price(day.low)}",'
        f'"v":"{units.quantity(volume)}","q":"{units.turnover(quote)}"{_product(spec.market, spec.pair)}}}'
    )


def trade_event(kind: str, spec: SymbolSpec, units: Units, trade: Node, *, number: int, event: int, time: int) -> str:
    """Print a trade, or an aggregate of this one alone; `event` and `time` are in the unit asked for."""
    aggregate, sold = kind == "aggTrade", "true" if 2 * trade.taker < trade.taker + trade.maker else "false"
    price, size = f'"p":"{units.price(trade.close)}"', f'"q":"{units.quantity(trade.taker + trade.maker)}"'
    symbol, numbers = f'"s":"{spec.symbol}"', f'"f":{number},"l":{number}'
    match spec.market, aggregate:
        case "spot", True:
            rest = f'{symbol},"a":{number},{price},{size},{numbers},"T":{time},"m":{sold},"M":true'
        case "spot", _:
            rest = f'{symbol},"t":{number},{price},{size},"T":{time},"m":{sold},"M":true'
        case "usdm", True:
            rest = f'"a":{number},{symbol},{price},{size},"n{size[1:]},{numbers},"T":{time},"m":{sold},"st":1'
        case "coinm", True:
            rest = f'"a":{number},{symbol},{price},{size},{numbers},"T":{time},"m":{sold},"st":2'
        case _:
            rest = (
                f'"T":{time},{symbol},"t":{number},{price},{size},"X":"MARKET","m":{sold},"st":{_PRODUCT[spec.market]}'
            )
    return f'{{"e":"{kind}","E":{event},{rest}}}'


def _product(market: Market, pair: str | None) -> str:
    return "" if market == "spot" else f',"ps":"{pair}","st":{_PRODUCT[market]}'
