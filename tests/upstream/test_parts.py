"""What a scheduler is made of, each part by itself: clock, budget keeper, gate keeper, checkpoint, shared gate."""

from dataclasses import replace

import pytest

from mdcache.errors import GateClosed
from mdcache.events import GateChanged
from mdcache.exchange.markets import Market
from mdcache.upstream.backoff import ClosureReason
from mdcache.upstream.budget import Claim, Granted, reserve
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import ForcedShut, Sent
from mdcache.upstream.priority import Lane
from mdcache.upstream.replicas.shared_gate import merge
from tests.support.family_parts import LEASE_MS, FamilyParts

pytestmark = pytest.mark.virtual


# ------------------------------------------------------------------------------------- clock and budget keeper


async def test_a_stated_time_counts_until_it_is_measured_here() -> None:
    parts = FamilyParts(ahead_ms=5_000)
    assert parts.time.now().error_ms == 60_000
    parts.time.adopt(parts.clock.true_ms() + 5_000, 20, parts.clock.now())
    told = parts.time.now()
    assert (told.utc_ms, told.error_ms) == (parts.clock.true_ms() + 5_000, 70)
    await parts.clock.sleep(100.0)
    assert parts.time.now().error_ms == 80  # 10 ms of drift
    assert parts.time.measured().error_ms == 60_000
    parts.ahead_ms = 9_000
    await parts.clocks.ensure(Market.SPOT)
    assert parts.time.now().utc_ms == pytest.approx(parts.clock.true_ms() + 9_000, abs=1)


def spend(parts: FamilyParts, weight: int) -> Granted:
    decision = reserve(parts.budget.budget, Claim(weight, Lane.HIGH), parts.now())
    assert isinstance(decision, Granted)
    parts.budget.spend(decision)
    return decision


async def test_what_was_spent_moves_with_a_clock_that_is_put_right() -> None:
    parts = FamilyParts(ahead_ms=600_000)
    parts.time.adopt(parts.clock.true_ms(), 20, parts.clock.now())
    reservation = spend(parts, 10).reservation
    await parts.clocks.ensure(Market.SPOT)
    parts.budget.settle(reservation, None, parts.now())
    assert parts.budget.budget.minute(parts.now().number).ours == 10


async def test_a_stated_limit_counts_until_it_is_read_here() -> None:
    keeper = FamilyParts().budget
    assert keeper.adopt_limit(6_000)
    assert not keeper.adopt_limit(6_000)
    keeper.set_limit(2_400)
    assert not keeper.adopt_limit(6_000)
    assert keeper.budget.limit == 2_400


# ------------------------------------------------------------------------------ gate keeper and checkpoint


async def test_others_hear_of_our_own_steps_and_the_disk_of_every_move() -> None:
    parts = FamilyParts()
    parts.keeper.step(Sent())  # a count: no move
    assert (parts.steps, parts.saves, parts.events) == ([(Sent(), GateState.OPEN)], 0, [])
    assert parts.keeper.refusal() is None
    parts.keeper.step(ForcedShut(60_000))
    parts.keeper.adopt(Gate(epoch=9))
    assert parts.steps[1:] == [(ForcedShut(60_000), GateState.OPEN)]
    assert parts.saves == 2
    told = [(each.state, each.reopens_in_s) for each in parts.events if isinstance(each, GateChanged)]
    assert told == [("closed", 60.0), ("open", 0.0)]


async def test_a_shut_gate_says_for_how_long_until_it_is_due() -> None:
    parts = FamilyParts()
    parts.keeper.step(ForcedShut(60_000))
    await parts.clock.sleep(20.0)
    refusal = parts.keeper.refusal()
    assert isinstance(refusal, GateClosed)
    assert refusal.retry_after_s == pytest.approx(40.0, abs=0.01)
    await parts.clock.sleep(40.01)
    assert parts.keeper.refusal() is None  # the probe may go


async def test_a_wait_does_not_grow_by_being_written_down_again() -> None:
    was = FamilyParts()
    was.keeper.step(ForcedShut(60_000))
    resting = was.checkpoint.save("boot")
    waits = []
    for _ in range(3):
        parts = FamilyParts()
        parts.checkpoint.restore(resting, "boot")
        waits.append(parts.keeper.gate.until_ms)
        await parts.clock.sleep(5.0)
        resting = parts.checkpoint.save("boot")
    assert waits[0] > was.keeper.gate.until_ms
    assert waits == [waits[0]] * 3
    last = FamilyParts()
    last.checkpoint.restore(resting, "boot")
    last.keeper.step(ForcedShut(90_000))  # its own from now on
    assert last.checkpoint.save("boot").gate != resting.gate


async def test_an_unreadable_saved_state_starts_the_gate_with_a_probe() -> None:
    parts = FamilyParts()
    parts.checkpoint.restore(None, "boot")
    assert parts.keeper.gate.state is GateState.CLOSED
    assert parts.keeper.refusal() is None
    with pytest.raises((KeyError, TypeError, ValueError)):
        parts.checkpoint.restore(replace(parts.checkpoint.save("boot"), gate={}), "boot")
    assert parts.keeper.gate.state is GateState.CLOSED


# ------------------------------------------------------------------------------------------ the shared gate


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


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"state":"open"}', '{"state":"ajar","flying":0,"lease_ms":0}']
)
async def test_what_no_replica_wrote_is_written_over(text: str) -> None:
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


def test_no_wait_is_cut_short_but_by_the_operator() -> None:
    ours = Gate(state=GateState.CLOSED, reason=ClosureReason.BAN, until_ms=90_000, epoch=3)
    theirs = Gate(epoch=4)
    merged = merge(ours, theirs, 0)
    assert (merged.state, merged.until_ms, merged.epoch) == (GateState.CLOSED, 90_000, 5)
    assert merge(theirs, ours, 0) == merged
    opened = replace(theirs, forced_epoch=4)
    assert merge(ours, opened, 0) == opened == merge(opened, ours, 0)


def test_an_open_gates_counts_are_each_replicas_own() -> None:
    ours = Gate(flying=3, failures=2)
    assert merge(ours, Gate(rates=1), 0) == Gate(flying=3, failures=2, rates=1)
