"""Public topics of every kind: what a frame of one is worth, where it is sent, and what orders its frames. Pure.

Spot sends the frames of each topic in microseconds, too, on connections that ask for it. Such a topic is another one
here: its name has an ending that no client can write, and that never leaves the daemon.

Candles of topics are in `mdcache/exchange/streams.py`; the names: docs/binance.md#stream-topics.
"""

import re
from enum import StrEnum
from functools import lru_cache

import msgspec

from mdcache.exchange.markets import Market
from mdcache.exchange.undecodable import UNDECODABLE


class TopicKind(StrEnum):
    """What is lost with a frame.

    `KLINE`: nothing but the final frame of each candle, as the next frame says all again. `CONFLATABLE`: nothing.
    `LOSSLESS`: each frame counts, as no other says the same.
    """

    KLINE = "kline"
    CONFLATABLE = "conflatable"
    LOSSLESS = "lossless"


class StreamRoute(StrEnum):
    """Which connections have a topic: USD-M has two paths, and spot those in microseconds."""

    MARKET = "market"
    PUBLIC = "public"
    MICROS = "microsecond"


# `!miniTicker@arr`, `!ticker@arr` and `!bookTicker` are none of these: each of their frames is about other symbols.
_CONFLATABLE = re.compile(
    r"[^@!]+@(bookTicker|miniTicker|ticker(_[0-9]+[hd])?|avgPrice|markPrice|indexPrice|compositeIndex|assetIndex"
    r"|depth(5|10|20))(@[0-9]+m?s)?"
    r"|!(markPrice|assetIndex)@arr(@[0-9]+s)?"
)
_KLINE = re.compile(r"[^@!]+@(kline|continuousKline|indexPriceKline|markPriceKline)_[^@]+(@\+08:00)?")
_BOOK = re.compile(r"!bookTicker|[^@!]+@(bookTicker|(rpiD|d)epth(5|10|20)?(@[0-9]+ms)?)")
_NAME = re.compile(r"[^\s\"\\\x00-\x1f\x7f]{1,100}")
_TRADE = re.compile(r"[^@!]+@trade")
_MICROS = " in microseconds"  # no name of a topic has a space
_SEVERAL_SYMBOLS = frozenset({"!bookTicker", "!forceOrder@arr", "!contractInfo"})  # of which none orders the others


class _Event(msgspec.Struct, gc=False):
    event_ms: int = msgspec.field(name="E")


class _Trade(msgspec.Struct, gc=False):
    trade: int = msgspec.field(name="t")


class _Aggregate(msgspec.Struct, gc=False):
    aggregate: int = msgspec.field(name="a")


class _Book(msgspec.Struct, gc=False):
    """Spot's partial depth has its own number, and neither of the others."""

    depth_update: int | None = msgspec.field(name="lastUpdateId", default=None)
    update: int | None = msgspec.field(name="u", default=None)
    event_ms: int | None = msgspec.field(name="E", default=None)


class _Candle(msgspec.Struct, gc=False):
    opened: int = msgspec.field(name="t")
    final: bool = msgspec.field(name="x")


class KlineMark(msgspec.Struct, gc=False):
    """Which candle a kline frame shows."""

    event_ms: int = msgspec.field(name="E")
    candle: _Candle = msgspec.field(name="k")

    @property
    def open_ms(self) -> int:
        """The candle's open time."""
        return self.candle.opened

    @property
    def final(self) -> bool:
        """Whether the frame says that the candle will not change any more."""
        return self.candle.final


_Positions = _Trade | _Aggregate | _Book | _Event | list[_Event]
_events: msgspec.json.Decoder[_Positions] = msgspec.json.Decoder(_Event | list[_Event])
_DECODERS: tuple[tuple[re.Pattern[str], msgspec.json.Decoder[_Positions]], ...] = (
    (_TRADE, msgspec.json.Decoder(_Trade)),
    (re.compile(r"[^@!]+@aggTrade"), msgspec.json.Decoder(_Aggregate)),
    (_BOOK, msgspec.json.Decoder(_Book)),
)
_mark = msgspec.json.Decoder(KlineMark)


def in_micros(topic: str) -> str:
    """Return the topic that has the frames of this one in microseconds."""
    return topic + _MICROS


def wire_name(topic: str) -> str:
    """Return the name of a topic as messages have it."""
    return topic.removesuffix(_MICROS)


def topic_on(route: StreamRoute, name: str) -> str:
    """Return the topic that is called so on the connections of a route."""
    return in_micros(name) if route is StreamRoute.MICROS else name


def may_exist(topic: str) -> bool:
    """Return whether a name may be that of a topic: symbols have letters of any script, and no name is long."""
    return _NAME.fullmatch(wire_name(topic)) is not None


@lru_cache(maxsize=10_000)
def topic_kind(topic: str) -> TopicKind:
    """Return what is lost with a frame of a topic; of unknown names, everything."""
    name = wire_name(topic)
    if _KLINE.fullmatch(name):
        return TopicKind.KLINE
    return TopicKind.CONFLATABLE if _CONFLATABLE.fullmatch(name) else TopicKind.LOSSLESS


@lru_cache(maxsize=10_000)
def topic_route(market: Market, topic: str) -> StreamRoute:
    """Return which connections have a topic: USD-M's books and single trades have a path of their own.

    Source: docs/binance.md#stream-connections.
    """
    if topic.endswith(_MICROS):
        return StreamRoute.MICROS
    public = market is Market.USDM and (_BOOK.fullmatch(topic) or _TRADE.fullmatch(topic))
    return StreamRoute.PUBLIC if public else StreamRoute.MARKET


def frame_position(topic: str, data: bytes) -> int | None:
    """Return what grows from each frame of a topic to the next, or nothing if the frame has no such number.

    Two frames of one topic may share an event time, where they have nothing better.
    """
    decoder = _decoder_of(topic)
    if decoder is None:
        return None
    try:
        found = decoder.decode(data)
    except UNDECODABLE:
        return None
    match found:
        case _Trade(number) | _Aggregate(number) | _Event(number):
            return number
        case _Book():
            return next((one for one in (found.depth_update, found.update, found.event_ms) if one is not None), None)
        case _:
            return max((one.event_ms for one in found), default=None)


@lru_cache(maxsize=10_000)
def _decoder_of(topic: str) -> msgspec.json.Decoder[_Positions] | None:
    name = wire_name(topic)
    if name in _SEVERAL_SYMBOLS:
        return None
    return next((decoder for pattern, decoder in _DECODERS if pattern.fullmatch(name)), _events)


def kline_mark(data: bytes) -> KlineMark | None:
    """Return which candle a kline frame shows, or nothing if it is none."""
    try:
        return _mark.decode(data)
    except UNDECODABLE:
        return None
