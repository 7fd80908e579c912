"""The governor over a fake exchange, in virtual time: gate, budget, lanes, retries, cancellation."""

import asyncio
import math

import httpx
import pytest
import respx

from mdcache.clock import Instant
from mdcache.errors import DeadlinePassed, InvalidBody, Refusal, ServerFailed, TransportFailed
from mdcache.events import BodyRejected, QueueWaited, Retried, UpstreamCalled
from mdcache.exchange.markets import Market
from mdcache.upstream.governor import GovernorSettings
from mdcache.upstream.priority import Lane
from tests.support.fake_exchange import always, fake_read, first, governed, outcomes, refuse, zipped

pytestmark = pytest.mark.virtual


# ------------------------------------------------------------------------------------------ an answer


async def test_an_answer_and_its_event() -> None:
    world = await governed(trip_s=0.1, fault=always(lambda: zipped(b'[[1,"2"]]')))
    before = world.exchange.now_ms()
    reply = await world.governor.fetch(fake_read(Lane.HIGH, cost=2, market=Market.USDM))
    assert reply.body == b'[[1,"2"]]'
    assert abs(reply.sent.ms - before) <= reply.sent.error_ms
    assert reply.received.ms - reply.sent.ms == 100
    assert reply.doubt_ms == 0
    assert reply.round_trip_s == pytest.approx(0.1)
    [called] = world.events_of(UpstreamCalled)
    assert (called.market, called.endpoint, called.reason, called.lane) == ("usdm", "klines", "refresh", "high")
    assert (called.path, called.status, called.fault, called.weight) == ("/fapi/v1/klines", 200, "", 2)
    assert (called.body_bytes, called.rows, called.seconds) == (9, 1, pytest.approx(0.1))
    assert [event.lane for event in world.events_of(QueueWaited)] == ["high"]
    assert world.exchange.seen[0].path == "/base/fapi/v1/klines"
    minute = before // 60_000
    assert world.governor.reported_usage(Market.COINM) == world.governor.reported_usage(Market.USDM) == (minute, 8)
    assert world.governor.reported_usage(Market.SPOT) == (minute, None)  # its only reads were of an unmeasured clock
    await asyncio.sleep(60)
    assert world.governor.reported_usage(Market.USDM) == (minute + 1, None)


async def test_binance_refuses_the_question() -> None:
    world = await governed(fault=always(lambda: refuse(400, b'{"code":-1121,"msg":"Invalid symbol."}')))
    for _ in range(7):
        with pytest.raises(Refusal) as caught:
            await world.governor.fetch(fake_read())
        assert (caught.value.status, caught.value.code, caught.value.msg) == (400, -1121, "Invalid symbol.")
    assert len(world.exchange.seen) == 7
    assert world.gate() == "open"


@pytest.mark.parametrize(
    "body", [b"", b"<html>nothing here</html>", b'{"timestamp":1,"status":404,"error":"Not Found"}']
)
@pytest.mark.parametrize("status", [400, 404, 405, 410])
async def test_a_4xx_without_a_reason_is_passed_on_and_closes_nothing(status: int, body: bytes) -> None:
    world = await governed(fault=always(lambda: refuse(status, body)))
    for _ in range(20):
        with pytest.raises(Refusal) as caught:
            await world.governor.fetch(fake_read())
        assert (caught.value.status, caught.value.code) == (status, -1000)
    assert len(world.exchange.seen) == 20
    assert world.gate() == "open"


async def test_a_4xx_between_failures_is_an_answer() -> None:
    """What answers is not silent, so the row of failures ends; five without anything between still close."""
    replies = [502] * 4 + [404] + [502] * 4
    world = await governed(limits=GovernorSettings(retry_attempts=1))
    world.exchange.fault = lambda *_: refuse(replies.pop(0))
    for _ in range(9):
        await outcomes(world, 1)
        assert world.gate() == "open"


# ------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_server_failures_are_tried_again_within_the_deadline(status: int) -> None:
    world = await governed(fault=first(3, lambda: refuse(status)))
    began = world.clock.now()
    assert (await world.governor.fetch(fake_read(within_s=8))).body
    assert world.clock.now() - began < 8
    assert len(world.exchange.seen) == 4
    assert len(world.events_of(Retried)) == 3
    assert len(world.events_of(UpstreamCalled)) == 4
    assert [event.weight for event in world.events_of(UpstreamCalled)] == [1] * 4


@pytest.mark.parametrize("within_s", [0.3, 2.0, 8.0, math.inf])
async def test_the_last_failure_is_raised_before_the_deadline(within_s: float) -> None:
    world = await governed(fault=always(lambda: refuse(503)))
    began = world.clock.now()
    with pytest.raises(ServerFailed) as caught:
        await world.governor.fetch(fake_read(within_s=within_s))
    assert caught.value.reason == "5xx"
    assert world.clock.now() - began <= min(within_s, 8) + 0.05
    assert 1 <= len(world.exchange.seen) <= 4


