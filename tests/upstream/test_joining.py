"""Replicas that come and go: when a new one may spend, and when the part of one that went is free."""

from itertools import product

import pytest

from mdcache.exchange.markets import Family
from tests.support.examples import exhaustive, long, thinned
from tests.support.governor_replicas import GovernorReplica, GovernorReplicas

pytestmark = [pytest.mark.virtual, pytest.mark.untraced]


def ready(replica: GovernorReplica) -> bool:
    return all(shared.ready for shared in replica.governor.sharing().values())


@pytest.mark.parametrize("unmeasured", [False, True])
@pytest.mark.parametrize("after_s", [3, 25])
async def test_a_replica_beyond_the_number_assumed_is_not_ready_before_it_may_spend(
    after_s: int, *, unmeasured: bool
) -> None:
    fleet = GovernorReplicas(share=600, assumed=1)
    await fleet.second(10)
    first = await fleet.replica()
    await fleet.clock.sleep(after_s)
    assert await first.read() == "ok"
    assert ready(first)
    second = await fleet.replica(unmeasured=unmeasured)
    assert not ready(second)
    await fleet.second(2)
    assert ready(second)
    assert await second.read(within_s=1.5) == "ok"


async def test_a_second_and_a_third_on_an_empty_store_share_from_the_next_minute_on() -> None:
    fleet = GovernorReplicas(share=600, assumed=3)
    await fleet.second(10)
    three = []
    for _ in range(3):
        three.append(await fleet.replica(unmeasured=True))
        await fleet.clock.sleep(3.0)
        assert ready(three[-1])
        assert await three[-1].read(cost=1) == "ok"
        await fleet.clock.sleep(8.0)
    await fleet.second(5)  # the clocks may be wrong by three seconds
    assert [replica.mode() for replica in three] == ["shared"] * 3
    for replica in three:
        assert await replica.read(within_s=1.5) == "ok"
        await replica.aclose()


@pytest.mark.parametrize(
    ("second", "apart_s", "unmeasured"), thinned(product([5, 30, 58, 59.5], [0.05, 0.6, 3.0], [False, True]), 7, 24)
)
async def test_a_replica_that_was_ready_stays_ready(second: float, apart_s: float, *, unmeasured: bool) -> None:
    """Another joins, the minute changes, the store is away for a while: a balancer must not take it away for that."""
    fleet = GovernorReplicas(share=600, assumed=1, families=(Family.SPOT, Family.FUTURES))
    await fleet.second(second)
    replicas: list[GovernorReplica] = []
    was_ready: set[str] = set()

    async def watch(for_s: float) -> None:
        for _ in range(round(for_s / 0.05)):
            for replica in replicas:
                assert ready(replica) or replica.name not in was_ready, fleet.clock.true_ms() % 60_000
                was_ready.update({replica.name} if ready(replica) else ())
            await fleet.clock.sleep(0.05)

    for _ in range(3):
        replicas.append(await fleet.replica(unmeasured=unmeasured))
        await watch(apart_s)
    replicas[-1].disconnect()
    await watch(3.0)
    replicas[-1].reconnect()
    await watch(80.0)
    assert was_ready == {replica.name for replica in replicas}


async def test_one_that_is_alone_is_ready_without_weight() -> None:
    """Killed in the first minute of a store and started again it has nothing to spend; no other answers instead."""
    fleet = GovernorReplicas(share=100, assumed=1)
    first = await fleet.replica()
    await fleet.clock.sleep(3.0)
    await first.kill()
    again = await fleet.replica(instead=first)
    assert ready(again)
    assert await again.read(within_s=0.5) != "ok"


async def test_a_replica_that_can_spend_nothing_for_a_minute_answers_from_what_others_read() -> None:
    fleet = GovernorReplicas(share=100, assumed=2)
    first = await fleet.replica()
    await fleet.minutes(2)
    await first.kill()
    await fleet.second(0)  # in this minute it had not drawn: all its part is kept for it
    second = await fleet.replica()
    await fleet.clock.sleep(70.0)
    assert not ready(second)
    await fleet.clock.sleep(10.0)
    assert ready(second)


