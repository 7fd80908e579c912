"""The saved state: gate and budget as plain values and back, and the checkpoint of a family."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange.markets import Market
from mdcache.upstream.backoff import BAN_MARGIN_MS, ClosureReason
from mdcache.upstream.budget import Budget, Claim, Granted, Minute, Moment, reserve
from mdcache.upstream.checkpoint import budget_from_mapping, budget_to_mapping, gate_from_mapping, gate_to_mapping
from mdcache.upstream.gate import Gate, GateDecision, GateState, decide
from mdcache.upstream.gate_events import ForcedShut
from mdcache.upstream.priority import Lane
from tests.support.family_parts import FamilyParts

NOW, UTC = 5_000_000, 1_790_000_000_000

gates = st.builds(
    Gate,
    state=st.sampled_from(GateState),
    reason=st.sampled_from(ClosureReason),
    until_ms=st.integers(1, 10**9),
    epoch=st.integers(0, 99),
    level=st.integers(0, 20),
    reopened_ms=st.integers(0, NOW),
    halved_until_ms=st.integers(0, 10**9),
    trouble=st.lists(st.integers(0, NOW), max_size=4).map(tuple),
)


@given(gate=gates, boot_ms=st.integers(0, 10**9), away_ms=st.integers(0, 10**7))
def test_a_gate_survives_a_restart_and_never_opens_sooner(gate: Gate, boot_ms: int, away_ms: int) -> None:
    plain = json.loads(json.dumps(gate_to_mapping(gate, NOW, UTC)))
    again = gate_from_mapping(plain, boot_ms, UTC + away_ms, error_ms=70)
    shift_ms = boot_ms - NOW - away_ms
    assert again.in_flight == 0
    assert (again.level, again.reason, again.epoch) == (gate.level, gate.reason, gate.epoch)
    assert again.trouble == tuple(sent_ms + shift_ms for sent_ms in gate.trouble)
    if gate.state is GateState.OPEN:
        assert again.state is GateState.OPEN
    else:
        assert again.state is GateState.CLOSED
    if gate.state is GateState.CLOSED:
        assert again.until_ms == gate.until_ms + shift_ms + 70 + BAN_MARGIN_MS
        assert decide(again, again.until_ms - 1) is GateDecision.SHUT
    elif gate.state is not GateState.OPEN:
        assert decide(again, boot_ms) is GateDecision.PROBE


def test_the_closed_gate_of_an_earlier_release_stays_closed() -> None:
    """A ban survives an upgrade, though the file does not say how long there was silence before it."""
    gate = Gate(state=GateState.CLOSED, reason=ClosureReason.BAN, until_ms=NOW + 60_000, silences=3)
    plain = gate_to_mapping(gate, NOW, UTC)
    assert gate_from_mapping(plain, NOW, UTC, 0).silences == 3
    del plain["silences"]
    assert gate_from_mapping(plain, NOW, UTC, 0) == replace(gate, silences=0, until_ms=gate.until_ms + BAN_MARGIN_MS)


def test_a_budget_survives_and_what_was_unanswered_is_spent() -> None:
    moment = Moment(UTC, 50, 100)
    done = reserve(Budget(1_000, 0.5), Claim(30, Lane.LOW), moment)
    assert isinstance(done, Granted)
    minute = replace(done.budget.minute(moment.number), header=77)
    budget = replace(done.budget, minutes=(minute,))
    plain = json.loads(json.dumps(budget_to_mapping(budget)))
    again = budget_from_mapping(plain, 1_000, 0.5)
    assert again.in_flight == 0
    assert again.minute(moment.number).address == budget.minute(moment.number).address == 107
    assert again.minute(moment.number).lanes == (0, 0, 30)


MINUTE = Minute(5)


@pytest.mark.parametrize(
    "change",
    [
        {"state": "ajar"},
        {"reason": "bad mood"},
        {"until_ms": "soon"},
        {"level": True},
        {"level": 1.5},
        {"trouble": 7},
        {"trouble": ["x"]},
    ],
)
def test_a_gate_that_was_never_written_is_refused(change: dict[str, object]) -> None:
    plain = gate_to_mapping(Gate(), NOW, UTC) | change
    with pytest.raises((TypeError, ValueError)):
        gate_from_mapping(plain, NOW, UTC, 0)


@pytest.mark.parametrize("change", [{"lanes": [1]}, {"lanes": None}, {"header": "7"}, {"drawn": "7"}, {"number": None}])
def test_a_budget_that_was_never_written_is_refused(change: dict[str, object]) -> None:
    plain = budget_to_mapping(Budget(10, 0.5, (MINUTE,)))
    minutes = plain["minutes"]
    assert isinstance(minutes, list)
    with pytest.raises((TypeError, ValueError)):
        budget_from_mapping({"minutes": [minutes[0] | change]}, 10, 0.5)
    with pytest.raises(TypeError):
        budget_from_mapping({"minutes": [3]}, 10, 0.5)


@pytest.mark.virtual
async def test_a_wait_does_not_grow_when_it_is_saved_again() -> None:
    was = FamilyParts()
    was.keeper.step(ForcedShut(60_000))
    saved = was.checkpoint.save("boot")
    waits = []
    for _ in range(3):
        parts = FamilyParts()
        parts.checkpoint.restore(saved, "boot")
        waits.append(parts.keeper.gate.until_ms)
        await parts.clock.sleep(5.0)
        saved = parts.checkpoint.save("boot")
    assert waits[0] > was.keeper.gate.until_ms
    assert waits == [waits[0]] * 3
    last = FamilyParts()
    last.checkpoint.restore(saved, "boot")
    last.keeper.step(ForcedShut(90_000))  # its own from now on
    assert last.checkpoint.save("boot").gate != saved.gate


@pytest.mark.virtual
@pytest.mark.parametrize("old", [False, True])
async def test_what_was_drawn_counts_as_spent_after_a_restart_in_the_same_minute(old: bool) -> None:
    """A file of an earlier release says nothing of it: then only what was spent is known."""
    was = FamilyParts()
    number = was.now().number
    was.budget.add_spent(number, 30)
    was.budget.record_drawn(number, 45)
    was.budget.record_drawn(number - 1, 20)  # past
    saved = was.checkpoint.save("boot")
    if old:
        minutes = saved.budget["minutes"]
        assert isinstance(minutes, list)
        for minute in minutes:
            del minute["drawn"]
    parts = FamilyParts(wall_step_ms=90_000)  # the new process's clock is not measured yet
    parts.checkpoint.restore(saved, "boot")
    found = [(minute.ours, minute.drawn) for minute in parts.budget.budget.minutes]
    assert found == [(30, None) if old else (45, 45)]
    parts.now()
    await parts.clocks.ensure(Market.SPOT)
    assert parts.now().number == number
    moved = parts.budget.budget.minute(number)
    assert (moved.ours, moved.drawn) == found[0]


@pytest.mark.virtual
@pytest.mark.parametrize("shut", [False, True])
@pytest.mark.parametrize("boot", ["boot", "another"])
async def test_the_exchanges_time_is_known_from_before_a_restart_since_the_same_boot(boot: str, *, shut: bool) -> None:
    was = FamilyParts(ahead_ms=1_500)
    await was.clocks.ensure(Market.SPOT)
    if shut:
        was.keeper.step(ForcedShut(3_600_000))
    saved = was.checkpoint.save("boot")
    await was.clock.sleep(100.0)
    parts = FamilyParts(wall_step_ms=90_000)
    parts.checkpoint.restore(saved, boot)
    off_ms, error_ms = parts.now().utc_ms - was.now().utc_ms, parts.now().error_ms
    if boot == "boot":
        assert abs(off_ms) <= error_ms < 150
    else:  # by this machine's wall clock
        assert (abs(off_ms) > 10_000, error_ms) == (True, 60_000)
    last = FamilyParts(wall_step_ms=90_000)  # started again before anything was measured
    last.checkpoint.restore(parts.checkpoint.save(boot), boot)
    assert last.now().error_ms == (60_000 if boot == "another" else pytest.approx(error_ms, abs=100))


@pytest.mark.virtual
async def test_an_unreadable_saved_state_starts_the_gate_with_a_probe() -> None:
    parts = FamilyParts()
    parts.checkpoint.restore(None, "boot")
    assert parts.keeper.gate.state is GateState.CLOSED
    assert parts.keeper.refusal() is None
    with pytest.raises((KeyError, TypeError, ValueError)):
        parts.checkpoint.restore(replace(parts.checkpoint.save("boot"), gate={}), "boot")
    assert parts.keeper.gate.state is GateState.CLOSED
