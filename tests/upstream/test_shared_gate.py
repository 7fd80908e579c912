"""The shared gate: as each replica has it, and as replicas with one budget store obey it."""

import asyncio
import itertools
from dataclasses import dataclass, replace

import pytest

from mdcache.exchange.markets import Family
from mdcache.upstream.backoff import ClosureReason
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import ForcedShut
from mdcache.upstream.models import UpstreamRequest
from mdcache.upstream.replicas.protocol import BudgetStoreDown
from mdcache.upstream.replicas.shared_gate import merge
from tests.support.fake_exchange import FakeRead, refuse
from tests.support.family_parts import LEASE_MS, FamilyParts
from tests.support.governor_replicas import GovernorReplica, GovernorReplicas

pytestmark = pytest.mark.virtual


async def test_a_closed_gate_is_read_by_another_as_it_was_written() -> None:
    one, other = FamilyParts(), FamilyParts()
    one.keeper.step(ForcedShut(60_000))
    draft = one.draft()
    assert one.gate.unwritten
    one.gate.written(draft, 7)
    assert (one.gate.unwritten, one.draft().version) == (False, 7)
    other.time.adopt(other.clock.true_ms(), 20, other.clock.now())
    assert other.gate.adopt(7, draft.text, other.now())
    assert other.keeper.gate.state is GateState.CLOSED
    assert other.keeper.gate.until_ms >= one.keeper.gate.until_ms
    assert not other.gate.unwritten


@pytest.mark.parametrize("wall_ms", [0, 3_600_000, -3_600_000])
async def test_a_wait_between_unmeasured_clocks_is_a_length(wall_ms: int) -> None:
    one = FamilyParts()
    one.keeper.step(ForcedShut(60_000))
    text = one.draft().text
    await one.clock.sleep(20)
    other, wait_ms = FamilyParts(wall_step_ms=wall_ms), 40_000
    assert other.gate.adopt(7, text, other.now(), 20_000)
    left_ms = other.keeper.gate.until_ms - int(other.clock.now() * 1000)
    assert wait_ms <= left_ms <= wait_ms + 2_000 + 5_000


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"state":"open"}', '{"state":"ajar","in_flight":0,"answered":0,"lease_ms":0}']
)
async def test_text_that_no_replica_wrote_is_replaced(text: str) -> None:
    parts = FamilyParts()
    assert not parts.gate.adopt(7, text, parts.now())
    assert parts.gate.unwritten
    assert parts.keeper.gate == Gate()


async def test_reads_of_dead_replicas_are_dropped_after_their_lease() -> None:
    parts = FamilyParts()
    parts.keeper.step(ForcedShut(0))
    parts.keeper.adopt(parts.gate.gate_after_send())
    assert parts.gate.unwritten  # by the operator's word
    epoch = parts.keeper.gate.epoch
    await parts.clock.sleep(LEASE_MS / 1000)
    assert not parts.gate.drop_lost_reads()
    await parts.clock.sleep(0.01)
    assert parts.gate.drop_lost_reads()
    assert (parts.keeper.gate.state, parts.keeper.gate.epoch) == (GateState.CLOSED, epoch + 1)


def test_only_the_operator_shortens_a_wait() -> None:
    ours = Gate(state=GateState.CLOSED, reason=ClosureReason.BAN, until_ms=90_000, epoch=3)
    theirs = Gate(epoch=4)
    merged = merge(ours, theirs, 0)
    assert (merged.state, merged.until_ms, merged.epoch) == (GateState.CLOSED, 90_000, 5)
    assert merge(theirs, ours, 0) == merged
    opened = replace(theirs, forced_epoch=4)
    assert merge(ours, opened, 0) == opened == merge(opened, ours, 0)


def test_an_open_gates_counts_are_each_replicas_own() -> None:
    ours = Gate(in_flight=3, failures=2)
    assert merge(ours, Gate(rates=1), 0) == Gate(in_flight=3, failures=2, rates=1)


