"""Replicas that are killed or stopped and started again: what they may spend, and what counts as spent."""

import pytest

from tests.support.governor_replicas import GovernorReplicas, two

pytestmark = [pytest.mark.virtual, pytest.mark.untraced]


@pytest.mark.exhaustive
async def test_all_killed_and_restarted_with_their_ids_have_the_full_share_from_the_next_minute() -> None:
    """Else what the dead could spend would be kept for them for ten minutes."""

    fleet = GovernorReplicas(share=100)
    first = await two(fleet)
    await fleet.minutes(2)
    for replica in first:
        replica.load(0.5)
    await fleet.second(20)
    for replica in first:
        await replica.kill()
    second = [await fleet.replica(instead=dead) for dead in first]
    for replica in second:
        replica.load(0.3)
    await fleet.minutes(2.7)
    spent = list(fleet.spent().values())
    assert max(spent) <= 100, spent
    assert min(spent[-2:-1]) >= 60, spent
    assert [round(replica.governor.sharing()["spot"].part, 2) for replica in second] == [0.49, 0.49]
    for replica in second:
        replica.disconnect()
    await fleet.minutes(2)
    assert max(fleet.spent().values()) <= 100, fleet.spent()


@pytest.mark.parametrize("known", [True, False])
async def test_what_was_spent_before_a_restart_counts_once(known: bool) -> None:
    """The store has it under the old name, and the disk of the new one has it too; or only the disk has it."""

    fleet = GovernorReplicas(share=100)
    pair = await two(fleet)
    await fleet.minutes(2)
    await fleet.second(5)
    for _ in range(6):
        assert [await replica.read() for replica in pair] == ["ok", "ok"]
    await pair[0].kill()
    if not known:
        fleet.server.restart(empty=True)
    third = await fleet.replica(instead=pair[0])
    assert third.governor.status()[0].used >= 30
    await fleet.clock.sleep(1.5)
    spent = fleet.spent()
    assert await third.read() == ("ok" if known else "BudgetSpent")
    for replica in (third, pair[1]):
        replica.load(0.2)
    await fleet.second(59.9)
    assert max(fleet.spent().values()) <= 100, fleet.spent()
    if known:
        assert third.mode() == "shared"
        assert max(fleet.spent().values()) > max(spent.values()) + 15


@pytest.mark.parametrize("store", ["emptied", "away"])
async def test_one_killed_while_the_store_is_lost_has_no_part_again_in_a_minute_that_it_entered(store: str) -> None:
    """It spent nothing, so what it may spend of that minute is known by what it drew alone."""

    fleet = GovernorReplicas(share=100, assumed=3)
    three = [await fleet.replica() for _ in range(3)]
    await fleet.minutes(2)
    await fleet.second(5)
    for replica in three[1:]:
        replica.load(0.3)
    await fleet.second(40)
    assert 80 <= list(fleet.spent().values())[-1] < 100, fleet.spent()
    fleet.server.restart(empty=True)
    for replica in three:  # the others spend what they have drawn, and say nothing
        replica.disconnect()
    await three[0].kill()
    again = await fleet.replica(redis=store == "emptied", unmeasured=True, instead=three[0])
    again.load(0.5)
    await fleet.second(59.9)
    assert max(fleet.spent().values()) <= 100, fleet.spent()
    assert not again.outcomes["ok"]
    for replica in (again, *three[1:]):
        replica.reconnect()
    await fleet.minutes(1)
    assert again.outcomes["ok"] >= 5
    assert max(fleet.spent().values()) <= 100, fleet.spent()


@pytest.mark.parametrize("unmeasured", [False, True])
async def test_one_restarted_in_the_next_minute_has_its_full_part_at_once(unmeasured: bool) -> None:
    fleet = GovernorReplicas(share=100)
    pair = await two(fleet)
    await fleet.minutes(2)
    pair[0].load(0.5)
    await fleet.second(50)
    await pair[0].aclose()
    await fleet.second(2)
    again = await fleet.replica(unmeasured=unmeasured, instead=pair[0])
    assert again.mode() == "shared"
    assert [await again.read() for _ in range(9)] == ["ok"] * 9
    assert max(fleet.spent().values()) <= 100, fleet.spent()


@pytest.mark.exhaustive
async def test_the_store_is_lost_repeatedly_and_each_time_another_replica_is_killed() -> None:
    """Each death is reported by the replica that takes the place: no replica waits for one that never returns."""

    fleet = GovernorReplicas(share=100, assumed=3)
    three = [await fleet.replica() for _ in range(3)]
    await fleet.minutes(2)
    for replica in three:
        replica.load(1.0)
    for turn in range(3):
        for replica in three:
            replica.disconnect()
        fleet.server.restart(empty=True)
        await fleet.clock.sleep(4.0)
        dead = three.pop(0)
        await dead.kill()
        three.append(await fleet.replica(redis=False, instead=dead))
        three[-1].load(1.0)
        await fleet.clock.sleep(4.0 + turn)
        for replica in three:
            replica.reconnect()
        await fleet.clock.sleep(25.0)
    await fleet.minutes(3)
    spent = list(fleet.spent().values())
    assert max(spent) <= 100, spent
    assert min(spent[-3:-1]) >= 60, spent
    assert sum(replica.governor.sharing()["spot"].part for replica in three) > 0.9


@pytest.mark.exhaustive
async def test_all_killed_and_restarted_know_the_time_at_once_and_the_full_share_from_the_next_minute() -> None:
    """As in a daemon: until its clock is measured, it may be any of three minutes."""

    fleet = GovernorReplicas(share=100)
    first = await two(fleet)
    await fleet.minutes(2)
    for replica in first:
        replica.load(0.5)
    await fleet.second(20)
    for replica in first:
        await replica.kill()
    second = [await fleet.replica(unmeasured=True, instead=dead) for dead in first]
    for replica in second:
        replica.load(0.3, 1)
    await fleet.minutes(1.7)
    assert [replica.error_ms < 60_000 for replica in second] == [True, True]
    spent = list(fleet.spent().values())
    assert max(spent) <= 100, spent
    assert spent[-2] >= 60, spent


@pytest.mark.exhaustive
async def test_replicas_started_again_one_after_the_other_share_from_the_next_minute_on() -> None:
    fleet = GovernorReplicas(share=100, assumed=3)
    old = [await fleet.replica() for _ in range(3)]
    await fleet.minutes(2)
    for replica in old:
        replica.load(0.5)
    await fleet.second(20)
    new = []
    for replica in old:
        await replica.aclose()
        new.append(await fleet.replica(unmeasured=True, instead=replica))
        new[-1].load(0.3, 3)  # a clock takes three to five reads
        await fleet.clock.sleep(5.0)
    await fleet.second(59)
    await fleet.minutes(1)
    assert [replica.mode() for replica in new] == ["shared"] * 3
    spent = list(fleet.spent().values())
    assert max(spent) <= 100, spent
    assert spent[-1] >= 60, spent


async def test_replicas_away_for_over_ten_minutes_keep_their_ids() -> None:
    fleet = GovernorReplicas(share=100)
    pair = await two(fleet)
    await fleet.minutes(2)
    for replica in pair:
        replica.disconnect()
    await fleet.minutes(15)
    pair[0].reconnect()
    pair[0].load(0.3)
    pair[1].load(0.3)  # still without it
    await fleet.minutes(3)
    assert max(fleet.spent().values()) <= 100, fleet.spent()