@pytest.mark.parametrize("fault", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
async def test_faults_are_tried_again_by_respx(fault: type[httpx.TransportError]) -> None:
    world = await governed()
    with respx.mock(base_url="https://spot.test") as router:
        route = router.get("/api/v3/klines").mock(side_effect=[fault, httpx.Response(200, json=[])])
        session = world.governor._clients[Market.SPOT]._session
        session.transport = httpx.MockTransport(router.async_handler)
        assert (await world.governor.fetch(fake_read(within_s=8))).body == b"[]"
        assert route.call_count == 2
    [called, _] = world.events_of(UpstreamCalled)
    assert (called.status, bool(called.fault)) == (0, True)


async def test_a_broken_body_is_asked_for_once_more() -> None:
    world = await governed()
    assert (await world.governor.fetch(fake_read(broken=1))).body
    with pytest.raises(InvalidBody):
        await world.governor.fetch(fake_read(broken=9))
    assert len(world.exchange.seen) == 4
    rejected = world.events_of(BodyRejected)
    assert [(event.path, event.reason) for event in rejected] == [("/api/v3/klines", "columns")] * 3
    outcomes = [event for event in world.events if isinstance(event, UpstreamCalled | BodyRejected)]
    assert [getattr(event, "rows", "rejected") for event in outcomes] == [None, "rejected", 1, *[None, "rejected"] * 2]
    assert world.gate() == "open"


async def test_a_body_over_its_bound_is_a_broken_body() -> None:
    world = await governed(fault=always(lambda: zipped(b"[" + b" " * 5_000_000 + b"]")))
    with pytest.raises(InvalidBody) as caught:
        await world.governor.fetch(fake_read())
    assert caught.value.reason == "too-large"
    assert len(world.exchange.seen) == len(world.events_of(BodyRejected)) == 2
    assert world.governor.status()[0].in_flight == {"spot": 0}


@pytest.mark.parametrize("status", [204, 302])
async def test_a_status_no_rule_knows_is_not_tried_again(status: int) -> None:
    world = await governed(fault=always(lambda: refuse(status, b"what?")))
    with pytest.raises(ServerFailed) as caught:
        await world.governor.fetch(fake_read())
    assert caught.value.reason == "status"
    assert len(world.exchange.seen) == 1


async def test_silence_ends_by_the_time_out_and_frees_its_place() -> None:
    limits = GovernorSettings(upstream_concurrency=1, upstream_timeout_s=2, retry_attempts=1)
    world = await governed(limits=limits)
    world.exchange.trip_s = 100.0
    with pytest.raises(TransportFailed) as caught:
        await world.governor.fetch(fake_read())
    assert caught.value.reason == "timeout"
    world.exchange.trip_s = 0.05
    await world.governor.fetch(fake_read())


# -------------------------------------------------------------------------------------- cancellation


@pytest.mark.parametrize("turns", range(14))
async def test_cancelling_at_any_turn_of_the_loop_leaks_nothing(turns: int) -> None:
    world = await governed(trip_s=0.0, limits=GovernorSettings(upstream_concurrency=2))
    for _ in range(10):
        task = asyncio.create_task(world.governor.fetch(fake_read()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(1)
    [spot, _] = world.governor.status()
    assert spot.in_flight == {"spot": 0}
    assert spot.queued == {"high": 0, "normal": 0, "low": 0}
    assert len(world.events_of(UpstreamCalled)) == len(world.exchange.seen)
    assert spot.used == 3 + len(world.exchange.seen)
    await outcomes(world, 5)


async def test_leaving_the_queue_frees_the_place_and_leaving_a_sent_read_ends_it_well() -> None:
    world = await governed(trip_s=2.0, limits=GovernorSettings(upstream_concurrency=1))
    sent, queued = (asyncio.create_task(world.governor.fetch(fake_read())) for _ in range(2))
    await asyncio.sleep(0.1)
    queued.cancel()
    sent.cancel()
    await asyncio.gather(sent, queued, return_exceptions=True)
    [spot, _] = world.governor.status()
    assert (spot.queued["normal"], spot.in_flight["spot"]) == (0, 1)
    await asyncio.sleep(2)
    [called] = world.events_of(UpstreamCalled)
    assert (called.status, called.fault) == (200, "")
    assert world.governor.status()[0].in_flight["spot"] == 0
    assert len(world.exchange.seen) == 1


async def test_closing_ends_everything() -> None:
    world = await governed(trip_s=3.0, limits=GovernorSettings(upstream_concurrency=1))
    tasks = [asyncio.create_task(world.governor.fetch(fake_read())) for _ in range(3)]
    await asyncio.sleep(0.1)
    await world.governor.aclose()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(each, DeadlinePassed) for each in results[1:])
    assert len(asyncio.all_tasks()) == 1


# --------------------------------------------------------------------------------------------- clocks


async def test_an_unmeasured_clock_spends_from_every_minute_it_might_be() -> None:
    world = await governed(synced=False, skew_ms=3_600_000)
    await world.governor.fetch(fake_read(cost=7))
    assert (await world.governor.fetch(fake_read())).doubt_ms
    await world.governor.clocks.ensure(Market.SPOT)
    [spot, _] = world.governor.status()
    assert spot.used >= 8


async def test_a_clock_correction_makes_no_room_for_waiting_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget follows a clock correction before the queue is checked, regardless of what causes the check."""

    world = await governed()
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1_200}]
    world.governor.set_limits(Market.SPOT, limits)
    await world.governor.fetch(fake_read(cost=400))
    waiting = asyncio.create_task(world.governor.fetch(fake_read(cost=250)))
    await world.clock.sleep(0.1)
    used = world.governor.status()[0].used
    monkeypatch.setattr(
        world.governor.clocks, "family_now", lambda _family: Instant(world.clock.true_ms() + 600_000, 20)
    )
    world.governor.set_limits(Market.SPOT, limits)
    await world.clock.sleep(1.0)
    assert [seen.weight for seen in world.exchange.klines] == [400]
    assert world.governor.status()[0].used >= used
    await waiting
    assert [seen.weight for seen in world.exchange.klines] == [400, 250]
