"""The governor's budget and lanes over a fake exchange, in virtual time."""

import asyncio
import math

import pytest

from mdcache.errors import BudgetSpent, DeadlinePassed, LaneFull, UpstreamUnavailable
from mdcache.events import BudgetShort
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.rate_limits import FUNDING
from mdcache.upstream import queue
from mdcache.upstream.governor import GovernorSettings
from mdcache.upstream.priority import Lane
from tests.support.fake_exchange import fake_read, governed, outcomes

pytestmark = pytest.mark.virtual


# -------------------------------------------------------------------------------------------- budget


@pytest.mark.exhaustive
@pytest.mark.untraced
async def test_tenfold_demand_stays_within_the_share_and_serves_all_lanes() -> None:
    world = await governed(skew_ms=1_234)
    world.governor.set_limits(
        Market.SPOT,
        [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 600}],
    )
    done = dict.fromkeys(Lane, 0)

    async def one(lane: Lane) -> None:
        try:
            await world.governor.fetch(fake_read(lane, within_s=8, cost=2))
        except UpstreamUnavailable:
            return
        done[lane] += 1

    tasks = []
    for _ in range(3_000):
        tasks += [asyncio.create_task(one(lane)) for lane in Lane]
        await asyncio.sleep(0.06)
    await asyncio.gather(*tasks)
    minutes = sorted(minute for family, minute in world.exchange.spent if family == "spot")
    for minute in minutes:
        assert world.exchange.spent["spot", minute] <= 300
    for minute in minutes[1:-1]:
        assert world.exchange.spent["spot", minute] >= 180
    assert done[Lane.HIGH] > done[Lane.NORMAL] > 0
    assert done[Lane.LOW] > 40


async def test_what_others_spend_on_the_address_counts() -> None:
    world = await governed(foreign=1_070)
    await asyncio.sleep(60)
    await world.governor.fetch(fake_read())
    results = await outcomes(world, 30, within_s=1)
    assert sum(isinstance(each, BudgetSpent) for each in results) > 15
    [spot, _] = world.governor.status()
    assert spot.address <= 1_080


async def test_a_spent_budget_is_refused_at_once_with_the_time_it_takes() -> None:
    world = await governed()
    world.governor.set_limits(
        Market.USDM,
        [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 40}],
    )
    results = await outcomes(world, 30, within_s=8, market=Market.USDM)
    spent = [each for each in results if isinstance(each, BudgetSpent)]
    assert len(world.exchange.seen) <= 16
    assert len(spent) >= 14
    left_s = 60 - world.exchange.now_ms() % 60_000 / 1000
    assert spent[0].retry_after_s == pytest.approx(left_s, abs=2)
    refusal = world.governor.refusal_now(Market.COINM, Lane.NORMAL, 1)
    assert isinstance(refusal, BudgetSpent)
    began = world.clock.now()
    await world.governor.fetch(fake_read(within_s=100, market=Market.USDM))
    assert world.clock.now() - began == pytest.approx(left_s, abs=2)
    with pytest.raises(BudgetSpent) as caught:
        await world.governor.fetch(fake_read(market=Market.USDM, cost=99))
    assert caught.value.retry_after_s == 60


async def test_a_shortage_is_told_once_a_minute_and_shown_for_a_minute() -> None:
    world = await governed()
    limit = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 40}]
    world.governor.set_limits(Market.USDM, limit)
    await asyncio.sleep(60 - world.exchange.now_ms() % 60_000 / 1000 + 1)
    await outcomes(world, 30, within_s=1, market=Market.USDM, lane=Lane.LOW)
    assert [each.short for each in world.governor.status()] == [False, False]  # the low lane is meant to wait
    for _ in range(3):
        await outcomes(world, 30, within_s=1, market=Market.USDM)
        assert world.events_of(BudgetShort) == [BudgetShort("futures", "the weight budget is spent")]
        assert [each.short for each in world.governor.status()] == [False, True]
    await asyncio.sleep(60)
    await outcomes(world, 30, within_s=1, market=Market.USDM)
    assert len(world.events_of(BudgetShort)) == 2
    await asyncio.sleep(120)
    assert [each.short for each in world.governor.status()] == [False, False]


async def test_a_question_that_never_fits_is_no_shortage() -> None:
    world = await governed()
    with pytest.raises(BudgetSpent):
        await world.governor.fetch(fake_read(market=Market.USDM, cost=9_999))
    assert not any(each.short for each in world.governor.status())


