"""The exchange's clocks, measured against a fake exchange."""

import asyncio

import httpx
import pytest

from mdcache.errors import GateClosed, TransportFailed
from mdcache.events import BackgroundTaskFailed, ClockMeasured, ClockSuspect
from mdcache.exchange.markets import Family, Market
from tests.support.fake_exchange import FakeExchange, GovernedExchange, always, fake_read, governed, refuse
from tests.support.virtual_time import EPOCH_MS

pytestmark = pytest.mark.virtual

SPOT = Market.SPOT


def times(world: GovernedExchange) -> int:
    return sum(seen.path.endswith("/time") for seen in world.exchange.seen)


def right(world: GovernedExchange, market: Market = SPOT) -> None:
    now = world.governor.clocks.now(market)
    assert abs(now.ms - world.exchange.now_ms()) <= now.error_ms


async def test_the_first_use_measures_with_three_reads_shared_by_all() -> None:
    world = await governed(synced=False, skew_ms=7_200_000)
    clocks = world.governor.clocks
    assert not clocks.measured(SPOT)
    assert clocks.doubted(SPOT)
    assert clocks.now(SPOT).error_ms == 60_000
    await asyncio.gather(*(clocks.ensure(SPOT) for _ in range(20)))
    assert times(world) == 3
    right(world)
    assert clocks.now(SPOT).error_ms == 26
    assert not clocks.doubted(SPOT)
    assert clocks.offset_ms(SPOT) == pytest.approx(7_200_000, abs=26)
    assert len(world.events_of(ClockMeasured)) == 1
    await clocks.ensure(SPOT)
    assert times(world) == 3


async def test_when_a_moment_comes_by_our_own_clock() -> None:
    world = await governed(skew_ms=7_200_123)
    clocks = world.governor.clocks
    corrections = clocks.corrections
    for ahead_ms in (1, 2, 1_000, 59_999):
        ms = clocks.now(SPOT).ms + ahead_ms
        reaches_s = clocks.reaches_s(SPOT, ms)
        await asyncio.sleep(max(0.0, reaches_s - world.clock.now() - 1e-6))
        assert clocks.now(SPOT).ms == ms - 1
        await asyncio.sleep(3e-6)
        assert clocks.now(SPOT).ms == ms
    assert clocks.corrections == corrections
    world.exchange.skew_ms += 5_000
    clocks.check_date(SPOT, world.exchange.now_ms(), 0, world.clock.now(), world.clock.now())
    await asyncio.sleep(1.0)
    assert clocks.corrections == corrections + 1
    right(world)


async def test_slow_trips_take_five_reads() -> None:
    world = await governed(synced=False, trip_s=0.5)
    await world.governor.clocks.ensure(SPOT)
    assert times(world) == 5


async def test_neither_a_step_of_the_wall_nor_suspend_matters() -> None:
    world = await governed()
    world.clock.step_ms = -86_400_000
    await asyncio.sleep(50_000)
    right(world)


async def test_a_stale_measurement_is_renewed_in_the_background() -> None:
    world = await governed()
    await asyncio.sleep(299)
    await world.governor.clocks.ensure(SPOT)
    await asyncio.sleep(2)
    assert times(world) == 0
    world.exchange.skew_ms = 700
    await world.governor.clocks.ensure(SPOT)
    await asyncio.sleep(1)
    assert times(world) == 1
    right(world)


async def test_one_slow_trip_makes_a_good_clock_no_worse() -> None:
    world = await governed()
    clocks = world.governor.clocks
    good_ms = clocks.now(SPOT).error_ms
    await asyncio.sleep(301)
    world.exchange.trip_s = 4.0
    await clocks.ensure(SPOT)
    await asyncio.sleep(3)
    world.exchange.trip_s = 0.05
    await asyncio.sleep(3)
    assert times(world) == 3
    assert clocks.now(SPOT).error_ms <= good_ms + 1
    right(world)


async def test_a_way_that_is_always_slow_is_measured_by_one_read() -> None:
    world = await governed(synced=False, trip_s=0.5)
    await world.governor.clocks.ensure(SPOT)
    await asyncio.sleep(301)
    world.exchange.seen.clear()
    world.exchange.trip_s = 0.7
    await world.governor.clocks.ensure(SPOT)
    await asyncio.sleep(10)
    assert times(world) == 1


