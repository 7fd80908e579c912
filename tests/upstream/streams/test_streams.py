"""Streams before the simulated exchange: topics, limits, lives, paths and the gate."""

import json
from itertools import pairwise

import pytest

from mdcache.events import BackgroundTaskFailed
from mdcache.exchange.markets import Market
from mdcache.sim.api.replies import ExchangeReply
from mdcache.sim.streams.session import StreamSession
from mdcache.stream_events import ConnectReason, StreamConnected, StreamEnd, StreamEnded, StreamsSilent
from mdcache.upstream.streams.limits import LIMITS, MESSAGE_BYTES, TOPICS_A_CONNECTION
from tests.upstream.streams.world import BTC, SOME, StreamWorld

pytestmark = pytest.mark.virtual

QUIET = "quietusdt@kline_1m"


def _methods(world: StreamWorld, connection: int = 0) -> list[str]:
    return [json.loads(text)["method"] for _, text in world.net.connections[connection].sent]


# ------------------------------------------------------------------------------------------- topics


async def test_without_topics_nothing_is_connected_and_after_the_last_one_everything_closes() -> None:
    world = StreamWorld()
    await world.wait(120)
    assert world.net.attempts == []
    world.subscribe(*SOME)
    await world.wait(5)
    assert len(world.net.open) == 1
    for topic in SOME:
        world.streams.unsubscribe(Market.SPOT, topic)
    await world.wait(1.5)
    assert world.net.open == []
    assert world.status().connections == world.status().topics == 0
    await world.wait(120)
    assert len(world.net.attempts) == 1
    assert [event.end for event in world.matching(StreamEnded)] == [StreamEnd.UNUSED]


async def test_a_topic_given_up_before_it_could_be_connected_leaves_nothing() -> None:
    world = StreamWorld()
    world.control.fault("timeout", path="/stream")
    world.subscribe(BTC)
    await world.wait(2)
    world.streams.unsubscribe(Market.SPOT, BTC)
    await world.wait(60)
    assert len(world.net.attempts) == 1
    world.control.clear_faults()
    world.subscribe(BTC)
    await world.wait(5)
    assert world.consumer.accepted[Market.SPOT, BTC], "the turn that was given up is not in the way"


async def test_subscribing_is_idempotent() -> None:
    world = StreamWorld()
    world.subscribe(BTC, BTC, "!miniTicker@arr")
    world.streams.unsubscribe(Market.SPOT, "never@kline_1m")
    await world.wait(3)
    assert [json.loads(text)["params"] for _, text in world.net.connections[0].sent[:1]] == [[BTC, "!miniTicker@arr"]]
    assert world.status().topics == 1


async def test_at_each_connect_the_list_is_made_anew_from_what_is_wanted() -> None:
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(5)
    world.net.pull_the_cable()
    await world.wait(12)
    world.streams.unsubscribe(Market.SPOT, SOME[0])
    world.subscribe("adausdt@kline_1m")
    world.net.unplugged = False
    await world.wait(10)
    subscribed = {topic for _, text in world.net.connections[1].sent for topic in json.loads(text).get("params", [])}
    assert subscribed == {*SOME[1:], "adausdt@kline_1m", "!miniTicker@arr"}
    assert _methods(world, 1)[0] == "SUBSCRIBE"


@pytest.mark.exhaustive
async def test_many_topics_are_spread_over_connections_and_messages() -> None:
    world = StreamWorld()
    topics = [f"symbol{number:04d}usdt@kline_15m" for number in range(2 * TOPICS_A_CONNECTION + 100)]
    world.subscribe(*topics)
    await world.wait(9)
    sessions = [connection.session for connection in world.net.open]
    assert len(sessions) == 3
    assert max(len(session.topics) for session in sessions) <= TOPICS_A_CONNECTION
    assert {topic for session in sessions for topic in session.topics} == {*topics, "!miniTicker@arr"}
    assert sum("!miniTicker@arr" in session.topics for session in sessions) == 1
    for connection in world.net.open:
        assert max(len(text.encode()) for _, text in connection.sent) <= MESSAGE_BYTES
        gaps = [after - before for (before, _), (after, _) in pairwise(connection.sent)]
        assert min(gaps) >= LIMITS[Market.SPOT].message_every_s - 1e-6
    first = next(one for one in sessions if "!miniTicker@arr" in one.topics)
    for topic in first.topics:
        world.streams.unsubscribe(Market.SPOT, topic)
    await world.wait(5)
    left = [connection.session for connection in world.net.open]
    assert len(left) == 2
    assert sum("!miniTicker@arr" in session.topics for session in left) == 1