async def two(fleet: GovernorReplicas) -> tuple[GovernorReplica, GovernorReplica]:
    return await fleet.replica(), await fleet.replica()


async def test_a_ban_seen_by_one_is_obeyed_by_all_before_their_next_request() -> None:
    fleet = GovernorReplicas(share=600)
    three = [await fleet.replica() for _ in range(3)]
    await fleet.minutes(2)
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="60")
    assert await three[0].read() == "GateClosed"
    seen = len(fleet.exchange.seen)
    await fleet.clock.sleep(0.01)
    assert [await replica.read() for replica in three] == ["GateClosed"] * 3
    assert len(fleet.exchange.seen) == seen
    assert [replica.gate() for replica in three] == ["closed"] * 3


async def test_one_probe_and_one_ramp_for_all() -> None:
    fleet = GovernorReplicas(share=600)
    three = [await fleet.replica() for _ in range(3)]
    await fleet.minutes(2)
    fleet.exchange.trip_s = 0.5
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="20")
    assert await three[0].read() == "GateClosed"
    fleet.exchange.most_flying = 0
    seen = len(fleet.exchange.seen)
    for replica in three:
        replica.load(0.05, cost=1)
    await fleet.clock.sleep(60.0)
    assert fleet.exchange.most_flying == 1  # probes, one after the other
    assert len(fleet.exchange.seen) - seen <= 3
    fleet.exchange.fault = None
    most = []
    while [replica.gate() for replica in three] != ["open"] * 3:
        await fleet.clock.sleep(0.01)
        if all(replica.gate() != "open" for replica in three):
            most.append(fleet.exchange.flying)
    assert max(most) <= 4
    assert all(each - before <= 2 for before, each in itertools.pairwise(most))


async def test_a_replica_that_dies_with_the_probe_frees_it_by_time() -> None:
    fleet = GovernorReplicas(share=600)
    pair = await two(fleet)
    await fleet.minutes(2)
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="5")
    assert await pair[0].read() == "GateClosed"
    await fleet.clock.sleep(7.5)  # due, but not long enough for a probe of their own
    fleet.exchange.fault = None
    fleet.exchange.trip_s = 600.0
    probe = asyncio.create_task(pair[0].read(within_s=5.0))
    await fleet.clock.sleep(1.5)
    assert pair[1].gate() == "probing"
    assert await pair[1].read() == "GateClosed"
    probe.cancel()
    await pair[0].kill()
    fleet.exchange.trip_s = 0.05
    await fleet.clock.sleep(15.0)
    assert await pair[1].read() == "ok"


@pytest.mark.parametrize("lost", [False, True])
async def test_a_replica_with_a_chunk_sends_none_of_it_into_a_gate_that_another_closed(lost: bool) -> None:
    """A message tells it; where that is lost, it asks once the store has not spoken for longer than a beat."""
    fleet = GovernorReplicas(share=600)
    pair = await two(fleet)
    await fleet.minutes(2)
    fleet.server.drops_messages = lost
    pair[0].governor.close_gate(Family.SPOT, 60)
    await fleet.clock.sleep(1.5 if lost else 0.01)
    assert await pair[1].read() == "GateClosed"
    assert not fleet.exchange.seen


async def test_what_the_operator_does_to_the_gate_reaches_all() -> None:
    fleet = GovernorReplicas(share=600)
    pair = await two(fleet)
    await fleet.minutes(2)
    pair[0].governor.close_gate(Family.SPOT, 3_600)
    await fleet.clock.sleep(1.5)
    assert [replica.gate() for replica in pair] == ["closed", "closed"]
    pair[1].governor.open_gate(Family.SPOT)
    await fleet.clock.sleep(1.5)
    assert [replica.gate() for replica in pair] == ["open", "open"]


async def test_a_new_replica_reads_the_gate_before_its_first_request() -> None:
    fleet = GovernorReplicas(share=600)
    first = await fleet.replica()
    first.governor.close_gate(Family.SPOT, 100)
    await fleet.clock.sleep(1.5)
    second = await fleet.replica()
    assert second.gate() == "closed"
    assert await second.read() == "GateClosed"
    assert not fleet.exchange.seen