@pytest.mark.parametrize("step_ms", [5_000, -5_000, 3_600_000])
async def test_a_contradicting_date_doubts_and_measures_again(step_ms: int) -> None:
    world = await governed()
    clocks = world.governor.clocks
    before = clocks.now(SPOT)
    world.exchange.skew_ms = step_ms
    reply = await world.governor.fetch(fake_read())
    assert reply.doubt_ms
    assert clocks.doubted(SPOT)
    assert not clocks.doubted(Market.USDM)
    assert len(world.events_of(ClockSuspect)) == 1
    assert (await world.governor.fetch(fake_read())).doubt_ms
    await asyncio.sleep(1)
    assert not clocks.doubted(SPOT)
    assert (await world.governor.fetch(fake_read())).doubt_ms == 0
    assert times(world) == 3
    assert clocks.now(SPOT).ms >= before.ms
    right(world)
    raw = clocks.family_now(Family.SPOT)
    assert abs(raw.ms - world.exchange.now_ms()) <= raw.error_ms


async def test_a_date_within_two_seconds_is_no_contradiction() -> None:
    world = await governed()
    for skew_ms in (1_500, -1_500):
        world.exchange.date_skew_ms = skew_ms
        assert (await world.governor.fetch(fake_read())).doubt_ms == 0
    assert world.events_of(ClockSuspect) == []


async def test_a_lying_date_is_found_out_and_asked_about_once() -> None:
    world = await governed()
    world.exchange.date_skew_ms = 30_000
    assert (await world.governor.fetch(fake_read())).doubt_ms
    await asyncio.sleep(1)
    for _ in range(20):
        assert (await world.governor.fetch(fake_read())).doubt_ms == 0
    assert times(world) == 3


async def test_one_stale_reply_settles_nothing_and_does_not_keep_measuring() -> None:
    world = await governed()

    def stale(_: FakeExchange, request: httpx.Request) -> httpx.Response | None:
        path = request.url.path
        return None if path.endswith("time") else refuse(200, b"[]", date="Wed, 30 Sep 2026 12:00:00 GMT")

    world.exchange.fault = stale
    for _ in range(20):
        assert (await world.governor.fetch(fake_read())).doubt_ms
        await asyncio.sleep(1)
    assert times(world) == 3


async def test_age_makes_the_as_of_older_and_explains_the_date() -> None:
    world = await governed()
    world.exchange.fault = always(lambda: refuse(200, b"[]", age="20"))
    reply = await world.governor.fetch(fake_read())
    assert reply.doubt_ms == 0
    assert world.exchange.now_ms() - reply.sent.ms == pytest.approx(20_050, abs=30)
    world.exchange.date_skew_ms = -20_000
    assert (await world.governor.fetch(fake_read())).doubt_ms == 0


async def test_what_can_not_be_measured_says_why() -> None:
    world = await governed(synced=False, fault=always(lambda: refuse(418, b"", retry_after="600")))
    with pytest.raises(GateClosed):
        await world.governor.clocks.ensure(SPOT)
    world.exchange.fault = always(lambda: refuse(503))
    with pytest.raises(Exception, match="5xx"):
        await world.governor.clocks.ensure(Market.USDM)
    world.exchange.fault = None
    await world.governor.clocks.ensure(Market.USDM)
    right(world, Market.USDM)
    assert world.governor.clocks.now(SPOT).ms == pytest.approx(world.clock.true_ms(), abs=2)


async def test_a_failed_renewal_is_reported_and_retried_later() -> None:
    world = await governed()

    def fault(*_: object) -> None:
        raise ConnectionResetError("gone")

    world.exchange.fault = fault
    await asyncio.sleep(301)
    for _ in range(10):
        await world.governor.clocks.ensure(SPOT)
    await asyncio.sleep(4)
    assert len(world.events_of(BackgroundTaskFailed)) == 1
    with pytest.raises(TransportFailed):
        await world.governor.fetch(fake_read(within_s=1))
    world.exchange.fault = None
    await asyncio.sleep(8)
    await world.governor.clocks.ensure(SPOT)
    await asyncio.sleep(1)
    assert len(world.events_of(ClockMeasured)) == 1


async def test_a_closed_gate_is_no_failure_of_the_clock() -> None:
    world = await governed()
    await asyncio.sleep(301)
    world.exchange.fault = lambda *_: refuse(418, retry_after="90")
    with pytest.raises(GateClosed):
        await world.governor.fetch(fake_read(within_s=1))
    for _ in range(10):
        await world.governor.clocks.ensure(SPOT)
        await asyncio.sleep(4)
    assert world.events_of(BackgroundTaskFailed) == []


async def test_closing_ends_a_measurement_under_way() -> None:
    world = await governed(synced=False)
    waiting = asyncio.create_task(world.governor.clocks.ensure(SPOT))
    await asyncio.sleep(0.01)
    await world.governor.aclose()
    assert (await asyncio.gather(waiting, return_exceptions=True))[0] is not None


async def test_the_world_starts_where_it_says() -> None:
    assert (await governed(synced=False)).clock.wall_ms() == EPOCH_MS
