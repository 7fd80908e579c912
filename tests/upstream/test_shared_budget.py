"""One budget for several replicas: with the store, without it, and while it fails and recovers."""

import dataclasses

import pytest

from mdcache.exchange.markets import Family, Market
from mdcache.exchange.rate_limits import INITIAL_LIMIT
from mdcache.upstream.replicas.protocol import DrawReply, DrawRequest
from tests.support.examples import exhaustive, long
from tests.support.fake_exchange import refuse
from tests.support.governor_replicas import GovernorReplicas, two

pytestmark = [pytest.mark.virtual, pytest.mark.untraced]


@pytest.mark.exhaustive
@pytest.mark.parametrize(("skews", "rates"), [((-2_500, 2_000), (0.3, 3.0)), *exhaustive(((0, 0), (0.3, 0.3)))])
async def test_two_replicas_use_one_budget_and_most_of_it(skews: tuple[int, int], rates: tuple[float, float]) -> None:
    fleet = GovernorReplicas(share=100, families=tuple(Family))
    pair = await two(fleet, skews)
    for replica, rate in zip(pair, rates, strict=True):
        replica.load(rate)
    await fleet.minutes(4.5)
    spent = list(fleet.spent().values())
    assert max(spent) <= 100, spent
    assert min(spent[2:-1]) >= 60, spent
    assert all(replica.mode() == "divided" or replica.outcomes["ok"] for replica in pair)


@pytest.mark.exhaustive
@pytest.mark.parametrize("rates", [(0.1, 2.0, 30.0), (0.2, 0.2, 0.2)])
async def test_three_replicas_under_load_leave_little_of_the_share(rates: tuple[float, ...]) -> None:
    fleet = GovernorReplicas(share=600, assumed=3)
    three = [await fleet.replica() for _ in rates]
    await fleet.minutes(1)
    for replica, rate in zip(three, rates, strict=True):
        replica.load(rate, cost=2)
    await fleet.minutes(3.5)
    spent = list(fleet.spent().values())
    assert max(spent) <= 600, spent
    assert min(spent[1:-1]) >= 0.85 * 600, spent


@pytest.mark.parametrize("first", [True, False])
async def test_a_replica_that_joins_may_read_at_once_however_many_there_may_be(first: bool) -> None:
    fleet = GovernorReplicas(share=600, assumed=50)
    others = [] if first else [await fleet.replica() for _ in range(2)]
    for replica in others:
        replica.load(2.0)
        await fleet.minutes(1.5)
    joined = await fleet.replica()
    assert await joined.read(within_s=1.5) == "ok"


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("at_s", "loses", "skews"),
    [
        *exhaustive((1, "both", (0, 0)), (20, "one", (0, 0))),
        (58, "answers", (1_500, -1_500)),
        (30, "one", (1_500, -1_500)),
    ],
)
async def test_the_minute_in_which_the_store_is_lost(at_s: int, loses: str, skews: tuple[int, int]) -> None:
    fleet = GovernorReplicas(share=100)
    pair = await two(fleet, skews)
    await fleet.minutes(2)
    pair[0].load(0.3)
    await fleet.second(at_s)
    for replica in pair if loses == "both" else pair[:1]:
        replica.disconnect(lose_answers=loses == "answers")
    pair[1].load(0.3)  # until now it spent nothing
    await fleet.minutes(2)
    assert pair[0].mode() == "divided"
    spent = fleet.spent()
    assert max(spent.values()) <= 100, spent
    assert min(list(spent.values())[-2:-1]) >= 60, spent
    for replica in pair:
        replica.reconnect()
    await fleet.clock.sleep(5.0)
    assert [replica.mode() for replica in pair] == ["shared", "shared"]
    await fleet.minutes(1)
    assert max(fleet.spent().values()) <= 100, fleet.spent()


async def test_each_continues_at_once_when_the_store_is_lost() -> None:
    fleet = GovernorReplicas(share=1_000, limit=6_000)
    pair = await two(fleet)
    await fleet.minutes(2)
    await fleet.second(10)
    for replica in pair:
        replica.disconnect()
        assert await replica.read(within_s=0.2) == "ok"