async def test_a_gate_that_closed_without_the_store_closes_for_all_when_it_is_back() -> None:
    fleet = GovernorReplicas(share=600)
    pair = await two(fleet)
    await fleet.minutes(2)
    pair[0].disconnect()
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="600")
    assert await pair[0].read() == "GateClosed"
    await fleet.clock.sleep(30.0)
    assert pair[1].gate() == "open"  # it can't know
    fleet.server.restart(empty=True)
    pair[0].reconnect()
    await fleet.clock.sleep(5.0)
    assert [replica.gate() for replica in pair] == ["closed", "closed"]


async def test_a_probe_that_could_not_be_built_does_not_keep_the_others_waiting() -> None:
    """It was written that it is under way, and it never left."""

    @dataclass
    class Broken(FakeRead):
        def build_request(self) -> UpstreamRequest:
            raise ValueError("made up")

    fleet = GovernorReplicas(share=100)
    one, other = await two(fleet)
    await fleet.minutes(2)
    one.governor.close_gate(Family.SPOT, 1)
    await fleet.clock.sleep(1.5)
    with pytest.raises(ValueError, match="made up"):
        await one.governor.fetch(Broken())
    await fleet.clock.sleep(1.5)  # a beat
    assert await other.read() == "ok"


@pytest.mark.parametrize("new", [False, True], ids=["a replica that missed the ban", "a new replica"])
@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.6, 0.9])
async def test_a_store_that_lost_a_ban_lets_no_replica_into_it(after_s: float, *, new: bool) -> None:
    fleet = GovernorReplicas(share=600)
    one, other = await fleet.replica(), await fleet.replica()
    await fleet.minutes(2)
    await fleet.clock.sleep(after_s)
    if new:
        await fleet.clock.sleep(0.1)
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="60")
    assert await one.read() == "GateClosed"
    if new:
        await fleet.clock.sleep(5.0)
    fleet.server.restart(empty=True)
    seen = len(fleet.exchange.seen)
    third = await fleet.replica() if new else other
    assert await third.read() == "GateClosed"
    assert len(fleet.exchange.seen) == seen


@pytest.mark.parametrize("banned", [False, True])
async def test_a_store_that_keeps_losing_its_data_delays_no_replica_for_long(banned: bool) -> None:
    fleet = GovernorReplicas(share=600)
    one = await fleet.replica()
    await fleet.minutes(2)
    if banned:
        fleet.exchange.fault = lambda *_: refuse(418, retry_after="1")
        assert await one.read() == "GateClosed"
        fleet.exchange.fault = None

    async def keep_emptying() -> None:
        while True:
            fleet.server.restart(empty=True)
            await fleet.clock.sleep(0.03)

    emptying = asyncio.create_task(keep_emptying())
    if banned:
        await fleet.clock.sleep(60.0)
    began_s = fleet.clock.now()
    assert await one.read() == "ok"
    assert fleet.clock.now() - began_s < 1.5
    began_s = fleet.clock.now()
    assert await one.read() == "ok"
    assert fleet.clock.now() - began_s < 0.2
    emptying.cancel()


async def test_a_suspended_replica_learns_of_a_ban_before_it_sends() -> None:
    fleet = GovernorReplicas(share=600)
    one, stopped = [await fleet.replica() for _ in range(2)]
    await fleet.minutes(2)
    budget = stopped.budgets[Family.SPOT]

    async def stall() -> None:
        budget.wait = None
        await fleet.clock.sleep(8.0)
        raise BudgetStoreDown("no answer in time")

    budget.wait = stall
    fleet.server.drops_messages = True
    reading = asyncio.create_task(stopped.read(cost=100, within_s=20.0))  # more than it holds
    await fleet.clock.sleep(0.5)
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="60")
    assert await one.read() == "GateClosed"
    seen = len(fleet.exchange.seen)
    assert await reading == "GateClosed"
    assert len(fleet.exchange.seen) == seen