async def test_a_spent_request_limit_is_a_shortage() -> None:
    world = await governed()
    for _ in range(250):
        world.governor.count_request(FUNDING)
    assert world.events_of(BudgetShort) == []
    with pytest.raises(BudgetSpent):
        world.governor.count_request(FUNDING)
    assert world.events_of(BudgetShort) == [BudgetShort("futures", "the request limit of funding is spent")]


async def test_the_smallest_limit_of_a_family_counts() -> None:
    world = await governed()
    assert [each.limit for each in world.governor.status()] == [1_200, 1_200]
    world.governor.set_limits(Market.USDM, [])
    world.governor.set_limits(Market.SPOT, None)
    [spot, futures] = world.governor.status()
    assert (spot.limit, futures.limit, futures.allowed) == (6_000, 2_400, 1_200)
    entry = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1_000}
    world.governor.set_limits(Market.COINM, [entry])
    assert world.governor.status()[1].limit == 1_000


async def test_paced_refreshes_wait_where_cold_reads_go() -> None:
    world = await governed(trip_s=0.01)
    await asyncio.sleep(60 - world.exchange.now_ms() % 60_000 / 1000 + 0.1)
    tasks = [asyncio.create_task(world.governor.fetch(fake_read(paced=True, cost=2))) for _ in range(100)]
    await asyncio.sleep(1)
    assert 60 <= sum(task.done() for task in tasks) < 70
    assert world.governor.refusal_now(Market.SPOT, Lane.NORMAL, 2) is None
    assert isinstance(world.governor.refusal_now(Market.SPOT, Lane.NORMAL, 2, paced=True), BudgetSpent)
    await asyncio.gather(*(world.governor.fetch(fake_read(cost=2, within_s=1)) for _ in range(20)))
    await asyncio.gather(*tasks)


# ------------------------------------------------------------------------------------ queue and lanes


async def test_no_more_in_flight_than_the_concurrency_of_a_market() -> None:
    world = await governed(limits=GovernorSettings(upstream_concurrency=3))
    await outcomes(world, 40)
    assert world.exchange.most_flying == 3


async def test_a_full_market_does_not_block_its_sibling() -> None:
    world = await governed(trip_s=1.0, limits=GovernorSettings(upstream_concurrency=1))
    usdm = [asyncio.create_task(world.governor.fetch(fake_read(Lane.HIGH, market=Market.USDM))) for _ in range(3)]
    await asyncio.sleep(0.5)
    began = world.clock.now()
    await world.governor.fetch(fake_read(Lane.LOW, market=Market.COINM))
    assert world.clock.now() - began == pytest.approx(1.0)
    await asyncio.gather(*usdm)


async def test_a_read_is_dropped_at_its_last_deadline_and_a_later_one_saves_it() -> None:
    world = await governed(trip_s=4.0, limits=GovernorSettings(upstream_concurrency=1))
    running = asyncio.create_task(world.governor.fetch(fake_read()))
    dropped, saved, raised = fake_read(within_s=2), fake_read(within_s=2), fake_read(Lane.LOW)
    waiting = [asyncio.create_task(world.governor.fetch(each)) for each in (dropped, saved, raised)]
    await asyncio.sleep(1)
    saved.priority.deadline_s = math.inf
    raised.priority.lane = Lane.HIGH
    await asyncio.sleep(1.01)
    assert waiting[0].done()
    assert isinstance(waiting[0].exception(), DeadlinePassed)
    assert dropped.built == 0
    await running
    await asyncio.sleep(0.01)
    assert (raised.built, saved.built) == (1, 0)
    await asyncio.gather(*waiting[1:])


async def test_a_lane_is_bounded() -> None:
    world = await governed(trip_s=100.0, limits=GovernorSettings(upstream_concurrency=1), synced=False)
    desk = world.governor._schedulers[Family.SPOT]
    desk.queue = queue.ReadQueue(max_waiting=5)
    tasks = [asyncio.create_task(world.governor.fetch(fake_read())) for _ in range(7)]
    await asyncio.sleep(0.1)
    assert [isinstance(task.exception(), LaneFull) for task in tasks if task.done()] == [True]
    assert world.governor.status()[0].queued["normal"] == 5
    await world.governor.aclose()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_request_that_costs_more_than_its_read_stated_is_not_sent() -> None:
    world = await governed()
    with pytest.raises(ValueError, match="promised 0"):
        await world.governor.fetch(fake_read(promised=0))
    assert world.exchange.seen == []
