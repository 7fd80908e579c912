"""Streams fail as they are told to, and end as Binance ends them."""

from collections.abc import Iterator
from typing import Any

import pytest

from mdcache.sim import ExchangeReply
from mdcache.sim.streams.session import Closing, StreamSession, _break
from tests.sim.helpers import SECOND, T0, Sim
from tests.sim.stream_listener import Listener

START = T0 + 7 * 3_600_000 - 20 * SECOND  # twenty seconds before a full hour


@pytest.fixture
def sim() -> Sim:
    return Sim(now=START)


def refused(sim: Sim, path: str = "/ws", client: str = "127.0.0.1") -> ExchangeReply:
    reply = sim.exchange.open_stream(path, "", client)
    assert isinstance(reply, ExchangeReply)
    return reply


@pytest.mark.parametrize(("kind", "status"), [("403", 403), ("451", 451), ("429", 429), ("418", 418), ("503", 503)])
def test_a_handshake_is_refused_by_the_faults_of_requests(sim: Sim, kind: str, status: int) -> None:
    sim.control.fault(kind, count=1, path="/ws", retry_after_s=7)
    reply = refused(sim)
    assert reply.status == status
    if kind in {"429", "418"}:
        assert ("Retry-After", "7") in reply.headers
    assert sim.exchange.counts["/ws", status] == 1
    Listener(sim, "/ws")


@pytest.mark.parametrize("kind", ["timeout", "drop"])
def test_a_firewall_answers_nothing(sim: Sim, kind: str) -> None:
    sim.control.fault(kind, path="/usdm/")
    assert refused(sim, "/usdm/market/ws").fault == kind
    Listener(sim, "/ws")


def test_a_ban_counts_for_streams_too(sim: Sim) -> None:
    sim.control.ban("futures", 60)
    assert (refused(sim, "/coinm/ws").status, refused(sim, "/usdm/market/stream").status) == (418, 418)
    Listener(sim, "/ws")
    sim.now += 61 * SECOND
    Listener(sim, "/coinm/ws")


def test_an_address_connects_300_times_in_five_minutes(sim: Sim) -> None:
    for _ in range(300):
        Listener(sim, "/ws")
    assert refused(sim).status == 429
    assert isinstance(sim.exchange.open_stream("/ws", "", "10.9.8.7"), StreamSession)
    sim.now += 300 * SECOND
    Listener(sim, "/ws")


def test_other_paths_are_unknown(sim: Sim) -> None:
    assert [refused(sim, path).status for path in ("/", "/wss", "/usdm", "/spot/ws")] == [404] * 4


TOPIC = "btcusdt@kline_1m"


def faulty(sim: Sim, kind: str, **more: Any) -> Listener:
    sim.control.stream_fault(kind, **more)
    return Listener(sim, f"/ws/{TOPIC}/币安人生usdt@kline_1m").listen(30)


def symbols(events: list[dict[str, Any]]) -> Iterator[str]:
    return (event["s"] for event in events)


def test_a_topic_falls_silent_under_a_live_connection(sim: Sim) -> None:
    assert set(symbols(faulty(sim, "silent", topic="btcusdt").events)) == {"币安人生USDT"}
    sim.control.clear_stream_faults()
    assert set(symbols(Listener(sim, f"/ws/{TOPIC}").listen(5).events)) == {"BTCUSDT"}


def test_a_fault_ends_by_itself_and_is_of_its_connections_only(sim: Sim) -> None:
    sim.control.stream_fault("silent", market="spot", path="/stream", seconds=10)
    plain, combined = Listener(sim, f"/ws/{TOPIC}"), Listener(sim, "/stream", f"streams={TOPIC}")
    combined.listen(9.9)
    assert combined.texts == []
    assert combined.listen(5).texts
    assert plain.listen(5).texts


def test_half_of_the_topics_are_forgotten(sim: Sim) -> None:
    assert set(symbols(faulty(sim, "half").events)) == {"BTCUSDT"}


