"""The gate keeper: whom it informs of a change, and what it refuses."""

import pytest

from mdcache.errors import GateClosed
from mdcache.events import GateChanged
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import ForcedShut, Sent
from tests.support.family_parts import FamilyParts

pytestmark = pytest.mark.virtual


async def test_own_steps_are_published_and_every_change_is_saved() -> None:
    parts = FamilyParts()
    parts.keeper.step(Sent())  # a count: no move
    assert (parts.steps, parts.saves, parts.events) == ([(Sent(), GateState.OPEN)], 0, [])
    assert parts.keeper.refusal() is None
    parts.keeper.step(ForcedShut(60_000))
    parts.keeper.adopt(Gate(epoch=9))
    assert parts.steps[1:] == [(ForcedShut(60_000), GateState.OPEN)]
    assert parts.saves == 2
    changes = [(each.state, each.reopens_in_s) for each in parts.events if isinstance(each, GateChanged)]
    assert changes == [("closed", 60.0), ("open", 0.0)]


async def test_a_closed_gate_states_its_wait_until_the_wait_is_over() -> None:
    parts = FamilyParts()
    parts.keeper.step(ForcedShut(60_000))
    await parts.clock.sleep(20.0)
    refusal = parts.keeper.refusal()
    assert isinstance(refusal, GateClosed)
    assert refusal.retry_after_s == pytest.approx(40.0, abs=0.01)
    await parts.clock.sleep(40.01)
    assert parts.keeper.refusal() is None  # the probe may go
