"""Candles of one second on futures: kept for an hour from the frames of those who listen (docs/design.md#native).

REST has none there; the stream `<pair>_perpetual@continuousKline_1s` does (docs/binance.md#stream-topics).
"""

from collections import OrderedDict

import msgspec

from mdcache.exchange.markets import Market

SECONDS = 3_600  # of each contract
CONTRACTS = 32  # with 0.2 KB a second, 23 MB at most
_ENDING = "_perpetual@continuousKline_1s"
_SECOND_MS = 1_000


class _Candle(msgspec.Struct, gc=False):
    """A candle of a frame; prices and volumes stay as they are printed."""

    open_ms: int = msgspec.field(name="t")
    close_ms: int = msgspec.field(name="T")
    trades: int = msgspec.field(name="n")
    open: msgspec.Raw = msgspec.field(name="o")
    high: msgspec.Raw = msgspec.field(name="h")
    low: msgspec.Raw = msgspec.field(name="l")
    close: msgspec.Raw = msgspec.field(name="c")
    volume: msgspec.Raw = msgspec.field(name="v")
    quote_volume: msgspec.Raw = msgspec.field(name="q")
    taker_volume: msgspec.Raw = msgspec.field(name="V")
    taker_quote_volume: msgspec.Raw = msgspec.field(name="Q")


class _Frame(msgspec.Struct, gc=False):
    candle: _Candle = msgspec.field(name="k")


class Second(msgspec.Struct, gc=False):
    """A closed candle of one second. `price`: its close, as Binance prints it; `row`: as the native API prints it."""

    price: bytes
    row: bytes


_decoder = msgspec.json.Decoder(_Frame)


class KeptSeconds:
    """The newest seconds of the contracts that somebody listens to or did, those listened to last."""

    def __init__(self) -> None:
        self._contracts: OrderedDict[tuple[Market, str], OrderedDict[int, Second]] = OrderedDict()

    def note(self, market: Market, topic: str, data: bytes) -> None:
        """Keep the final frame of a candle, if it is one second of a perpetual contract."""
        if market is Market.SPOT or not topic.endswith(_ENDING):
            return
        try:
            candle = _decoder.decode(data).candle
        except msgspec.DecodeError:
            return  # it is relayed as it is, and says nothing that could be kept
        if candle.open_ms % _SECOND_MS or candle.close_ms != candle.open_ms + _SECOND_MS - 1:
            return
        contract = market, topic.removesuffix(_ENDING)
        kept = self._contracts.setdefault(contract, OrderedDict())
        self._contracts.move_to_end(contract)
        kept[candle.open_ms] = _second(candle)
        if len(kept) > SECONDS:
            kept.popitem(last=False)
        if len(self._contracts) > CONTRACTS:
            self._contracts.popitem(last=False)

    def find(self, market: Market, symbol: str, at_ms: int) -> Second | None:
        """Return the candle that shows the symbol's price at a moment, in milliseconds, if it is kept."""
        pair = symbol.removesuffix("_PERP") if market is Market.COINM else symbol
        kept = self._contracts.get((market, pair.lower()))
        return None if kept is None else kept.get(at_ms - at_ms % _SECOND_MS)


def _second(candle: _Candle) -> Second:
    columns = (
        b"%d" % candle.open_ms,
        *(candle.open, candle.high, candle.low, candle.close, candle.volume),
        b"%d" % candle.close_ms,
        candle.quote_volume,
        b"%d" % candle.trades,
        *(candle.taker_volume, candle.taker_quote_volume),
    )
    return Second(bytes(candle.close), b"[%b,true]" % b",".join(map(bytes, columns)))