def test_the_same_frame_comes_for_ever(sim: Sim) -> None:
    listener = Listener(sim, f"/ws/{TOPIC}").listen(3)
    before = listener.texts[-1]
    sim.control.stream_fault("stuck")
    assert set(listener.listen(20).texts[len(listener.texts) :]) <= {before}
    assert listener.texts.count(before) >= 10


def test_final_frames_are_lost(sim: Sim) -> None:
    events = faulty(sim, "no_finals").events
    assert not any(event["k"]["x"] for event in events)
    assert {event["k"]["t"] for event in events} == {START - 40 * SECOND, START + 20 * SECOND}


def test_frames_come_late(sim: Sim) -> None:
    listener = faulty(sim, "late", delay_s=8, topic=TOPIC)
    late = [event["E"] for event in listener.events if event["s"] == "BTCUSDT"]
    assert late
    assert max(late) <= sim.now - 8_000
    assert late == sorted(late)


def test_garbage_is_sent(sim: Sim) -> None:
    texts = faulty(sim, "garbage").texts
    assert '{"e":"kline","E":17' in texts
    assert not any('"o":' in text for text in texts)


def test_frames_are_broken() -> None:
    broken = [_break('{"stream":"a","data":1}', number) for number in range(3)]
    assert broken == ['{"stream":"a","', 'data":1}', '{"stream":"a","{"stream":"a","data":1}']


@pytest.mark.parametrize(("kind", "code"), [("dropped", None), ("ended", 1000)])
def test_connections_live_for_a_second(sim: Sim, kind: str, code: int | None) -> None:
    listener = faulty(sim, kind, life_s=1)
    assert listener.end == Closing(code)
    assert 1_000 <= listener.ended_at - START <= 1_250
    assert listener.session.closed


def test_a_connection_ends_after_a_day(sim: Sim) -> None:
    listener = Listener(sim, "/ws")
    sim.now += 24 * 3_600_000 - 1
    assert listener.session.due(sim.now) == []
    assert listener.listen(1).end == Closing(1000)


def test_everybody_is_disconnected(sim: Sim) -> None:
    spot, futures = Listener(sim, f"/ws/{TOPIC}"), Listener(sim, "/usdm/market/ws")
    sim.now += SECOND
    sim.control.close_streams(market="spot")
    assert spot.listen(1).end == Closing(None)
    assert futures.listen(1).end is None
    assert Listener(sim, "/ws").listen(1).end is None, "those that connect again stay"


def test_a_shutdown_is_announced(sim: Sim) -> None:
    plain, combined = Listener(sim, "/ws"), Listener(sim, "/stream")
    sim.now += SECOND
    sim.control.close_streams(notice_s=10)
    combined.listen(1)
    assert combined.events == [
        {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": START + SECOND}},
    ]
    plain.listen(20)
    assert [event["e"] for event in plain.events] == ["serverShutdown"]
    assert plain.end == Closing(1001)
    assert plain.ended_at >= START + 11 * SECOND


def test_a_reset_ends_every_fault(sim: Sim) -> None:
    sim.control.stream_fault("silent")
    sim.control.quiet_topics(silent=False)
    sim.control.close_streams()
    sim.control.reset()
    listener = Listener(sim, f"/ws/{TOPIC}").listen(5)
    assert listener.texts
    assert listener.end is None


def test_unknown_faults_are_refused(sim: Sim) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        sim.control.stream_fault("nonsense")


def test_topics_follow_listings(sim: Sim) -> None:
    listener = Listener(sim, "/ws/minteusdt@kline_1m/btcusdt@kline_1m")
    assert set(symbols(listener.listen(5).events)) == {"BTCUSDT"}
    sim.control.list_symbol("spot", "MINTEUSDT", trades_per_day=500_000)
    assert set(symbols(listener.listen(10).events)) == {"BTCUSDT", "MINTEUSDT"}
    sim.control.halt("spot", "MINTEUSDT")
    sim.now += 2 * SECOND
    listener.texts.clear()
    ends = [event["k"]["x"] for event in listener.listen(40).events if event["s"] == "MINTEUSDT"]
    assert ends[-1:] == [True]
    assert len(ends) <= 2, "at most what was traded before the halt, then the end"