async def test_what_a_replica_spent_before_it_left_is_not_spent_again() -> None:
    fleet = GovernorReplicas(share=100, assumed=1)
    await fleet.second(5)
    first = await fleet.replica()
    await fleet.clock.sleep(2.0)
    for _ in range(15):
        await first.read(within_s=0.2)
    await first.aclose()
    second = await fleet.replica()
    second.load(0.3)
    await fleet.second(59)
    assert max(fleet.spent().values()) <= 100, fleet.spent()


@pytest.mark.exhaustive
@pytest.mark.parametrize("count", [3, 1])
async def test_one_killed_and_replaced_from_an_empty_folder_costs_the_others_a_minute(count: int) -> None:
    """The settings say how many there are at most: so the one that vanished is dead, not cut off."""
    fleet = GovernorReplicas(share=100, assumed=count)
    replicas = [await fleet.replica() for _ in range(count)]
    await fleet.minutes(2)
    await replicas.pop().kill()
    replicas.append(await fleet.replica())
    for replica in replicas:
        replica.load(0.3)
    await fleet.minutes(4)
    spent = list(fleet.spent().values())
    assert max(spent) <= 100, spent
    assert min(spent[-2:-1]) >= 85, spent
    assert sum(replica.governor.sharing()["spot"].part for replica in replicas) > 0.9


@pytest.mark.parametrize("count", [1, *exhaustive(3)])
async def test_one_killed_and_replaced_just_after_the_store_restarted_costs_no_more(count: int) -> None:
    """It had returned to the store before it died: nothing of it is still awaited."""
    fleet = GovernorReplicas(share=100, assumed=count)
    replicas = [await fleet.replica() for _ in range(count)]
    await fleet.minutes(2)
    await fleet.second(20)
    fleet.server.restart(empty=False)
    await fleet.clock.sleep(8.0)
    await replicas.pop().kill()
    replicas.append(await fleet.replica())
    for replica in replicas:
        replica.load(0.3)
    await fleet.minutes(4)
    spent = list(fleet.spent().values())
    assert max(spent) <= 100, spent
    assert min(spent[-2:-1]) >= 85, spent


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("assumed", "running", "joins", "killed"),
    [
        *long((3, 2, True, False)),  # another joins beside it
        *long((3, 2, True, True)),  # one of the two that vanished is dead: nobody knows which
        (2, 3, False, True),  # there are more than the settings say, and the store has seen it
    ],
)
async def test_one_only_cut_off_keeps_its_part(assumed: int, running: int, *, joins: bool, killed: bool) -> None:
    fleet = GovernorReplicas(share=100, assumed=assumed)
    replicas = [await fleet.replica() for _ in range(running)]
    await fleet.minutes(2)
    replicas[0].disconnect()
    if joins:
        replicas.append(await fleet.replica())
        await fleet.minutes(2)
    if killed:
        await replicas.pop(1).kill()
        replicas.append(await fleet.replica())
    for replica in replicas:
        replica.load(0.3)
    await fleet.minutes(6)
    assert max(fleet.spent().values()) <= 100, fleet.spent()


async def test_parts_come_and_go_with_replicas() -> None:
    fleet = GovernorReplicas(share=100, assumed=3)
    parts = []

    def note(replica: GovernorReplica) -> None:
        parts.append(round(replica.governor.sharing()["spot"].part, 2))

    first = await fleet.replica()
    await fleet.minutes(2)
    note(first)
    second, third = await fleet.replica(), await fleet.replica()
    await fleet.minutes(2)
    note(first)
    await third.aclose()  # leaves
    await fleet.minutes(2)
    note(first)
    await second.kill()  # does not
    await fleet.minutes(9)
    note(first)
    await fleet.minutes(3)
    note(first)
    await first.aclose()
    assert parts == [0.99, 0.33, 0.49, 0.49, 0.99]
