"""Streams send what REST shows at the same moment, when Binance would, and what clients say to them."""

import json
from itertools import pairwise
from typing import Any

import pytest

from mdcache.sim.streams.session import Closing
from tests.sim.helpers import MINUTE, SECOND, T0, Sim
from tests.sim.stream_listener import Listener

START = T0 + 7 * 3_600_000 - 20 * SECOND  # twenty seconds before a full hour
REST = {
    "kline": {"": "/api/v3/klines", "/usdm": "/fapi/v1/klines", "/coinm": "/dapi/v1/klines"},
    "continuous_kline": {"/usdm": "/fapi/v1/continuousKlines", "/coinm": "/dapi/v1/continuousKlines"},
    "indexPrice_kline": {"/coinm": "/dapi/v1/indexPriceKlines"},
    "markPrice_kline": {"/coinm": "/dapi/v1/markPriceKlines"},
}
BASES = {"spot": "", "usdm": "/usdm", "coinm": "/coinm"}
PLAIN = {"spot": "/ws", "usdm": "/usdm/market/ws", "coinm": "/coinm/ws"}


@pytest.fixture
def sim() -> Sim:
    return Sim(now=START)


def shown(sim: Sim, event: dict[str, Any], base: str) -> list[Any]:
    """The row that REST has for the candle of an event, as of its time."""
    candle = event["k"]
    name = {"pair": event.get("ps"), "contractType": event.get("ct")} if "ps" in event else {"symbol": event["s"]}
    if event["e"] == "markPrice_kline":
        name = {"symbol": candle["s"]}
    asked = {**name, "interval": candle["i"], "startTime": candle["t"], "endTime": candle["t"]}
    query = "&".join(f"{key}={value}" for key, value in asked.items() if value is not None)
    rows: list[list[Any]] = json.loads(sim.exchange.truth(REST[event["e"]][base], query, at_ms=event["E"]))
    assert len(rows) == 1, query
    return rows[0]