# ------------------------------------------------------------------------------------------ silence


async def test_a_topic_that_dies_under_a_live_connection_is_subscribed_to_again() -> None:
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(5)
    session = world.net.connections[0].session
    session._topics[BTC] = None  # acknowledged, and silent from now on
    died_s = world.clock.now()
    await world.wait(36)
    assert world.consumer.since(died_s, Market.SPOT, BTC)[0] <= 35
    assert [event.example for event in world.matching(StreamsSilent)] == [BTC]
    assert len(world.net.attempts) == 1


@pytest.mark.exhaustive
async def test_quiet_topics_cost_no_connects() -> None:
    world = StreamWorld()
    world.subscribe(QUIET, "nothing@kline_1m", "neither@kline_1m")
    await world.wait(300)
    assert len(world.net.attempts) == 1
    assert len(world.net.connections[0].sent) < 30


async def test_ages_are_kept_by_topic() -> None:
    world = StreamWorld()
    world.subscribe(BTC, "nothing@kline_1m")
    await world.wait(90)
    assert (world.streams.silent_s(Market.SPOT, BTC) or 0) <= 2
    assert world.streams.silent_s(Market.SPOT, "nothing@kline_1m") == pytest.approx(90, abs=0.1)
    assert (world.streams.silent_s(Market.SPOT, "!miniTicker@arr") or 0) <= 1
    assert world.streams.silent_s(Market.SPOT, "unwanted@kline_1m") is None
    status = world.status()
    assert (status.topics, status.fed, status.silent, status.connections) == (2, 1, 1, 1)
    assert status.frames > 100
    assert (status.connects_last_minute, status.connects_last_hour) == (0, 1)


@pytest.mark.exhaustive
async def test_a_dead_topic_is_renewed_at_once_and_then_its_connection_is_replaced() -> None:
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(5)
    world.net.connections[0].session._topics[BTC] = None
    world.streams.renew(Market.SPOT, BTC)
    renewed_s = world.clock.now()
    await world.wait(3)
    assert world.consumer.since(renewed_s, Market.SPOT, BTC)[0] < 3
    world.control.stream_fault("silent", topic=BTC)
    for _ in range(15):
        await world.wait(12)
        world.streams.renew(Market.SPOT, BTC)
        world.streams.renew(Market.SPOT, "unwanted@kline_1m")
    assert [event.reason for event in world.matching(StreamConnected)] == [ConnectReason.FIRST, ConnectReason.SILENT]
    assert len(world.net.open) == 1


async def test_the_sink_is_told_where_tickers_may_be_missing() -> None:
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(5)
    assert world.consumer.interrupted == []
    world.control.close_streams()
    await world.wait(1)
    assert world.consumer.interrupted == [Market.SPOT]
    await world.wait(10)
    for topic in SOME:
        world.streams.unsubscribe(Market.SPOT, topic)
    assert world.consumer.interrupted == [Market.SPOT] * 2


async def test_what_can_not_be_read_may_have_been_tickers() -> None:
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(5)
    world.control.stream_fault("garbage", topic="!miniTicker", seconds=2)
    await world.wait(5)
    assert len(world.consumer.interrupted) == 2


async def test_tickers_that_the_sink_could_not_take_are_missing() -> None:
    world = StreamWorld()
    world.subscribe(BTC)
    await world.wait(5)
    world.consumer.fails = True
    await world.wait(1.5)
    world.consumer.fails = False
    assert Market.SPOT in world.consumer.interrupted


# ------------------------------------------------------------------------------------------- lives


async def _undisturbed(seconds: float) -> dict[tuple[Market, str], list[int]]:
    """The event times of all frames on one connection that nothing happens to."""
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(seconds)
    await world.aclose()
    return world.consumer.event_times


@pytest.mark.exhaustive
async def test_a_planned_replacement_loses_no_frame_and_is_far_from_the_full_minute() -> None:
    expected = await _undisturbed(105)
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(5)
    shard = world.streams._markets[Market.SPOT]._shards[0]
    assert shard._current is not None
    shard._current.replace_s = world.clock.now()
    await world.wait(100)
    first, second = world.net.connections
    assert world.consumer.event_times == expected
    assert first.ended_s is not None
    assert first.ended_s > second.opened_s + 0.5
    for at_s in (second.opened_s, first.ended_s):
        second_of_minute = (world.clock.true_ms() / 1000 - (world.clock.now() - at_s)) % 60
        assert 25 <= second_of_minute <= 50
    assert [event.reason for event in world.matching(StreamConnected)] == [ConnectReason.FIRST, ConnectReason.PLANNED]


