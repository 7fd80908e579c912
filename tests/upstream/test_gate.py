"""The gate's table, by itself: pure values, no loop."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mdcache.upstream import gate as gates
from mdcache.upstream.backoff import ClosureReason, Denied
from mdcache.upstream.gate import Gate, GateDecision, GateState, decide, reopens_in_ms, share_factor, step
from mdcache.upstream.gate_events import Answered, Dropped, ForcedOpen, ForcedShut, GateEvent, QuestionFailed, Sent
from tests.support.gates import POLICY, T0, closed, denied, go, probing, ramp

STATES: dict[GateState, Callable[[], Gate]] = {
    GateState.OPEN: Gate,
    GateState.CLOSED: closed,
    GateState.PROBING: probing,
    GateState.RAMP: ramp,
}


def every_event(epoch: int) -> list[GateEvent]:
    return [
        Sent(),
        Answered(epoch),
        Dropped(epoch, 0.5),
        Denied(epoch, ClosureReason.WAF, None, 30_000, 0.5),
        QuestionFailed(0.5),
        ForcedOpen(),
        ForcedShut(5_000),
    ]


def test_the_table_is_complete() -> None:
    assert set(gates._TABLE) == set(GateState)
    for row in gates._TABLE.values():
        assert list(row) == [type(event) for event in every_event(0)]


# What each pair leads to, for an event of the gate's own epoch.
EXPECTED = {
    GateState.OPEN: [
        GateState.OPEN,
        GateState.OPEN,
        GateState.OPEN,
        GateState.CLOSED,
        GateState.OPEN,
        GateState.OPEN,
        GateState.CLOSED,
    ],
    GateState.CLOSED: [
        GateState.CLOSED,
        GateState.CLOSED,
        GateState.CLOSED,
        GateState.CLOSED,
        GateState.CLOSED,
        GateState.OPEN,
        GateState.CLOSED,
    ],
    GateState.PROBING: [
        GateState.PROBING,
        GateState.RAMP,
        GateState.CLOSED,
        GateState.CLOSED,
        GateState.PROBING,
        GateState.OPEN,
        GateState.CLOSED,
    ],
    GateState.RAMP: [
        GateState.RAMP,
        GateState.RAMP,
        GateState.RAMP,
        GateState.CLOSED,
        GateState.RAMP,
        GateState.OPEN,
        GateState.CLOSED,
    ],
}


@pytest.mark.parametrize("state", list(GateState))
@pytest.mark.parametrize("index", range(7))
def test_where_every_pair_leads(state: GateState, index: int) -> None:
    gate = STATES[state]()
    assert gate.state is state
    assert go(gate, every_event(gate.epoch)[index]).state is EXPECTED[state][index]


@pytest.mark.parametrize("state", list(GateState))
@pytest.mark.parametrize("index", [1, 2])
def test_what_comes_late_changes_nothing(state: GateState, index: int) -> None:
    gate = STATES[state]()
    assert go(gate, every_event(gate.epoch - 1)[index]) == gate


def test_closed_sends_nothing_before_its_time_and_one_probe_after() -> None:
    gate = closed(ClosureReason.RATE, stated_ms=10_000)
    assert gate.until_ms == T0 + 11_000
    assert decide(gate, gate.until_ms - 1) is GateDecision.SHUT
    assert go(gate, Sent(), now_ms=gate.until_ms - 1) == gate
    assert decide(gate, gate.until_ms) is GateDecision.PROBE
    gate = go(gate, Sent(), now_ms=gate.until_ms)
    assert gate.state is GateState.PROBING
    assert decide(gate, gate.until_ms + 10**9) is GateDecision.SHUT
    assert reopens_in_ms(gate, gate.until_ms) == gates.PROBE_WAIT_MS


def test_ramp_doubles_to_open() -> None:
    gate = ramp()
    widths = []
    while gate.state is GateState.RAMP:
        sent = 0
        while decide(gate, T0) is GateDecision.GO:
            gate = go(gate, Sent())
            sent += 1
        assert decide(gate, T0) is GateDecision.HOLD
        widths.append(sent)
        gate = go(gate, *[Answered(gate.epoch)] * sent)
    assert widths == [1, 2, 4]
    assert (gate.state, gate.in_flight) == (GateState.OPEN, 0)


def test_a_ramp_of_one_is_open_after_one() -> None:
    gate = ramp()
    gate = step(gate, Sent(), T0, replace(POLICY, ramp_top=1))
    assert step(gate, Answered(gate.epoch), T0, replace(POLICY, ramp_top=1)).state is GateState.OPEN


def test_a_second_429_in_a_row_halves_the_share_for_ten_minutes() -> None:
    gate = ramp(ClosureReason.RATE, stated_ms=1_000)
    assert share_factor(gate, T0) == 1.0
    gate = go(go(gate, Sent()), denied(gate, ClosureReason.RATE, 1_000))
    assert share_factor(gate, T0 + 599_999) == 0.5
    assert share_factor(gate, T0 + 600_000) == 1.0


def test_two_429_far_apart_are_not_in_a_row() -> None:
    gate = ramp(ClosureReason.RATE, stated_ms=1_000)
    later = gate.reopened_ms + 60_000
    gate = step(go(gate, Sent()), denied(gate, ClosureReason.RATE, 1_000), later, POLICY)
    assert share_factor(gate, later) == 1.0


def test_the_step_is_forgotten_after_as_long_as_the_last_pause() -> None:
    gate = closed(ClosureReason.WAF)
    for _ in range(7):
        gate = go(gate, Sent(), now_ms=gate.until_ms)
        gate = step(gate, denied(gate, ClosureReason.WAF), gate.until_ms, POLICY)
    assert gate.last_pause_ms == 128_000
    gate = go(gate, Sent(), now_ms=gate.until_ms)
    gate = go(gate, Answered(gate.epoch), now_ms=gate.until_ms)
    reopened = gate.reopened_ms
    gate = go(gate, Sent())
    soon = step(gate, denied(gate, ClosureReason.WAF), reopened + 127_999, POLICY)
    late = step(gate, denied(gate, ClosureReason.WAF), reopened + 128_000, POLICY)
    assert (soon.last_pause_ms, late.last_pause_ms) == (256_000, 1_000)


def test_five_failed_questions_in_a_row_close() -> None:
    gate = go(Gate(), *[QuestionFailed(1.0)] * 4)
    assert gate.state is GateState.OPEN
    survived = go(go(gate, Sent()), Answered(gate.epoch), QuestionFailed(1.0))
    assert (survived.state, survived.failures) == (GateState.OPEN, 1)
    gate = go(gate, QuestionFailed(1.0))
    assert (gate.state, gate.reason, gate.until_ms) == (GateState.CLOSED, ClosureReason.FAILURES, T0 + 1_000)


def test_a_probe_without_an_answer_closes_for_the_next_step() -> None:
    gate = probing(ClosureReason.BAN, stated_ms=1_000)
    now_ms = gate.until_ms
    gate = step(gate, Dropped(gate.epoch, 1.0), now_ms, POLICY)
    assert (gate.state, gate.reason, gate.until_ms - now_ms) == (GateState.CLOSED, ClosureReason.FAILURES, 1_000)
    now_ms = gate.until_ms
    gate = step(go(gate, Sent(), now_ms=now_ms), Dropped(gate.epoch, 1.0), now_ms, POLICY)
    assert gate.until_ms - now_ms == 2_000


def test_after_the_operator_opens_late_refusals_are_ignored() -> None:
    gate = closed(ClosureReason.BAN, stated_ms=86_400_000)
    opened = go(gate, ForcedOpen())
    assert (opened.state, opened.level, opened.bans) == (GateState.OPEN, 0, 0)
    assert go(opened, denied(opened, ClosureReason.BAN, 10**6, epoch=gate.epoch)) == opened
    assert go(opened, denied(opened, ClosureReason.BAN, 10**6)).state is GateState.CLOSED


def test_the_operator_shuts_and_does_not_shorten_a_ban() -> None:
    gate = go(Gate(), ForcedShut(60_000))
    assert (gate.reason, gate.until_ms) == (ClosureReason.OPERATOR, T0 + 60_000)
    ban = go(closed(ClosureReason.BAN, stated_ms=600_000), ForcedShut(1_000))
    assert (ban.reason, ban.until_ms) == (ClosureReason.BAN, T0 + 602_000)


@pytest.mark.parametrize("reason", [ClosureReason.NONE, ClosureReason.FAILURES, ClosureReason.OPERATOR])
def test_only_refusals_refuse(reason: ClosureReason) -> None:
    with pytest.raises(ValueError, match="nothing refuses"):
        closed(reason)