@pytest.mark.exhaustive
@pytest.mark.parametrize("at_s", [57, *long(5)])
async def test_a_store_that_lost_its_data_is_not_trusted_until_the_next_minute(at_s: int) -> None:
    fleet = GovernorReplicas(share=100)
    three = [await fleet.replica() for _ in range(3)]
    for replica, rate in zip(three, (0.3, 0.5, 2.0), strict=True):
        replica.load(rate)
    await fleet.minutes(2)
    for empty in (True, False):
        await fleet.second(at_s)
        fleet.server.restart(empty=empty)
        await fleet.clock.sleep(2.1)
        assert {replica.mode() for replica in three} == {"divided"}
        await fleet.second(0 if at_s < 45 else 8)
        await fleet.clock.sleep(5.0)
        assert {replica.mode() for replica in three} == {"shared"}
        await fleet.minutes(1)
    assert max(fleet.spent().values()) <= 100, fleet.spent()


@pytest.mark.exhaustive
@pytest.mark.parametrize(("count", "at_s", "skew_ms"), [(4, 58.7, 300), *long((4, 5, 0), (4, 59.9, 300), (6, 5, 300))])
async def test_all_that_is_lost_at_once_is_noticed_once(count: int, at_s: float, skew_ms: int) -> None:
    """Each replica shows that the store has less than it confirmed: that is no further loss, and no further replica."""
    fleet = GovernorReplicas(share=600, assumed=count)
    replicas = [await fleet.replica(skew_ms * (-1) ** number) for number in range(count)]
    for number, replica in enumerate(replicas):
        replica.budgets[Family.SPOT].wait = lambda number=number: fleet.clock.sleep(0.003 * (number + 1))
        replica.load(0.8, cost=10)
    await fleet.minutes(2)
    await fleet.second(at_s)
    fleet.server.restart(empty=True)
    await fleet.minutes(4)
    assert {replica.governor.sharing()["spot"].replicas for replica in replicas} == {count}
    spent = list(fleet.spent().values())
    assert min(spent[-3:-1]) >= 0.95 * fleet.share, spent
    assert max(spent) <= fleet.share, spent


@pytest.mark.exhaustive
@pytest.mark.parametrize("twice", [True, *long(False)])
async def test_a_server_that_is_asked_again_with_what_it_had_before_is_noticed(*, twice: bool) -> None:
    """A primary that was cut off has the same run, and a budget of which less was drawn."""
    fleet = GovernorReplicas(share=100)
    replicas = [await fleet.replica() for _ in range(3)]
    for replica in replicas:
        replica.load(0.5)
    await fleet.minutes(2)
    await fleet.second(3)
    held = {key: dict(fields) for key, fields in fleet.server.hashes.items()}
    for second in (30, 35) if twice else (30,):
        await fleet.second(second)
        fleet.server.hashes = {key: dict(fields) for key, fields in held.items()}
    await fleet.clock.sleep(3.0)
    assert {replica.mode() for replica in replicas} == {"divided"}
    await fleet.minutes(3)
    assert max(fleet.spent().values()) <= fleet.share, fleet.spent()


async def test_a_replica_without_the_limit_uses_the_one_that_others_read() -> None:
    """By the least limit there may be, what the first one spent is more than all may."""

    fleet = GovernorReplicas(share=300, limit=6_000)
    first = await fleet.replica()
    stated = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6_000}
    first.governor.set_limits(Market.SPOT, [stated])
    first.load(1.0)
    await fleet.minutes(2)
    await fleet.second(30)
    second = await fleet.replica()
    assert first.governor.status()[0].used > second.governor.share * INITIAL_LIMIT
    assert await second.read(cost=20) == "ok"


@pytest.mark.parametrize("cut", [False, True])
async def test_a_replica_with_an_unmeasured_clock_can_measure_it(cut: bool) -> None:
    """Whether it is one of the first (and the store is lost then or not) or joins others."""

    fleet = GovernorReplicas(share=100)
    pair = [await fleet.replica(unmeasured=True) for _ in range(2)]
    await fleet.clock.sleep(40.0)
    for replica in pair if cut else ():
        replica.disconnect()
    await fleet.clock.sleep(2.0)
    assert [await replica.read(cost=1) for replica in pair] == ["ok", "ok"]
    for replica in pair:
        replica.reconnect()
        replica.load(1.0, cost=2)
    await fleet.minutes(2)
    await fleet.second(30)
    third = await fleet.replica(unmeasured=True)  # and measures it: others are asking
    await fleet.minutes(1)  # the others give its part up
    for replica in (*pair, third):
        replica.disconnect()
    await fleet.minutes(2.1)  # it drew in the minute to come as well, before it could tell them apart
    assert await third.read(cost=1) == "ok"
    assert max(fleet.spent().values()) <= 100, fleet.spent()