async def test_an_announced_end_is_met_by_a_new_connection_that_loses_no_frame() -> None:
    expected = await _undisturbed(25)
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(5)
    world.control.close_streams(notice_s=10)
    await world.wait(20)
    assert world.consumer.event_times == expected
    assert [event.reason for event in world.matching(StreamConnected)] == [ConnectReason.FIRST, ConnectReason.SHUTDOWN]


@pytest.mark.exhaustive
async def test_a_planned_replacement_that_may_not_begin_is_no_reason_to_stay_silent() -> None:
    world = StreamWorld()
    world.subscribe(BTC)
    await world.wait(70)
    await world.wait((19.0 - world.clock.wall_ms() / 1000) % 60)
    (shard,) = world.streams._markets[Market.SPOT]._shards
    assert shard._current is not None
    shard._current.replace_s = 0.0
    world.net.pull_the_cable()  # at 19 s of the minute: a planned connect fails at 28 s, the silence counts from 29 s
    await world.wait(120)
    world.net.unplugged = False
    await world.wait(20)
    assert world.consumer.since(world.clock.now() - 5, Market.SPOT, BTC)[0] < 5


async def test_an_end_announced_too_late_costs_seconds() -> None:
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(5)
    world.control.close_streams(notice_s=0.5)
    await world.wait(0.5)
    end_s = world.clock.now()
    await world.wait(10)
    assert max(world.consumer.since(end_s, Market.SPOT, *SOME)) <= 6
    assert len(world.net.attempts) == 2


async def test_everybody_disconnected_for_an_hour_comes_back_soon_after() -> None:
    world = StreamWorld()
    world.subscribe(BTC)
    await world.wait(5)
    world.control.fault("503", path="/stream")
    world.control.close_streams()
    await world.wait(3_600)
    world.control.clear_faults()
    end_s = world.clock.now()
    await world.wait(16)
    assert world.consumer.since(end_s, Market.SPOT, BTC)[0] <= 15
    assert world.most_connects_a_minute() <= 20


# ------------------------------------------------------------------------------------- own mistakes


async def test_a_sink_that_raises_costs_no_connection() -> None:
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(5)
    world.consumer.fails = True
    await world.wait(10)
    world.consumer.fails = False
    end_s = world.clock.now()
    await world.wait(3)
    assert max(world.consumer.since(end_s, Market.SPOT, *SOME)) <= 2.5
    assert len(world.net.attempts) == 1
    assert all("LookupError" in event.detail for event in world.matching(BackgroundTaskFailed))


async def test_an_unforeseen_exception_restarts_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    world = StreamWorld()
    world.subscribe(*SOME)
    await world.wait(5)
    shard = world.streams._markets[Market.SPOT]._shards[0]
    calls = iter([True])

    def judge(now_s: float) -> None:
        if next(calls, False):
            raise ZeroDivisionError

    monkeypatch.setattr(shard, "_judge", judge)
    end_s = world.clock.now()
    await world.wait(8)
    assert max(world.consumer.since(end_s + 2, Market.SPOT, *SOME)) <= 5
    assert len(world.net.open) == 1
    assert len(world.matching(BackgroundTaskFailed)) == 1


async def test_an_unforeseen_exception_at_the_handshake_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = StreamWorld()
    real, calls = world.exchange.open_stream, iter([True])

    def raises_once(path: str, query: str, client: str) -> StreamSession | ExchangeReply:
        if next(calls, False):
            raise ZeroDivisionError
        return real(path, query, client)

    monkeypatch.setattr(world.exchange, "open_stream", raises_once)
    world.subscribe(BTC)
    await world.wait(6)
    assert world.consumer.accepted[Market.SPOT, BTC]
    assert len(world.matching(BackgroundTaskFailed)) == 1


async def test_closing_leaves_no_connection_and_no_task() -> None:
    world = StreamWorld()
    world.control.fault("timeout", path="/usdm")
    world.subscribe(*SOME)
    world.subscribe(BTC, market=Market.USDM)
    await world.wait(3)
    await world.streams.aclose()
    assert world.net.open == []


async def test_the_sink_is_told_when_another_connection_brings_the_tickers() -> None:
    world = StreamWorld()
    world.streams.subscribe(Market.SPOT, BTC)
    await world.clock.sleep(10.0)
    assert world.consumer.interrupted == []
    world.net.open[0].dead = True  # no frame, and no end
    await world.clock.sleep(30.0)
    assert world.consumer.interrupted == [Market.SPOT]
