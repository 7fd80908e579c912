"""A lost final frame is mended if it can be made exact, else it is left out; none is sent twice."""

import json
import re

import pytest

from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import series_of
from mdcache.exchange.topics import KlineMark, kline_mark
from mdcache.relay.finals import TopicCandles, mended_frame
from mdcache.sim.streams.session import StreamSession
from tests.exchange.test_streams import CLOSE, LIVE, LIVE_KEY, LIVE_ROW
from tests.support.relay_listener import FakeListener
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

BTC, SLOW = "btcusdt@kline_1m", "slowusdt@kline_1m"


def _final(data: bytes) -> KlineMark | None:
    mark = kline_mark(data)
    return mark if mark is not None and mark.final else None


def _without_event_time(data: bytes) -> bytes:
    return re.sub(rb'"E":[0-9]+', b'"E":0', data)


def test_a_mended_frame_differs_in_event_time_and_finality_alone() -> None:
    read_ms = CLOSE + 7_000
    frame = mended_frame(LIVE, LIVE_KEY, LIVE_ROW, read_ms)
    assert frame == LIVE.replace(b"1790771371858", b"%d" % read_ms).replace(b'"x":false', b'"x":true')


@pytest.mark.parametrize(
    ("old", "new"),
    [(b",2239,", b",2240,"), (b'"83860.20"', b'"83860.2"'), (b'"114.602"', b'"114.603"'), (b'"48.488"', b'"48.489"')],
)
def test_a_row_that_differs_in_anything_mends_nothing(old: bytes, new: bytes) -> None:
    assert old in LIVE_ROW
    assert mended_frame(LIVE, LIVE_KEY, LIVE_ROW.replace(old, new), CLOSE + 7_000) is None


def test_a_row_read_before_the_close_mends_nothing() -> None:
    assert mended_frame(LIVE, LIVE_KEY, LIVE_ROW, CLOSE) is None
    assert mended_frame(b"{", LIVE_KEY, LIVE_ROW, CLOSE + 7_000) is None
    assert mended_frame(LIVE.replace(b'"x":false', b'"x": false'), LIVE_KEY, LIVE_ROW, CLOSE + 7_000) is None


@pytest.mark.parametrize(
    ("market", "topic", "kind", "subject", "contract"),
    [
        (Market.SPOT, "btcusdt@kline_1m", "klines", "BTCUSDT", ""),
        (Market.COINM, "btcusd_perp@kline_1m", "klines", "BTCUSD_PERP", ""),
        (Market.USDM, "btcusdt_current_quarter@continuousKline_1h", "continuousKlines", "BTCUSDT", "CURRENT_QUARTER"),
    ],
)
def test_a_topic_with_trades_has_a_series(market: Market, topic: str, kind: str, subject: str, contract: str) -> None:
    assert series_of(market, topic) == SeriesKey(market, kind, subject, contract, topic.rpartition("_")[2])


@pytest.mark.parametrize(
    ("market", "topic"),
    [
        (Market.SPOT, "btcusdt@kline_1m@+08:00"), (Market.SPOT, "btcusdt@kline_7m"), (Market.SPOT, "BTCUSDT@kline_1m"),
        (Market.SPOT, "btcusdt_perpetual@continuousKline_1m"), (Market.COINM, "btcusd@indexPriceKline_1m"),
        (Market.SPOT, "btcusdt@trade"),
    ],
)  # fmt: skip
def test_other_topics_have_none(market: Market, topic: str) -> None:
    assert series_of(market, topic) is None


def test_a_candle_is_unfinished_once_the_next_one_begins() -> None:
    candles = TopicCandles()
    assert [candles.note(open_ms, b"%d" % number) for number, open_ms in enumerate([1, 1, 2, 1, 2])] == [
        None, None, 1, None, None,
    ]  # fmt: skip
    assert candles.last(1) == b"3"
    assert candles.finish(1)
    assert not candles.finish(1)
    assert candles.last(1) is None
    assert candles.last(2) == b"4"
    assert candles.note(1, b"late") is None
    assert [candles.note(open_ms, b"") for open_ms in (3, 4)] == [2, 3]
    assert candles.last(2) is None


@pytest.mark.virtual
async def test_lost_final_frames_are_mended_exactly_or_left_out() -> None:
    daemon = VirtualDaemon(options=DaemonOptions(connections=True))
    control = daemon.exchange.control
    control.list_symbol("spot", "SLOWUSDT", listed_ms=daemon.clock.true_ms() - 86_400_000, trades_per_day=4_000)
    await daemon.governor.start()
    relay = daemon.cache.relay
    assert relay is not None
    listener = FakeListener(relay, Market.SPOT, SLOW, BTC)
    direct = daemon.exchange.open_stream("/ws", "", "192.0.2.9")
    assert isinstance(direct, StreamSession)
    assert direct.subscribe([SLOW], daemon.exchange.now_ms()) is None
    truth: list[str] = []
    control.stream_fault("no_finals", path="/stream", seconds=200)
    for _ in range(180):
        truth += [text for text in direct.due(daemon.exchange.now_ms()) if isinstance(text, str)]
        await daemon.clock.sleep(1)
    true_finals = {mark.open_ms: text.encode() for text in truth if (mark := _final(text.encode())) is not None}
    finals = [(mark, data) for data in listener.of(SLOW) if (mark := _final(data)) is not None]
    times = [mark.open_ms for mark, _ in finals]
    assert times == sorted(set(times))
    (status,) = (one for one in relay.status() if one.market == "spot")
    assert 1 < status.mended == len(finals)
    assert not any(_final(data) for data in listener.of(BTC))  # trades between its last frame and the close
    for mark, data in finals:
        assert _without_event_time(data) == _without_event_time(true_finals[mark.open_ms])
        assert json.loads(data)["k"]["T"] < mark.event_ms
    assert len(daemon.calls()) <= 2 * 2 * 5
