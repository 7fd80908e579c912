"""Two processes with one id, as after a copy of a folder: one of them becomes another replica."""

import pytest

from mdcache.exchange.markets import Family
from mdcache.upstream.replicas.protocol import Displaced, DrawKind, DrawReply, DrawRequest
from tests.support.governor_replicas import GovernorReplicas

pytestmark = pytest.mark.virtual


@pytest.mark.exhaustive
async def test_a_copied_folder_spends_nothing_twice() -> None:
    fleet = GovernorReplicas(share=100)
    one = await fleet.replica()
    await fleet.minutes(3)
    twin = await fleet.replica(instead=one)
    for replica in (one, twin):
        replica.load(0.2)
    await fleet.minutes(4)
    assert max(fleet.spent().values()) <= 100
    assert sorted(fleet.spent().values())[1] >= 85
    assert {one.mode(), twin.mode()} == {"shared"}
    assert {one.governor.sharing()["spot"].replicas, twin.governor.sharing()["spot"].replicas} == {2}
    assert min(one.outcomes["ok"], twin.outcomes["ok"]) > 10


async def test_a_late_message_of_a_killed_process_delays_no_replica() -> None:
    fleet = GovernorReplicas(share=100)
    one = await fleet.replica()
    said: list[DrawRequest] = []
    budget = one.budgets[Family.SPOT]
    sound = budget.draw_now

    def record(request: DrawRequest) -> DrawReply:
        said.append(request)
        return sound(request)

    budget.draw_now = record
    await fleet.minutes(3)
    await one.kill()
    again = await fleet.replica(instead=one)
    assert said[-1].kind is DrawKind.REPORT
    with pytest.raises(Displaced):
        sound(said[-1])
    await fleet.minutes(1)
    assert again.mode() == "shared"


async def test_a_replica_restarted_before_a_failover_keeps_its_id() -> None:
    fleet = GovernorReplicas(share=100)
    one = await fleet.replica()
    await fleet.minutes(2)
    older = {key: dict(value) for key, value in fleet.server.hashes.items()}
    await one.kill()
    again = await fleet.replica(instead=one)
    await fleet.clock.sleep(5.0)
    fleet.server.restart(empty=True)
    fleet.server.hashes.update(older)
    await fleet.minutes(2)
    assert again.governor.sharing()["spot"].replicas == 1
    assert again.mode() == "shared"
