"""What each event changes in a gate that has a history, and what it leaves as it is: the whole value."""

from dataclasses import astuple, replace
from typing import Any

import pytest

from mdcache.upstream.backoff import ClosureReason, Denied
from mdcache.upstream.gate import Gate, GateState, reopens_in_ms, step
from mdcache.upstream.gate_events import Answered, Dropped, ForcedOpen, ForcedShut, GateEvent, QuestionFailed, Sent
from tests.support.gates import POLICY, T0

OPEN, CLOSED, PROBING, RAMP = GateState
WAF, BAN, RATE, FAILURES = ClosureReason.WAF, ClosureReason.BAN, ClosureReason.RATE, ClosureReason.FAILURES
EPOCH = 7
SHUT = {"state": CLOSED, "epoch": EPOCH + 1, "in_flight": 0, "width": 0, "answered": 0, "failures": 0}


def busy(state: GateState, reason: ClosureReason = WAF, **more: Any) -> Gate:
    """Return a gate in which nothing is as at the beginning."""
    gate = Gate(
        state,
        reason,
        until_ms=T0 - 5,
        epoch=EPOCH,
        forced_epoch=3,
        in_flight=5,
        width=4,
        answered=2,
        level=2,
        silences=1,
        bans=1,
        rates=1,
        failures=3,
        flaps=2,
        last_pause_ms=40_000,
        reopened_ms=T0 - 1_000,
        halved_until_ms=T0 + 9,
        trouble=(T0 - 3, T0 - 2),
    )
    return replace(gate, **more)


def refused(reason: ClosureReason, stated_ms: int | None = None, epoch: int = EPOCH) -> Denied:
    return Denied(epoch, reason, stated_ms, next_minute_ms=30_000, jitter=1.0)


