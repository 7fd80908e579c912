"""What a desk is made of, each part by itself: clock, account, gatekeeper, checkpoint, shared gate, predecessors."""

from dataclasses import replace

import pytest

from mdcache.errors import GateClosed
from mdcache.events import GateChanged
from mdcache.exchange.markets import Market
from mdcache.upstream.backoff import ClosureReason
from mdcache.upstream.budget import Budget, Claim, Granted, Minute, reserve
from mdcache.upstream.budget_keeper import BudgetKeeper
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import ForcedShut, GateEvent, Sent
from mdcache.upstream.queue import Lane
from mdcache.upstream.replicas.predecessors import Predecessors
from mdcache.upstream.replicas.protocol import Answer, Ask, Tally, Told
from mdcache.upstream.replicas.shared_gate import merge
from tests.support.family_parts import LEASE_MS, FamilyParts

pytestmark = pytest.mark.virtual


def answer(gate: str | None = None, *, written: bool = False, told: tuple[Told, ...] = ()) -> Answer:
    return Answer(
        sharing=True,
        verdicts=(),
        part=0,
        next_part=0,
        peers=2,
        told=told,
        version=7,
        gate=gate,
        written=written,
        crowded=False,
        limit=0,
    )


# ------------------------------------------------------------------------------------- clock and account


async def test_a_time_that_was_told_counts_until_it_is_measured_here() -> None:
    parts = FamilyParts(ahead_ms=5_000)
    assert parts.time.now().error_ms == 60_000
    parts.time.hear(parts.clock.true_ms() + 5_000, 20, parts.clock.now())
    told = parts.time.now()
    assert (told.utc_ms, told.error_ms) == (parts.clock.true_ms() + 5_000, 70)
    await parts.clock.sleep(100.0)
    assert parts.time.now().error_ms == 80  # 10 ms of drift
    assert parts.time.measured().error_ms == 60_000
    parts.ahead_ms = 9_000
    await parts.clocks.ensure(Market.SPOT)
    assert parts.time.now().utc_ms == pytest.approx(parts.clock.true_ms() + 9_000, abs=1)


def spend(account: BudgetKeeper, weight: int) -> Granted:
    now = account.moment()
    decision = reserve(account.budget, Claim(weight, Lane.HIGH), now)
    assert isinstance(decision, Granted)
    account.spend(decision)
    return decision


async def test_what_was_spent_moves_with_a_clock_that_is_put_right() -> None:
    parts = FamilyParts(ahead_ms=600_000)
    parts.time.hear(parts.clock.true_ms(), 20, parts.clock.now())
    charge = spend(parts.account, 10).reservation
    await parts.clocks.ensure(Market.SPOT)
    parts.account.settle(charge, None)
    assert parts.account.this_minute().ours == 10


async def test_a_limit_that_was_told_counts_until_it_is_read_here() -> None:
    account = FamilyParts().account
    assert account.hear_limit(6_000)
    assert not account.hear_limit(6_000)
    account.set_limit(2_400)
    assert not account.hear_limit(6_000)
    assert account.budget.limit == 2_400


# ------------------------------------------------------------------------------ gatekeeper and checkpoint


async def test_others_hear_of_our_own_steps_and_the_disk_of_every_move() -> None:
    parts = FamilyParts()
    steps: list[tuple[GateEvent, GateState]] = []
    moves: list[GateState] = []
    parts.keeper.tell_steps(lambda event, before: steps.append((event, before.state)))
    parts.keeper.watch(lambda: moves.append(parts.keeper.gate.state))
    parts.keeper.step(Sent())  # a count: no move
    assert (steps, moves, parts.events) == ([(Sent(), GateState.OPEN)], [], [])
    assert parts.keeper.refusal() is None
    parts.keeper.step(ForcedShut(60_000))
    parts.keeper.adopt(Gate(epoch=9))
    assert steps[1:] == [(ForcedShut(60_000), GateState.OPEN)]
    assert moves == [GateState.CLOSED, GateState.OPEN]
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


async def test_where_nobody_can_read_what_rested_the_gate_proves_itself() -> None:
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
    assert one.draft().text is None
    one.keeper.step(ForcedShut(60_000))
    draft = one.draft()
    assert draft.text is not None
    assert not one.answered(draft, answer(written=True))
    assert (one.gate.unwritten, one.draft().text, one.draft().version) == (False, None, 7)
    other.time.hear(other.clock.true_ms(), 20, other.clock.now())
    assert other.answered(other.draft(), answer(draft.text))
    assert other.keeper.gate.state is GateState.CLOSED
    assert other.keeper.gate.until_ms >= one.keeper.gate.until_ms
    assert not other.gate.unwritten


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"state":"open"}', '{"state":"ajar","flying":0,"lease_ms":0}']
)
async def test_what_no_replica_wrote_is_written_over(text: str) -> None:
    parts = FamilyParts()
    assert not parts.answered(parts.draft(), answer(text))
    assert parts.gate.unwritten
    assert parts.keeper.gate == Gate()


async def test_reads_of_the_dead_are_given_up_after_their_lease() -> None:
    parts = FamilyParts()
    parts.keeper.step(ForcedShut(0))
    parts.keeper.adopt(parts.gate.sending())
    assert parts.gate.unwritten  # by the operator's word
    epoch = parts.keeper.gate.epoch
    await parts.clock.sleep(LEASE_MS / 1000)
    assert not parts.gate.give_up_the_dead()
    await parts.clock.sleep(0.01)
    assert parts.gate.give_up_the_dead()
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


# ------------------------------------------------------------------------------------------ predecessors


def ask(*minutes: int) -> Ask:
    tallies = tuple(Tally(minute, (0, 0, 0)) for minute in minutes)
    return Ask(0, 0, 100, 1_000, 0, 0, 0, 2, 2, 0, tallies)


def test_what_those_before_spent_is_told_once() -> None:
    before = Predecessors(("old",))
    before.spent(Budget(1_200, 0.5, (Minute(5, lanes=(10, 20, 0)),)))
    count = Minute(5, lanes=(12, 25, 1))
    assert before.untold(count, trusts=False).lanes == (2, 5, 1)  # rather too little, where nobody counts on it
    assert before.untold(count, trusts=True).lanes == (12, 25, 1)
    before.answered(ask(5), answer(told=(Told(5, 40, 0, 0, 0, (10, 15, 0)),)))
    assert before.untold(count, trusts=True).lanes == (2, 10, 1)
    assert before.untold(Minute(6, lanes=(1, 0, 0)), trusts=True).lanes == (1, 0, 0)
    assert before.untold(Minute(5, lanes=(1, 0, 0)), trusts=True).lanes == (1, 0, 0)  # the clock was put right


def test_those_before_are_told_of_until_the_time_is_sure_and_their_minutes_are_past() -> None:
    before = Predecessors(("old",))
    before.spent(Budget(1_200, 0.5, (Minute(5, lanes=(10, 0, 0)),)))
    before.answered(ask(5, 6), answer())
    before.answered(ask(6, 7, 8), answer())
    assert len(before.names) == 1
    before.answered(ask(6, 7), answer())
    assert not before.names
