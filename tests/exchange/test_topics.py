"""Topics of every kind: what a frame is worth, where it is sent, and what orders the frames."""

import pytest

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import (
    StreamRoute,
    TopicKind,
    frame_position,
    kline_mark,
    may_exist,
    topic_kind,
    topic_route,
)
from tests.exchange.test_streams import LIVE

KLINES = (
    "btcusdt@kline_1m",
    "btcusdt@kline_1d@+08:00",
    "btcusd_perpetual@continuousKline_1s",
    "btcusd@indexPriceKline_1h",
)
CONFLATABLE = (
    "btcusdt@bookTicker", "btcusdt@miniTicker", "btcusdt@ticker", "btcusdt@ticker_4h", "btcusdt@avgPrice",
    "btcusdt@markPrice", "btcusdt@markPrice@1s", "btcusd@indexPrice@1s", "!markPrice@arr@1s", "defiusdt@compositeIndex",
    "!assetIndex@arr", "btcusdt@depth5", "btcusdt@depth20@100ms",
)  # fmt: skip
LOSSLESS = (
    "btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth", "btcusdt@depth@100ms", "btcusdt@rpiDepth@500ms",
    "btcusdt@forceOrder", "!forceOrder@arr", "!contractInfo", "!miniTicker@arr", "!ticker@arr", "!ticker_1h@arr",
    "!bookTicker", "tradingSession", "0", "", "btcusdt@depth7", "btcusdt@somethingNew",
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "topics"),
    [(TopicKind.KLINE, KLINES), (TopicKind.CONFLATABLE, CONFLATABLE), (TopicKind.LOSSLESS, LOSSLESS)],
)
def test_a_topic_is_lossless_unless_its_next_frame_says_all_again(kind: TopicKind, topics: tuple[str, ...]) -> None:
    assert {topic_kind(topic) for topic in topics} == {kind}


def test_a_name_that_can_be_no_topic_is_known_by_its_form() -> None:
    assert all(may_exist(topic) for topic in (*KLINES, *CONFLATABLE, *LOSSLESS[:-4], "币安人生usdt@trade"))
    assert not any(may_exist(topic) for topic in ("", "a b", 'a"b', "a\\b", "a\nb", "a\x7f", "x" * 101))


def test_only_books_and_single_trades_of_usdm_have_a_route_of_their_own() -> None:
    public = {
        "btcusdt@trade",
        "btcusdt@bookTicker",
        "!bookTicker",
        "btcusdt@depth",
        "btcusdt@depth5@100ms",
        "btcusdt@rpiDepth@500ms",
    }
    for topic in {*KLINES, *CONFLATABLE, *LOSSLESS, *public}:
        on_public = topic in public or ("@depth" in topic and topic != "btcusdt@depth7")
        assert topic_route(Market.USDM, topic) is (StreamRoute.PUBLIC if on_public else StreamRoute.MARKET), topic
        assert topic_route(Market.SPOT, topic) is topic_route(Market.COINM, topic) is StreamRoute.MARKET


@pytest.mark.parametrize(
    ("topic", "data", "position"),
    [
        ("btcusdt@kline_1m", LIVE, 1_790_771_371_858),
        ("btcusdt@trade", b'{"e":"trade","E":5,"s":"BTCUSDT","t":12345,"p":"0.001","T":4,"m":true}', 12_345),
        ("btcusdt@aggTrade", b'{"e":"aggTrade","E":5,"s":"BTCUSDT","a":77,"p":"1","f":100,"l":105}', 77),
        ("btcusdt@depth@100ms", b'{"e":"depthUpdate","E":5,"s":"BTCUSDT","U":157,"u":160,"b":[],"a":[]}', 160),
        ("btcusdt@depth5", b'{"lastUpdateId":160,"bids":[["1","2"]],"asks":[]}', 160),
        ("btcusdt@bookTicker", b'{"u":400900217,"s":"BTCUSDT","b":"25.3","B":"3","a":"25.4","A":"4"}', 400_900_217),
        ("btcusdt@markPrice@1s", b'{"e":"markPriceUpdate","E":9,"s":"BTCUSDT","p":"1","T":3}', 9),
        ("!miniTicker@arr", b'[{"e":"24hrMiniTicker","E":7,"s":"A"},{"e":"24hrMiniTicker","E":9,"s":"B"}]', 9),
        ("!bookTicker", b'{"u":4,"s":"BTCUSDT"}', None),
        ("!forceOrder@arr", b'{"e":"forceOrder","E":9,"o":{}}', None),
        ("btcusdt@trade", b'{"e":"trade","E":5}', None),
        ("btcusdt@kline_1m", b"{", None),
        ("btcusdt@kline_1m", b"\xff", None),
        ("btcusdt@somethingNew", b'"text"', None),
        ("!miniTicker@arr", b"[]", None),
    ],
)
def test_frames_are_ordered_by_what_grows(topic: str, data: bytes, position: int | None) -> None:
    assert frame_position(topic, data) == position


def test_a_kline_frame_says_whose_candle_it_is_and_whether_it_is_final() -> None:
    mark = kline_mark(LIVE)
    assert mark is not None
    assert (mark.open_ms, mark.final, mark.event_ms) == (1_790_771_340_000, False, 1_790_771_371_858)
    assert kline_mark(b'{"e":"trade","E":5}') is None
