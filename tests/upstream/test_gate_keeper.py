"""The gate keeper: whom it informs of a change, and what it refuses."""

from dataclasses import replace

import pytest

from mdcache.errors import GateClosed
from mdcache.events import GateChanged
from mdcache.exchange.markets import Family
from mdcache.upstream.backoff import ROUNDING_MS, ClosureReason
from mdcache.upstream.budget import MINUTE_MS
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import ForcedOpen, ForcedShut, Sent
from mdcache.upstream.reply_head import ReplyHead
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


async def test_a_change_says_which_family_why_and_whether_it_only_lasts_longer() -> None:
    parts = FamilyParts()
    parts.keeper.step(ForcedShut(60_000))
    parts.keeper.step(ForcedShut(90_000))
    parts.keeper.step(ForcedOpen())
    closed = GateChanged(Family.SPOT.value, "closed", "operator", 60.0, extended=False)
    assert parts.events == [
        closed,
        replace(closed, reopens_in_s=90.0, extended=True),
        replace(closed, state="open", reason="none", reopens_in_s=0.0),
    ]


async def test_a_429_without_a_wait_lasts_until_the_next_minute_has_certainly_begun() -> None:
    parts = FamilyParts()
    utc = parts.keeper.utc()
    parts.keeper.record_refusal(0, ClosureReason.RATE, ReplyHead(429, ()))
    expected_ms = min(MINUTE_MS, MINUTE_MS - utc.ms % MINUTE_MS + utc.error_ms) + ROUNDING_MS
    assert parts.keeper.reopens_in_s() == expected_ms / 1000


async def test_a_late_event_counts_from_its_own_time() -> None:
    keeper = FamilyParts().keeper
    assert keeper.next_gate(Gate(), ForcedShut(5_000), at_ms=70).until_ms == 5_070


async def test_a_closed_gate_states_its_wait_until_the_wait_is_over() -> None:
    parts = FamilyParts()
    parts.keeper.step(ForcedShut(60_000))
    await parts.clock.sleep(20.0)
    refusal = parts.keeper.refusal()
    assert isinstance(refusal, GateClosed)
    assert refusal.retry_after_s == pytest.approx(40.0, abs=0.01)
    await parts.clock.sleep(40.01)
    assert parts.keeper.refusal() is None  # the probe may go
