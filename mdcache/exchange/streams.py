"""Streams: which topic carries a series, and what its frames say (docs/binance.md#kline-streams). Pure.

A frame's candle becomes the row that REST would print, and passes the checks of every row (docs/design.md#body-checks).
"""

import re
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from mdcache.errors import BodyFault, InvalidBody
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import MICROSECONDS_FROM, SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.rows import ExpectedRows, Row, read_page
from mdcache.exchange.undecodable import UNDECODABLE

MINI_TICKERS = "!miniTicker@arr"

_EVENTS = {  # docs/binance.md#kline-event
    "klines": "kline",
    "continuousKlines": "continuous_kline",
    "indexPriceKlines": "indexPrice_kline",
    "markPriceKlines": "markPrice_kline",
}
_TRADED = frozenset({"klines", "continuousKlines"})  # the others have "0" for volumes: docs/binance.md#kline-row
_STREAMED = {  # docs/binance.md#kline-streams
    Market.SPOT: frozenset({"klines"}),
    Market.USDM: _TRADED,
    Market.COINM: frozenset(_EVENTS),
}
SPOT_CADENCE_MS, SECONDS_CADENCE_MS, FUTURES_CADENCE_MS = 2_000, 1_000, 250  # docs/binance.md#kline-streams
_PRODUCTS = {Market.USDM: 1, Market.COINM: 2}  # `st`: docs/binance.md#kline-streams
_OTHER_PRODUCTS = {Market.USDM: 2, Market.COINM: 1}
_NO_VOLUME = msgspec.Raw(b'"0"')
_TRADED_TOPIC = re.compile(r"(?P<subject>[^@]+)@(?P<kind>kline|continuousKline)_(?P<interval>[0-9]+[smhdwM])")
_EAST_8 = 480  # minutes; the only offset that spot's streams have


@dataclass(frozen=True, slots=True)
class Frame:
    """The candle `row` as it was at `event_ms`: an event of a topic, or `derived` from a shorter series.

    `final`: it will not change any more. `first_trade`, `last_trade`: the numbers of its first and its last trade,
    negative if it has none or if that is not known.
    """

    event_ms: int
    row: Row
    final: bool
    derived: bool = False
    first_trade: int = -1
    last_trade: int = -1


class _Candle(msgspec.Struct, gc=False):
    """Binance's `k`. What a row shows stays as it was printed, and is checked as part of the row."""

    opened: int = msgspec.field(name="t")
    closes: int = msgspec.field(name="T")
    interval: str = msgspec.field(name="i")
    open: msgspec.Raw = msgspec.field(name="o")
    high: msgspec.Raw = msgspec.field(name="h")
    low: msgspec.Raw = msgspec.field(name="l")
    close: msgspec.Raw = msgspec.field(name="c")
    volume: msgspec.Raw = msgspec.field(name="v")
    quote: msgspec.Raw = msgspec.field(name="q")
    trades: msgspec.Raw = msgspec.field(name="n")
    taker: msgspec.Raw = msgspec.field(name="V")
    taker_quote: msgspec.Raw = msgspec.field(name="Q")
    final: bool = msgspec.field(name="x")
    symbol: str = msgspec.field(name="s", default="")
    first_trade: object = msgspec.field(name="f", default=-1)
    last_trade: object = msgspec.field(name="L", default=-1)


class _KlineEvent(msgspec.Struct, gc=False):
    event: str = msgspec.field(name="e")
    event_ms: int = msgspec.field(name="E")
    candle: _Candle = msgspec.field(name="k")
    symbol: str = msgspec.field(name="s", default="")
    pair: str = msgspec.field(name="ps", default="")
    contract_type: str = msgspec.field(name="ct", default="")


class _MiniTicker(msgspec.Struct, gc=False):
    event: str = msgspec.field(name="e")
    event_ms: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    product: int = msgspec.field(name="st", default=0)


_Event = TypeVar("_Event")
_kline_decoder = msgspec.json.Decoder(_KlineEvent)
_tickers_decoder = msgspec.json.Decoder(list[_MiniTicker])


def topic_of(key: SeriesKey) -> str | None:
    """Return the topic whose candles are the rows of a series, or nothing if no stream has them.

    A series in microseconds has the topic of the one in milliseconds: `read_frame` prints its rows.
    """
    if key.kind not in _STREAMED[key.market]:
        return None
    zone = "" if key.zone_minutes == 0 else "@+08:00"
    if zone and (key.market is not Market.SPOT or key.zone_minutes != _EAST_8):
        return None
    subject = f"{key.subject}_{key.contract_type}" if key.contract_type else key.subject
    return f"{subject.lower()}@{key.kind.removesuffix('s')}_{key.interval}{zone}"  # in upper case they stay silent


