"""Frames of streams: a candle is the row that REST prints, byte for byte, and nothing else passes."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.errors import InvalidBody
from mdcache.exchange.klines import SeriesKey, request_headers, request_query
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import MINI_TICKERS, read_frame, read_mini_tickers, series_of, topic_of
from mdcache.sim.streams.session import StreamSession
from tests.sim.helpers import SECOND, T0, Sim
from tests.support.examples import examples
from tests.support.junk import junk

LIVE_KEY = SeriesKey(Market.USDM, "klines", "BTCUSDT", "", "1m")
# recorded at wss://fstream.binance.com/market on 2026-09-30 by a public project
LIVE = (
    b'{"e":"kline","E":1790771371858,"s":"BTCUSDT","k":{"t":1790771340000,"T":1790771399999,"s":"BTCUSDT","i":"1m",'
    b'"f":8132503391,"L":8132505633,"o":"83896.40","c":"83860.20","h":"83920.00","l":"83860.10","v":"114.602",'
    b'"n":2239,"x":false,"q":"9615538.66780","V":"48.488","Q":"4068722.10360","B":"0"}}'
)
LIVE_ROW = (
    b'[1790771340000,"83896.40","83920.00","83860.10","83860.20","114.602",1790771399999,"9615538.66780",2239,'
    b'"48.488","4068722.10360","0"]'
)
CLOSE = 1_790_771_399_999

SPOT, PERP = SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m"), LIVE_KEY
CONTINUOUS = replace(PERP, kind="continuousKlines", contract_type="CURRENT_QUARTER")
COIN = SeriesKey(Market.COINM, "klines", "BTCUSD_PERP", "", "1m")
INDEX = replace(COIN, kind="indexPriceKlines", subject="BTCUSD")
MARK = replace(COIN, kind="markPriceKlines")
TOPICS = {
    SPOT: "btcusdt@kline_1m",
    replace(SPOT, interval="1s"): "btcusdt@kline_1s",
    replace(SPOT, interval="1h", micros=True): "btcusdt@kline_1h",
    replace(SPOT, interval="1d", zone_minutes=480): "btcusdt@kline_1d@+08:00",
    replace(SPOT, interval="1M", zone_minutes=480, micros=True): "btcusdt@kline_1M@+08:00",
    replace(SPOT, subject="币安人生USDT"): "币安人生usdt@kline_1m",
    PERP: "btcusdt@kline_1m",
    replace(PERP, interval="1w"): "btcusdt@kline_1w",
    CONTINUOUS: "btcusdt_current_quarter@continuousKline_1m",
    COIN: "btcusd_perp@kline_1m",
    replace(INDEX, kind="continuousKlines", contract_type="PERPETUAL"): "btcusd_perpetual@continuousKline_1m",
    INDEX: "btcusd@indexPriceKline_1m",
    MARK: "btcusd_perp@markPriceKline_1m",
}
PATHS = {Market.SPOT: "/ws", Market.USDM: "/usdm/market/ws", Market.COINM: "/coinm/ws"}


def edited(**changes: Any) -> bytes:
    """The live frame with other values, of the candle (`k_…`) or of the event; `None` takes one away."""
    event = json.loads(LIVE)
    for name, value in changes.items():
        holder = event["k"] if name.startswith("k_") else event
        if value is None:
            del holder[name.removeprefix("k_")]
        else:
            holder[name.removeprefix("k_")] = value
    return json.dumps(event, separators=(",", ":")).encode()


def reason(data: bytes, key: SeriesKey = LIVE_KEY) -> str:
    with pytest.raises(InvalidBody) as caught:
        read_frame(data, key)
    return caught.value.reason


def test_a_live_frame() -> None:
    frame = read_frame(LIVE, LIVE_KEY)
    assert (frame.event_ms, frame.final) == (1_790_771_371_858, False)
    assert (frame.row.open_ms, frame.row.close_ms, frame.row.trades) == (1_790_771_340_000, CLOSE, 2239)
    assert frame.row.raw == LIVE_ROW


def test_the_numbers_of_the_first_and_the_last_trade_are_known_if_they_are_numbers() -> None:
    frame = read_frame(LIVE, LIVE_KEY)
    assert (frame.first_trade, frame.last_trade) == (8_132_503_391, 8_132_505_633)
    for odd in ("8132505633", None, 1.5):
        event = json.loads(LIVE)
        event["k"]["f"] = event["k"]["L"] = odd
        assert read_frame(json.dumps(event).encode(), LIVE_KEY) == replace(frame, first_trade=-1, last_trade=-1)


def test_spaces_change_nothing() -> None:
    assert read_frame(json.dumps(json.loads(LIVE), indent=1).encode(), LIVE_KEY) == read_frame(LIVE, LIVE_KEY)


@pytest.mark.parametrize(("key", "topic"), TOPICS.items(), ids=str)
def test_names_of_topics(key: SeriesKey, topic: str) -> None:
    assert topic_of(key) == topic


@pytest.mark.parametrize(("key", "topic"), TOPICS.items(), ids=str)
def test_the_series_of_a_topic_of_trades(key: SeriesKey, topic: str) -> None:
    plain = key.kind in {"klines", "continuousKlines"} and not key.zone_minutes
    assert series_of(key.market, topic) == (replace(key, micros=False) if plain else None)


@pytest.mark.parametrize("topic", ["BTCUSDT@kline_1m", "btcusdt@kline_7m", "btcusdt@kline_1m@100ms", "btcusdt@trade"])
def test_what_is_no_topic_of_candles_has_no_series(topic: str) -> None:
    assert series_of(Market.SPOT, topic) is None


@pytest.mark.parametrize(
    "key",
    [
        replace(SPOT, kind="uiKlines"),
        replace(SPOT, zone_minutes=60),
        replace(SPOT, zone_minutes=-480),
        replace(SPOT, zone_minutes=330),
        replace(PERP, kind="indexPriceKlines"),
        replace(PERP, kind="markPriceKlines"),
        replace(PERP, kind="premiumIndexKlines"),
        replace(COIN, kind="premiumIndexKlines"),
    ],
    ids=str,
)
def test_what_no_stream_carries_has_no_topic(key: SeriesKey) -> None:
    assert topic_of(key) is None


def sent(sim: Sim, market: Market, topic: str, seconds: int) -> list[bytes]:
    """What a topic sends in the next seconds."""
    session = sim.exchange.open_stream(f"{PATHS[market]}/{topic}", "")
    assert isinstance(session, StreamSession)
    texts: list[bytes] = []
    until = sim.now + seconds * SECOND
    while sim.now < until:
        sim.now = max(sim.now + 1, session.next_ms(sim.now))
        texts += [text.encode() for text in session.due(sim.now) if isinstance(text, str)]
    return texts


@pytest.mark.parametrize("key", TOPICS, ids=str)
def test_each_frame_of_the_sim_has_the_bytes_that_rest_prints_at_its_time(key: SeriesKey) -> None:
    end_of_all = T0 + 16 * 3_600_000  # 16:00 UTC ends minutes, hours and the days of UTC+8
    sim = Sim(now=end_of_all - 8 * SECOND)
    frames = [read_frame(data, key) for data in sent(sim, key.market, TOPICS[key], 16)]
    assert len(frames) >= 5
    path = f"{key.market.prefix}{key.kind}"
    for frame in frames:
        query = request_query(key, frame.row.open_ms, frame.row.open_ms, 1)
        truth = sim.exchange.truth(path, query, dict(_lower(request_headers(key))), at_ms=frame.event_ms)
        assert b"[%b]" % frame.row.raw == truth
    ends = {frame.row.close_ms for frame in frames if frame.event_ms > frame.row.close_ms}
    finals = [frame.row.close_ms for frame in frames if frame.final]
    assert finals == sorted(ends)
    assert finals or key.interval in {"1w", "1M"}


def _lower(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers]


@pytest.mark.parametrize("volume", ["0", "0.0", "17"])
def test_prices_of_an_index_have_no_volume_as_in_rest(volume: str) -> None:
    data = edited(e="indexPrice_kline", s=None, ps="BTCUSD", k_s="0", k_v=volume, k_q=volume, k_V=volume, k_Q=volume)
    row = json.loads(read_frame(data, INDEX).row.raw)
    assert [row[column] for column in (5, 7, 8, 9, 10, 11)] == ["0", "0", 2239, "0", "0", "0"]


@pytest.mark.parametrize(
    ("event_ms", "flag", "final"),
    [
        (CLOSE - 1, True, False),  # before its close nothing is final, whatever it says
        (CLOSE, True, True),
        (CLOSE + 2_000, True, True),
        (CLOSE + 2_000, False, False),
    ],
)
def test_a_frame_is_final_if_it_says_so_and_the_candle_has_closed(event_ms: int, flag: bool, final: bool) -> None:
    assert read_frame(edited(E=event_ms, k_x=flag), LIVE_KEY).final is final


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not-json"),
        (b"<html></html>", "not-json"),
        (LIVE[:-9], "not-json"),
        (LIVE.replace(b'"83896.40"', b'"\xff"'), "not-json"),
        (b"[" * 20_000, "types"),
        (LIVE.replace(b'"114.602"', b"[" * 20_000), "not-json"),
        (b"null", "types"),
        (b"[]", "types"),
        (edited(k=None), "types"),
        (edited(E=None), "types"),
        (edited(E="1790771371858"), "types"),
        (edited(k_x=None), "types"),
        (edited(k_x=1), "types"),
        (edited(k_x="true"), "types"),
        (edited(k_o=None), "types"),
        (edited(k_o=83896.4), "types"),
        (edited(k_V=None), "types"),
        (edited(k_v=["1", "2"]), "types"),
        (edited(k_n="2239"), "types"),
        (edited(e="continuous_kline"), "mismatch"),
        (edited(e="trade"), "mismatch"),
        (edited(s="ETHUSDT"), "mismatch"),
        (edited(k_s="ETHUSDT"), "mismatch"),
        (edited(s=None, ps="BTCUSDT"), "mismatch"),
        (edited(k_i="5m"), "mismatch"),
        (edited(k_h="83860.05"), "prices"),
        (edited(k_c="NaN"), "prices"),
        (edited(k_l='1","2'), "prices"),
        (edited(k_n=-1), "close-time"),
        (edited(k_T=1_790_771_339_999), "close-time"),
        (edited(k_t=-60_000, k_T=-1), "order"),
        (edited(k_T=1_790_771_400_000), "interval"),
        (edited(k_T=1_790_771_340_999), "interval"),  # a candle of a second
        (edited(E=1_790_771_339_999), "window"),
        (edited(E=1_790_771_371_858_000), "window"),  # the streams are asked for milliseconds
        (edited(E=1_790_771_371_858_000, k_t=1_790_771_340_000_000, k_T=1_790_771_399_999_999), "window"),
        (edited(E=10**30), "window"),
    ],
)
def test_broken_frames(data: bytes, why: str) -> None:
    assert reason(data) == why


@pytest.mark.parametrize("key", [replace(LIVE_KEY, subject="BTCUSDC"), replace(LIVE_KEY, interval="3m"), MARK, INDEX])
def test_a_frame_of_another_series(key: SeriesKey) -> None:
    assert reason(LIVE, key) == "mismatch"


def test_contracts_of_a_pair_are_told_apart() -> None:
    data = edited(e="continuous_kline", s=None, k_s=None, ps="BTCUSDT", ct="PERPETUAL")
    assert read_frame(data, replace(CONTINUOUS, contract_type="PERPETUAL")).row.raw == LIVE_ROW
    assert reason(data, CONTINUOUS) == "mismatch"


# a spot array in the form of docs/binance.md#kline-streams; on futures each has `st` and `ps`
TICKERS = (
    b'[{"e":"24hrMiniTicker","E":1790771371001,"s":"BTCUSDT","c":"1","o":"1","h":"1","l":"1","v":"9","q":"9"},'
    b'{"e":"24hrMiniTicker","E":1790771371858,"s":"ETHUSDT","c":"1","o":"1","h":"1","l":"1","v":"9","q":"9",'
    b'"ps":"ETHUSDT","st":1}]'
)


def test_mini_tickers() -> None:
    assert read_mini_tickers(TICKERS, Market.USDM) == (1_790_771_371_858, ["BTCUSDT", "ETHUSDT"])


def test_mini_tickers_of_the_other_futures_market_prove_nothing() -> None:
    both = b'[{"e":"24hrMiniTicker","E":9,"s":"BTCUSDT","st":1},{"e":"24hrMiniTicker","E":11,"s":"BTCUSD_PERP","st":2}]'
    assert read_mini_tickers(both, Market.USDM) == (9, ["BTCUSDT"])
    assert read_mini_tickers(both.replace(b'"st":2', b'"st":3'), Market.USDM) == (9, ["BTCUSDT", "BTCUSD_PERP"]), (
        "a product that is not known may be traded here"
    )
    assert read_mini_tickers(both, Market.COINM) == (11, ["BTCUSD_PERP"])
    assert read_mini_tickers(both.replace(b'"st":1', b'"st":2'), Market.USDM) == (-1, [])


@pytest.mark.parametrize("market", Market)
def test_mini_tickers_of_the_sim_name_what_traded(market: Market) -> None:
    arrays = [read_mini_tickers(data, market) for data in sent(Sim(), market, MINI_TICKERS, 5)]
    assert len(arrays) >= 4
    assert len({event_ms for event_ms, _ in arrays}) == len(arrays)
    assert all(symbols for _, symbols in arrays)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[]", "empty"),
        (b"{}", "types"),
        (b"[", "not-json"),
        (TICKERS.replace(b"24hrMiniTicker", b"24hrTicker", 1), "mismatch"),
        (TICKERS.replace(b'"BTCUSDT"', b"null"), "types"),
        (TICKERS.replace(b"1858", b"1858000"), "window"),
        (TICKERS.replace(b"17907713", b"-17907713"), "window"),
    ],
)
def test_broken_mini_tickers(data: bytes, why: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        read_mini_tickers(data, Market.SPOT)
    assert caught.value.reason == why


def quietly(data: bytes, key: SeriesKey) -> None:
    """Nothing but `InvalidBody`, and what passes is a row that JSON can be made of."""
    try:
        row = json.loads(read_frame(data, key).row.raw)
    except InvalidBody:
        pass
    else:
        assert len(row) == 12
    try:
        event_ms, symbols = read_mini_tickers(data, Market.USDM)
    except InvalidBody:
        pass
    else:
        assert event_ms >= 0
        assert symbols


@given(data=st.binary(), key=st.sampled_from(list(TOPICS)))
@examples(50)
def test_random_bytes_raise_nothing_else(data: bytes, key: SeriesKey) -> None:
    quietly(data, key)


@given(good=st.sampled_from([LIVE, TICKERS]), seed=st.integers(0, 2**32))
@examples(200)
def test_junk_raises_nothing_else(good: bytes, seed: int) -> None:
    quietly(junk(good, random.Random(seed)), LIVE_KEY)