def row_of(candle: dict[str, Any]) -> list[Any]:
    return [candle[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")]


TOPICS = [
    ("spot", "btcusdt@kline_1m"),
    ("spot", "btcusdt@kline_1s"),
    ("spot", "btcusdt@kline_1h"),
    ("spot", "btcusdt@kline_1d@+08:00"),
    ("spot", "币安人生usdt@kline_1m"),
    ("usdm", "btcusdt@kline_1m"),
    ("usdm", "btcusdt@kline_1w"),
    ("usdm", "btcusdt_perpetual@continuousKline_5m"),
    ("usdm", "btcusdt_current_quarter@continuousKline_1m"),
    ("coinm", "btcusd_perp@kline_1m"),
    ("coinm", "btcusd_perpetual@continuousKline_1m"),
    ("coinm", "btcusd@indexPriceKline_1m"),
    ("coinm", "btcusd_perp@markPriceKline_1m"),
]


@pytest.mark.parametrize(("market", "topic"), TOPICS)
def test_a_frame_is_the_row_that_rest_shows(sim: Sim, market: str, topic: str) -> None:
    listener = Listener(sim, f"{PLAIN[market]}/{topic}").listen(25)
    assert len(listener.events) >= 8
    for event in listener.events:
        if topic.endswith("+08:00"):  # REST shows the zone's days only if asked for them
            query = f"symbol=BTCUSDT&interval=1d&timeZone=8&startTime={event['k']['t']}&limit=1"
            row = json.loads(sim.exchange.truth("/api/v3/klines", query, at_ms=event["E"]))[0]
        else:
            row = shown(sim, event, BASES[market])
        assert row_of(event["k"]) == row[:11]
        assert event["k"]["L"] - event["k"]["f"] + 1 == event["k"]["n"]


def test_seconds_exist_on_futures_as_continuous_klines_only(sim: Sim) -> None:
    listener = Listener(sim, "/usdm/market/ws/btcusdt@kline_1s/btcusdt_perpetual@continuousKline_1s").listen(10)
    assert {event["e"] for event in listener.events} == {"continuous_kline"}
    assert [event["k"]["x"] for event in listener.events].count(True) >= 8


@pytest.mark.parametrize(("market", "topic"), TOPICS[:1] + TOPICS[5:6] + TOPICS[9:])
def test_a_candle_ends_once_and_none_is_missing(sim: Sim, market: str, topic: str) -> None:
    events = Listener(sim, f"{PLAIN[market]}/{topic}").listen(4 * 60).events
    finals = [event for event in events if event["k"]["x"]]
    assert [event["k"]["t"] for event in finals] == [START - 40 * SECOND + n * MINUTE for n in range(4)]
    for one, following in pairwise(finals):
        assert following["k"]["f"] == one["k"]["L"] + 1
    assert [event["E"] for event in events] == sorted(event["E"] for event in events)


def test_on_spot_the_closed_candle_comes_first(sim: Sim) -> None:
    events = Listener(sim, "/ws/btcusdt@kline_1m").listen(60).events
    (final,) = (place for place, event in enumerate(events) if event["k"]["x"])
    assert 200 <= events[final]["E"] - events[final]["k"]["T"] < 300
    assert {event["k"]["t"] for event in events[: final + 1]} == {START - 40 * SECOND}
    assert {event["k"]["t"] for event in events[final + 1 :]} == {START + 20 * SECOND}
    gaps = [following["E"] - one["E"] for one, following in pairwise(events[final + 1 :])]
    assert set(gaps) == {2_000}


def test_on_futures_the_next_candle_is_shown_before_the_closed_one_ends(sim: Sim) -> None:
    events = Listener(sim, "/usdm/market/ws/btcusdt@kline_1m").listen(60).events
    (final,) = (place for place, event in enumerate(events) if event["k"]["x"])
    assert 2_000 <= events[final]["E"] - events[final]["k"]["T"] < 2_100
    assert [event["k"]["t"] for event in events[final - 3 : final + 2]] == [
        *[START + 20 * SECOND] * 3, START - 40 * SECOND, START + 20 * SECOND,
    ]  # fmt: skip


def test_nothing_is_sent_where_nothing_is_traded_unless_told(sim: Sim) -> None:
    quiet = Listener(sim, "/ws/quietusdt@kline_1m").listen(10 * 60)
    traded = [event["k"]["n"] for event in quiet.events]
    assert all(traded)
    assert len(traded) < 40  # of the 300 there would be
    sim.control.quiet_topics(silent=False)
    told = Listener(sim, "/ws/quietusdt@kline_1m").listen(10 * 60)
    assert 0 in [event["k"]["n"] for event in told.events]
    assert [event["k"]["x"] for event in told.events].count(True) == 10
    empty = next(event["k"] for event in told.events if event["k"]["x"] and not event["k"]["n"])
    assert (empty["f"], empty["L"], empty["o"]) == (-1, -1, empty["c"])


def test_mini_tickers_name_just_the_symbols_that_traded(sim: Sim) -> None:
    listener = Listener(sim, "/stream", "streams=!miniTicker@arr").listen(30)
    named = []
    for event in listener.events:
        assert event["stream"] == "!miniTicker@arr"
        named.append({one["s"] for one in event["data"]})
        for one in event["data"]:
            query = f"symbol={one['s']}"
            day = json.loads(sim.exchange.truth("/api/v3/ticker/24hr", query, at_ms=one["E"]))
            assert (one["c"], one["h"], one["v"]) == (day["lastPrice"], day["highPrice"], day["volume"])
    assert len(named) == 30
    assert all("BTCUSDT" in one for one in named)
    assert sum("QUIETUSDT" in one for one in named) < 5


def test_both_futures_markets_share_their_mini_tickers(sim: Sim) -> None:
    for path in ("/usdm/market/ws/!miniTicker@arr", "/coinm/ws/!miniTicker@arr"):
        products = {(one["s"], one["st"]) for event in Listener(sim, path).listen(20).events for one in event}
        assert {("BTCUSDT", 1), ("BTCUSD_PERP", 2)} <= products


@pytest.mark.parametrize(
    ("path", "topic"),
    [
        ("/ws", "BTCUSDT@kline_1m"),
        ("/ws", "nosuch@kline_1m"),
        ("/ws", "btcusdt@kline_7m"),
        ("/ws", "btcusdt@markPriceKline_1m"),
        ("/ws", "0"),
        ("/usdm/ws", "btcusdt@kline_1m"),
        ("/usdm/public/ws", "btcusdt@kline_1m"),
        ("/coinm/ws", "btcusdt@kline_1m"),
    ],
)
def test_a_topic_that_is_nothing_is_acknowledged_and_silent(sim: Sim, path: str, topic: str) -> None:
    listener = Listener(sim, path)
    listener.subscribe(topic)
    assert listener.say({"method": "LIST_SUBSCRIPTIONS", "id": 2}) == json.dumps(
        {"result": [topic], "id": 2}, separators=(",", ":")
    )
    assert listener.listen(130).texts == []


def test_microseconds_are_asked_for_in_the_address(sim: Sim) -> None:
    (event, *_) = Listener(sim, "/stream", "streams=btcusdt@kline_1m&timeUnit=MICROSECOND").listen(5).events
    candle = event["data"]["k"]
    assert (candle["t"], candle["T"]) == ((START - 40 * SECOND) * 1000, (START + 20 * SECOND) * 1000 - 1)
    assert event["data"]["E"] > START * 1000


# -------------------------------------------------------------------------------------------- messages


def test_subscriptions_change_while_it_runs(sim: Sim) -> None:
    listener = Listener(sim, "/ws")
    assert listener.listen(10).texts == []
    listener.subscribe("btcusdt@kline_1m", "btcusdt@kline_1m")
    assert len(listener.listen(10).texts) == 5
    assert listener.say({"method": "UNSUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 2}) is not None
    listener.texts.clear()
    assert listener.listen(10).texts == []
    listener.subscribe("btcusdt@kline_1m")
    assert len(listener.listen(10).texts) == 5
    assert listener.say({"method": "SET_PROPERTY", "params": ["combined", True], "id": 3}) == '{"result":null,"id":3}'
    assert listener.say({"method": "GET_PROPERTY", "params": ["combined"], "id": 4}) == '{"result":true,"id":4}'
    assert listener.listen(4).events[-1]["stream"] == "btcusdt@kline_1m"


@pytest.mark.parametrize(
    ("path", "message", "code"),
    [
        ("/ws", "{", 3),
        ("/ws", "[" * 4_000, 3),
        ("/ws", [1], 2),
        ("/ws", {"method": "SUBSCRIBE", "params": ["a"], "id": 1.5}, 2),
        ("/usdm/ws", {"method": "SUBSCRIBE", "params": ["a"], "id": None}, 2),
        ("/usdm/ws", {"method": "SUBSCRIBE", "params": ["a"], "id": -1}, 2),
        ("/ws", {"method": "subscribe", "params": ["a"], "id": 1}, 2),
        ("/ws", {"method": "SUBSCRIBE", "params": "a", "id": 1}, 2),
        ("/ws", {"method": "SUBSCRIBE", "params": [1], "id": 1}, 2),
        ("/ws", {"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}, 1),
        ("/ws", {"method": "GET_PROPERTY", "params": ["other"], "id": 1}, 0),
    ],
)
def test_a_wrong_message_is_refused_as_at_binance(sim: Sim, path: str, message: object, code: int) -> None:
    assert json.loads(Listener(sim, path).say(message) or "")["code"] == code


def test_spot_takes_any_kind_of_id(sim: Sim) -> None:
    for number in (7, -7, "uuid", None):
        answer = Listener(sim, "/ws").say({"method": "SUBSCRIBE", "params": ["a"], "id": number})
        assert json.loads(answer or "") == {"result": None, "id": number}


def test_futures_take_texts_as_ids_for_binance_s_own_packages_send_them(sim: Sim) -> None:
    for path in ("/usdm/market/stream", "/coinm/stream"):
        answer = Listener(sim, path).say({"method": "SUBSCRIBE", "params": ["a"], "id": "a78ff3ca-2368-4ec8"})
        assert json.loads(answer or "") == {"result": None, "id": "a78ff3ca-2368-4ec8"}


def test_a_long_message_is_ignored_without_a_word(sim: Sim) -> None:
    listener = Listener(sim, "/ws")
    topics = [f"t{number:03}usdt@kline_1m" for number in range(400)]
    assert listener.say({"method": "SUBSCRIBE", "params": topics, "id": 1}) is None
    assert listener.session.topics == ()


def test_too_many_topics_or_messages_end_the_connection(sim: Sim) -> None:
    listener = Listener(sim, "/stream", f"streams={'/'.join(map(str, range(1_024)))}")
    assert listener.open
    answer = listener.say({"method": "SUBSCRIBE", "params": ["one more"], "id": 1})
    assert answer == '{"error":{"code":4,"msg":"Too many subscriptions"}}'
    assert listener.end == Closing(1008, "Too many subscriptions")
    hasty = Listener(sim, "/ws")
    for number in range(10):
        hasty.say({"method": "LIST_SUBSCRIPTIONS", "id": number})
    assert hasty.open
    hasty.say({"method": "LIST_SUBSCRIPTIONS", "id": 10})
    assert hasty.end == Closing(1008, "Too many requests")


def test_one_message_a_second_may_be_sent_for_ever(sim: Sim) -> None:
    patient = Listener(sim, "/ws")
    for number in range(60):
        assert patient.say({"method": "LIST_SUBSCRIPTIONS", "id": number}) is not None
        sim.now += SECOND