async def test_replicas_that_nobody_asks_share_from_the_next_minute_on() -> None:
    """They measure the exchange's time unasked, so that an idle one keeps nothing from the others."""

    fleet = GovernorReplicas(share=100)
    three = [await fleet.replica(unmeasured=True) for _ in range(3)]
    await fleet.minutes(1.1)
    assert {replica.mode() for replica in three} == {"shared"}
    three[0].load(0.3)
    await fleet.minutes(3.5)
    spent = list(fleet.spent().values())
    assert max(spent) <= 100, spent
    assert min(spent[1:-1]) >= 60, spent


async def test_a_probe_is_sent_while_the_share_is_divided() -> None:
    fleet = GovernorReplicas(share=100)
    three = [await fleet.replica() for _ in range(3)]
    await fleet.minutes(2)
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="8")
    assert await three[0].read(cost=1) == "GateClosed"
    await fleet.second(5)
    fleet.exchange.fault = None
    fleet.server.restart(empty=True)
    await fleet.clock.sleep(15.0)
    assert {replica.mode() for replica in three} == {"divided"}
    assert await three[1].read(cost=1) == "ok"


async def test_a_replica_that_never_saw_the_store_assumes_how_many_there_are() -> None:
    fleet = GovernorReplicas(share=100, assumed=4)
    replica = await fleet.replica(redis=False)
    replica.load(0.3)
    await fleet.minutes(3)
    assert 20 <= max(fleet.spent().values()) <= 25  # by reads of 5


@pytest.mark.parametrize("skew_ms", [3_600_000, *long(-3_600_000)])
async def test_the_time_of_a_wall_clock_that_is_hours_off_is_not_used(skew_ms: int) -> None:
    """Of a replica that was never asked, and was the first there."""
    fleet = GovernorReplicas(share=100, assumed=3)
    odd = await fleet.replica(skew_ms, unmeasured=True)
    pair = await two(fleet)
    await fleet.minutes(2)
    for replica in pair:
        replica.load(2.0)
    await fleet.minutes(13)
    assert [replica.mode() for replica in pair] == ["shared"] * 2
    assert min(list(fleet.spent().values())[1:-1]) >= 60, fleet.spent()
    for replica in (*pair, odd):
        replica.disconnect()
    odd.load(0.3, 1)
    await fleet.minutes(3)
    assert max(fleet.spent().values()) <= 100, fleet.spent()


async def test_what_others_on_the_address_use_is_seen_by_all() -> None:
    fleet = GovernorReplicas(share=600, limit=1_200)
    fleet.exchange.foreign = 900
    pair = await two(fleet)
    await fleet.minutes(1.2)
    for replica in pair:
        replica.load(0.3)
    await fleet.minutes(4)
    assert max(fleet.spent().values()) <= 0.9 * 1_200 - 900 + 20, fleet.spent()


async def test_what_one_is_told_of_the_address_keeps_the_others_from_using_more() -> None:
    fleet = GovernorReplicas(share=600, limit=1_200)
    replicas = [await fleet.replica() for _ in range(4)]
    await fleet.minutes(3)
    await fleet.second(1)
    for replica in replicas:  # each has a header, and it is an old one soon
        assert await replica.read(1) == "ok"
    await fleet.second(20)
    fleet.exchange.foreign = 700
    for replica in replicas:
        replica.load(0.02)
        await fleet.clock.sleep(9.0)
    assert max(fleet.spent().values()) <= 0.9 * 1_200 - 700


async def test_a_measured_time_replaces_one_stated_by_another_replica() -> None:
    fleet = GovernorReplicas(share=100)
    await fleet.replica()
    await fleet.minutes(1)
    second = await fleet.replica(unmeasured=True)
    scheduler = second.governor._schedulers[Family.SPOT]
    await fleet.clock.sleep(5.0)
    assert scheduler.now().error_ms < 1_000  # as the first one knows it
    second.error_ms, second.skew_ms = 2_000, 30_000  # a slow way to the exchange, but its own
    assert scheduler.now().utc_ms == fleet.clock.true_ms() + 30_000


async def test_a_corrected_clock_ends_a_pause_of_the_wrong_one() -> None:
    fleet = GovernorReplicas(share=100)
    one = await fleet.replica(10_800_000)
    await fleet.clock.sleep(130.0)
    budget = one.budgets[Family.SPOT]
    sound = budget.draw_now

    def refuses(request: DrawRequest) -> DrawReply:
        return sound(dataclasses.replace(request, gate_version=0))

    budget.draw_now = refuses
    assert await one.read(cost=60, within_s=0.3) != "ok"
    budget.draw_now = sound
    one.skew_ms, one.error_ms = 0, 1
    await fleet.clock.sleep(90.0)
    assert await one.read() == "ok"