def series_of(market: Market, topic: str) -> SeriesKey | None:
    """Return the series whose rows a topic's candles are, if its rows name their trades; only of days in UTC."""
    match = _TRADED_TOPIC.fullmatch(topic)
    if match is None or match["interval"] not in INTERVALS:
        return None
    continuous = match["kind"] == "continuousKline"
    subject, _, contract = match["subject"].upper().partition("_") if continuous else (match["subject"].upper(), "", "")
    key = SeriesKey(market, match["kind"] + "s", subject, contract, match["interval"])
    return key if topic_of(key) == topic else None


def cadence_ms(key: SeriesKey) -> int:
    """Return how often, in milliseconds, a series' topic sends a candle in which trades happen."""
    if key.market is not Market.SPOT:
        return FUTURES_CADENCE_MS
    return SECONDS_CADENCE_MS if key.interval == "1s" else SPOT_CADENCE_MS


def read_frame(data: bytes, key: SeriesKey) -> Frame:
    """Return what a frame of the series' topic says.

    Args:
        data: the event; of a combined frame, its `data`.
        key: the series, which has a topic.

    Raises:
        InvalidBody: with a reason from a closed set.
    """
    event = _decode(_kline_decoder, data)
    candle = event.candle
    if not _about(event, key):
        raise InvalidBody(BodyFault.MISMATCH, f"an event of another series than {key}")
    if not candle.opened <= event.event_ms < MICROSECONDS_FROM:
        raise InvalidBody(BodyFault.WINDOW, f"an event at {event.event_ms} of a candle from {candle.opened} on")
    expected = ExpectedRows(
        INTERVALS[key.interval],
        lo_ms=0,
        hi_ms=event.event_ms,
        limit=1,
        zone_ms=key.zone_minutes * 60_000,
        micros=key.micros,
    )
    (row,) = read_page(b"[%b]" % _row_text(candle, key), expected).rows
    final = candle.final and event.event_ms >= row.close_ms
    first_trade = candle.first_trade if isinstance(candle.first_trade, int) else -1
    last_trade = candle.last_trade if isinstance(candle.last_trade, int) else -1
    return Frame(event.event_ms, row, final, first_trade=first_trade, last_trade=last_trade)


def read_mini_tickers(data: bytes, market: Market) -> tuple[int, list[str]]:
    """Return the newest event time of a frame of `MINI_TICKERS`, and the symbols that it lists, of this market.

    Both futures markets are listed on both hosts. Whether in one frame or in two is not documented, so what a frame
    says of the other market proves nothing here; one without any of this market has the time -1. A symbol of a product
    that is not known may be one of this market: it was traded, but its time proves nothing.

    Raises:
        InvalidBody: with a reason from a closed set; an empty list has no time.
    """
    tickers = _decode(_tickers_decoder, data)
    if not tickers:
        raise InvalidBody(BodyFault.EMPTY, "no symbol")
    if any(ticker.event != "24hrMiniTicker" for ticker in tickers):
        raise InvalidBody(BodyFault.MISMATCH, "an event of another kind among the tickers")
    newest_ms = max(ticker.event_ms for ticker in tickers)
    if not 0 <= newest_ms < MICROSECONDS_FROM:
        raise InvalidBody(BodyFault.WINDOW, f"an event at {newest_ms}")
    ours = [ticker for ticker in tickers if ticker.product in {0, _PRODUCTS.get(market)}]
    traded = [ticker.symbol for ticker in tickers if ticker.product != _OTHER_PRODUCTS.get(market)]
    return max((ticker.event_ms for ticker in ours), default=-1), traded


def _decode(decoder: msgspec.json.Decoder[_Event], data: bytes) -> _Event:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise InvalidBody(BodyFault.TYPES, str(error)) from error
    except UNDECODABLE as error:
        raise InvalidBody(BodyFault.NOT_JSON, str(error)) from error


def _about(event: _KlineEvent, key: SeriesKey) -> bool:
    """Return whether an event is about a series."""
    if event.event != _EVENTS[key.kind] or event.candle.interval != key.interval:
        return False
    match key.kind:
        case "klines":
            return event.symbol == event.candle.symbol == key.subject
        case "markPriceKlines":
            return event.candle.symbol == key.subject
        case _:
            return (event.pair, event.contract_type) == (key.subject, key.contract_type)


def _row_text(candle: _Candle, key: SeriesKey) -> bytes:
    """Return the row that REST prints for a candle."""
    opened, closes = candle.opened, candle.closes
    if key.micros:
        opened, closes = opened * 1000, closes * 1000 + 999
    volume, quote, taker, taker_quote = candle.volume, candle.quote, candle.taker, candle.taker_quote
    if key.kind not in _TRADED:
        volume = quote = taker = taker_quote = _NO_VOLUME
    return b'[%d,%b,%b,%b,%b,%b,%d,%b,%b,%b,%b,"0"]' % (
        opened, candle.open, candle.high, candle.low, candle.close, volume,
        closes, quote, candle.trades, taker, taker_quote,
    )  # fmt: skip