@pytest.mark.parametrize(
    ("gate", "event", "changes"),
    [
        (busy(OPEN), Sent(), {"in_flight": 6}),
        (busy(RAMP), Sent(), {"in_flight": 6, "trouble": (T0 - 3, T0 - 2, T0)}),
        (busy(RAMP, FAILURES), Sent(), {"in_flight": 6}),
        (busy(CLOSED), Sent(), {"state": PROBING, "in_flight": 1, "trouble": (T0 - 3, T0 - 2, T0)}),
        (busy(OPEN), Answered(EPOCH), {"in_flight": 4, "failures": 0}),
        (
            busy(PROBING),
            Answered(EPOCH),
            {"state": RAMP, "in_flight": 0, "width": 1, "answered": 0, "failures": 0, "until_ms": 0, "reopened_ms": T0},
        ),
        (busy(RAMP), Answered(EPOCH), {"in_flight": 4, "answered": 3, "failures": 0}),
        (busy(RAMP, width=3), Answered(EPOCH), {"in_flight": 4, "width": 6, "answered": 0, "failures": 0}),
        (
            busy(RAMP, answered=3),
            Answered(EPOCH),
            {"state": OPEN, "reason": ClosureReason.NONE, "in_flight": 4, "width": 0, "answered": 0, "failures": 0},
        ),
        (busy(OPEN), Dropped(EPOCH, 1.0), {"in_flight": 4}),
        (busy(RAMP), Dropped(EPOCH, 1.0), {"in_flight": 4, "trouble": (T0 - 3,)}),
        (busy(RAMP, FAILURES), Dropped(EPOCH, 1.0), {"in_flight": 4}),
        (
            busy(PROBING),
            Dropped(EPOCH, 0.0),
            {**SHUT, "reason": FAILURES, "until_ms": T0 + 4_000, "silences": 2, "trouble": (T0 - 3,)},
        ),
        (busy(OPEN), QuestionFailed(1.0), {"failures": 4}),
        (
            busy(RAMP, failures=4, last_pause_ms=7_000),
            QuestionFailed(1.0),
            {**SHUT, "reason": FAILURES, "until_ms": T0 + 8_000, "silences": 2, "last_pause_ms": 8_000},
        ),
        (  # forgotten: a minute without a refusal
            busy(OPEN, failures=4, reopened_ms=T0 - 60_000),
            QuestionFailed(1.0),
            {
                **SHUT,
                "reason": FAILURES,
                "until_ms": T0 + 1_000,
                "level": 0,
                "silences": 1,
                "bans": 0,
                "rates": 0,
                "flaps": 0,
                "last_pause_ms": 1_000,
                "trouble": (),
            },
        ),
        (
            busy(OPEN, until_ms=T0 + 99_000),
            refused(WAF),
            {
                **SHUT,
                "until_ms": T0 + 4_000,
                "level": 3,
                "rates": 0,
                "flaps": 3,
                "last_pause_ms": 4_000,
                "trouble": (T0 - 3, T0 - 2, *(T0,) * 5),
            },
        ),
        (  # it flaps: the eleventh newest of the reads sent in trouble is ten minutes old first
            busy(OPEN, trouble=(T0 - 600_000, T0 - 599_999, *range(T0 - 80, T0, 10))),
            refused(WAF),
            {
                **SHUT,
                "until_ms": T0 - 60 + 600_000,
                "level": 3,
                "rates": 0,
                "flaps": 3,
                "last_pause_ms": 4_000,
                "trouble": (T0 - 599_999, *range(T0 - 80, T0, 10), *(T0,) * 5),
            },
        ),
        (  # the wait is stated, and the oldest in trouble are let go
            busy(OPEN, trouble=tuple(range(T0 - 18, T0))),
            refused(WAF, 20_000),
            {
                **SHUT,
                "until_ms": T0 + 22_000,
                "level": 3,
                "rates": 0,
                "flaps": 3,
                "last_pause_ms": 22_000,
                "trouble": (*range(T0 - 15, T0), *(T0,) * 5),
            },
        ),
        (
            busy(RAMP),
            refused(RATE, 1_000),
            {
                **SHUT,
                "reason": RATE,
                "until_ms": T0 + 80_000,
                "rates": 2,
                "halved_until_ms": T0 + 600_000,
                "flaps": 3,
                "last_pause_ms": 80_000,
            },
        ),
        (
            busy(RAMP, FAILURES, rates=0),
            refused(RATE, 1_000),
            {**SHUT, "reason": RATE, "until_ms": T0 + 2_000, "rates": 1, "flaps": 3, "last_pause_ms": 2_000},
        ),
        (
            busy(PROBING),
            refused(BAN),
            {**SHUT, "reason": BAN, "until_ms": T0 + 240_000, "bans": 2, "rates": 0, "last_pause_ms": 240_000},
        ),
        (  # a late one lasts as long where it flaps, and climbs nothing
            busy(OPEN, trouble=tuple(range(T0 - 80, T0, 10))),
            refused(WAF, epoch=EPOCH - 1),
            {
                **SHUT,
                "until_ms": T0 - 60 + 600_000,
                "last_pause_ms": 2_000,
                "trouble": (*range(T0 - 80, T0, 10), *(T0,) * 5),
            },
        ),
        (  # a late refusal climbs nothing
            busy(RAMP),
            refused(WAF, epoch=EPOCH - 1),
            {**SHUT, "until_ms": T0 + 2_000, "last_pause_ms": 2_000},
        ),
        (
            busy(RAMP, bans=3),
            refused(BAN, epoch=EPOCH - 1),
            {**SHUT, "reason": BAN, "until_ms": T0 + 480_000, "last_pause_ms": 480_000},
        ),
        (busy(OPEN), refused(BAN, epoch=2), {}),
        (
            busy(CLOSED, bans=0),
            refused(BAN),
            {"reason": BAN, "until_ms": T0 + 120_000, "bans": 1, "last_pause_ms": 120_000},
        ),
        (
            busy(CLOSED, bans=2),
            refused(BAN),
            {"reason": BAN, "until_ms": T0 + 240_000, "last_pause_ms": 240_000},
        ),
        (busy(CLOSED, bans=0), refused(RATE, 1_000), {"reason": RATE, "until_ms": T0 + 2_000}),
        (busy(CLOSED), refused(WAF), {}),
        (busy(CLOSED), refused(WAF, 30_000), {"until_ms": T0 + 32_000}),
        (busy(CLOSED), refused(BAN, epoch=2), {}),
        (
            busy(OPEN, until_ms=T0 + 99_000),
            ForcedShut(5_000),
            {
                **SHUT,
                "reason": ClosureReason.OPERATOR,
                "until_ms": T0 + 5_000,
                "last_pause_ms": 5_000,
            },
        ),
        (busy(CLOSED, until_ms=T0 + 9_000), ForcedShut(5_000), SHUT),
    ],
)
def test_each_event_changes_what_it_is_about(gate: Gate, event: GateEvent, changes: dict[str, Any]) -> None:
    assert step(gate, event, T0, POLICY) == replace(gate, **changes)


@pytest.mark.parametrize("state", list(GateState))
def test_the_operator_forgets_everything(state: GateState) -> None:
    assert step(busy(state), ForcedOpen(), T0, POLICY) == Gate(epoch=EPOCH + 1, forced_epoch=EPOCH + 1)


@pytest.mark.parametrize(("state", "expected_ms"), [(OPEN, 0), (RAMP, 0), (PROBING, 1_000), (CLOSED, 9_000)])
def test_only_a_closed_gate_makes_reads_wait_for_its_time(state: GateState, expected_ms: int) -> None:
    assert reopens_in_ms(busy(state, until_ms=T0 + 9_000), T0) == expected_ms
    assert reopens_in_ms(busy(CLOSED, until_ms=T0), T0) == 0


def test_nothing_has_happened_at_the_beginning() -> None:
    assert not any(astuple(Gate())[2:])
