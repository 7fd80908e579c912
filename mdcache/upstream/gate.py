"""The gate: whether a family may be asked at all, as a table of states. Pure: no clock, no I/O, no randomness.

`step(gate, event, now_ms, policy)` returns the next gate; `admission(gate, now_ms)` says what a read may do.
`now_ms` is of a clock that never steps (the exchange's may be corrected): all waits are durations.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from mdcache.upstream.backoff import LONGEST_REPEAT_MS, BackoffPolicy, ClosureReason, Denied, failures_ms, wait_ms
from mdcache.upstream.gate_events import (
    Answered,
    Dropped,
    ForcedOpen,
    ForcedShut,
    GateEvent,
    QuestionFailed,
    Sent,
)

# Theory of operation
# ===================
#
#            refusal, or five failed questions in a row
#      OPEN ──────────────────────────────────────────→ CLOSED(reason, until)
#       ↑                                                │ ↑   ↑
#       │ 1 + 2 + 4 … answers                 a read is  │ │   │ a refusal, or no answer
#       │                                     sent, past │ │   │
#       │         refusal: the next longer    `until`    ↓ │   │
#      RAMP ───────────────────────────────────────────────┘   │
#       ↑                                                PROBING
#       └───────────────── the probe is answered ────────────┘
#
# 1. A read carries the `epoch` in which it was sent; each closure begins a new one. A reply with an
#    older epoch is late: it opens nothing and does not count, but a late refusal still extends the wait.
# 2. `until` only ever grows while the gate is closed. Nothing but time, or the operator, opens it; and
#    time only makes it *due*: the first read sent after that is the probe, and there is only one.
# 3. Pauses. 403 climbs a ladder: `initial`, twice that, … `max`, each shortened by jitter to no less than half.
#    Repeated failures, which are no refusals, climb it from the rung of the 403s, for at most 20 s, and leave
#    that rung as it is. 429 and 418 state the wait; if not, see docs/design.md#backoff. A refusal in RAMP takes
#    the next longer pause: the next rung, or at least twice the last wait.
# 4. The history (rungs, bans, 429s in a row) is forgotten after as long without a refusal as the
#    last pause was, at least a minute, counted from the reopening. Failures don't shorten that time.
# 5. A family that flaps (refused again in RAMP, or in OPEN before it was forgotten: half of all answers are
#    refusals) would still send a read for each success. From the second time on, as one may be another fault
#    than the one before, each closure lasts at least until no more than `FLAP_SENDS` reads of its troubled time
#    are less than ten minutes old. Only 403, 418 and 429 count for that, never what had no answer; and a pause
#    that Binance stated is as long as it stated.
#
# Every pair of state and event is in `_TABLE`, with `_same` if it changes nothing.


class GateState(StrEnum):
    """The states of the gate."""

    OPEN = "open"
    CLOSED = "closed"
    PROBING = "probing"
    RAMP = "ramp"


class GateDecision(StrEnum):
    """What to do with the next read: send it, hold it until one in flight ends, send it as the probe, or refuse it."""

    GO = "go"
    HOLD = "hold"
    PROBE = "probe"
    SHUT = "shut"


PROBE_WAIT_MS = 1_000  # the wait of other questions while the probe is in flight
HALVED_MS = 600_000  # docs/design.md#backoff: a second 429 halves the share for 10 min
FORGET_MS = 60_000  # docs/design.md#probing: the least time without refusal
FAILURES_TO_CLOSE = 5  # docs/design.md#backoff
FLAPPING = frozenset({ClosureReason.WAF, ClosureReason.BAN, ClosureReason.RATE})  # docs/design.md#probing
FLAP_WINDOW_MS = 600_000
FLAP_SENDS = 10  # with the probe, a ramp of 7 and the reads in flight, at most 28 are sent: measured in its test


@dataclass(frozen=True, slots=True)
class Gate:
    """The whole state of one (egress, family).

    `in_flight`: reads sent in this epoch and unanswered. `width`, `answered`: how many may be in flight in RAMP, and
    how many were answered since it was widened. `level`: rung of the next 403 on the ladder; `silences`: how many
    rungs above it the next failure is. `trouble`: when reads were sent while not OPEN. Events of an epoch before
    `forced_epoch` are ignored: the operator opened the gate after them.
    """

    state: GateState = GateState.OPEN
    reason: ClosureReason = ClosureReason.NONE
    until_ms: int = 0
    epoch: int = 0
    forced_epoch: int = 0
    in_flight: int = 0
    width: int = 0
    answered: int = 0
    level: int = 0
    silences: int = 0
    bans: int = 0
    rates: int = 0
    failures: int = 0
    flaps: int = 0
    last_pause_ms: int = 0
    reopened_ms: int = 0
    halved_until_ms: int = 0
    trouble: tuple[int, ...] = ()


def step(gate: Gate, event: GateEvent, now_ms: int, policy: BackoffPolicy) -> Gate:
    """Return the gate after `event`."""
    return _TABLE[gate.state][type(event)](gate, event, now_ms, policy)


def decide(gate: Gate, now_ms: int) -> GateDecision:
    """Decide what to do with the next read."""
    match gate.state:
        case GateState.OPEN:
            return GateDecision.GO
        case GateState.RAMP:
            return GateDecision.GO if gate.in_flight < gate.width else GateDecision.HOLD
        case GateState.PROBING:
            return GateDecision.SHUT
        case GateState.CLOSED:
            return GateDecision.SHUT if now_ms < gate.until_ms else GateDecision.PROBE
    assert_never(gate.state)


def reopens_in_ms(gate: Gate, now_ms: int) -> int:
    """Return how long a refused read should wait; 0 if it need not."""
    if gate.state is GateState.PROBING:
        return PROBE_WAIT_MS
    return max(0, gate.until_ms - now_ms) if gate.state is GateState.CLOSED else 0


def share_factor(gate: Gate, now_ms: int) -> float:
    """Return the usable part of the share: half for ten minutes after a second 429 in a row."""
    return 0.5 if now_ms < gate.halved_until_ms else 1.0


# ------------------------------------------------------------------------------ what the table calls


def _same(gate: Gate, _event: GateEvent, _now_ms: int, _policy: BackoffPolicy) -> Gate:
    return gate


def _sent(gate: Gate, _event: GateEvent, now_ms: int, _policy: BackoffPolicy) -> Gate:
    trouble = gate.trouble if gate.state is GateState.OPEN else _trouble_with(gate, now_ms)
    return replace(gate, in_flight=gate.in_flight + 1, trouble=trouble)


def _probe(gate: Gate, _event: GateEvent, now_ms: int, _policy: BackoffPolicy) -> Gate:
    if now_ms < gate.until_ms:
        return gate
    return replace(gate, state=GateState.PROBING, in_flight=1, trouble=_trouble_with(gate, now_ms))


def _answered(gate: Gate, event: Answered, _now_ms: int, _policy: BackoffPolicy) -> Gate:
    if event.epoch != gate.epoch:
        return gate
    return replace(gate, in_flight=gate.in_flight - 1, failures=0)


def _proved(gate: Gate, event: Answered, now_ms: int, _policy: BackoffPolicy) -> Gate:
    if event.epoch != gate.epoch:
        return gate
    return replace(
        gate, state=GateState.RAMP, in_flight=0, width=1, answered=0, failures=0, until_ms=0, reopened_ms=now_ms
    )


def _climbed(gate: Gate, event: Answered, _now_ms: int, policy: BackoffPolicy) -> Gate:
    if event.epoch != gate.epoch:
        return gate
    gate = replace(gate, in_flight=gate.in_flight - 1, answered=gate.answered + 1, failures=0)
    if gate.answered < gate.width:
        return gate
    if gate.width * 2 < policy.ramp_top:
        return replace(gate, width=gate.width * 2, answered=0)
    return replace(gate, state=GateState.OPEN, reason=ClosureReason.NONE, width=0, answered=0)


def _dropped(gate: Gate, event: Dropped, _now_ms: int, _policy: BackoffPolicy) -> Gate:
    if event.epoch != gate.epoch:
        return gate
    trouble = gate.trouble if gate.state is GateState.OPEN else _trouble_without(gate)
    return replace(gate, in_flight=gate.in_flight - 1, trouble=trouble)


def _unproved(gate: Gate, event: Dropped, now_ms: int, policy: BackoffPolicy) -> Gate:
    if event.epoch != gate.epoch:
        return gate
    return _close_unanswered(replace(gate, trouble=_trouble_without(gate)), event.jitter, now_ms, policy)


def _failed(gate: Gate, event: QuestionFailed, now_ms: int, policy: BackoffPolicy) -> Gate:
    gate = replace(gate, failures=gate.failures + 1)
    if gate.failures < FAILURES_TO_CLOSE:
        return gate
    return _close_unanswered(_forget(gate, now_ms), event.jitter, now_ms, policy)


def _denied(gate: Gate, event: Denied, now_ms: int, policy: BackoffPolicy) -> Gate:
    """Close on a refusal while the gate admits reads. A late refusal does not climb the ladder."""
    if event.epoch < gate.forced_epoch:
        return gate
    gate = _forget(gate, now_ms)
    damped = event.reason in FLAPPING and event.stated_ms is None and not event.body_pending
    if event.epoch != gate.epoch:
        return _close(gate, event.reason, _repeated_ms(gate, event, policy), now_ms, damped=damped)
    pause_ms = wait_ms(event, policy, level=gate.level, bans=gate.bans)
    if gate.state is GateState.RAMP and gate.reason in FLAPPING:
        pause_ms = max(pause_ms, min(2 * gate.last_pause_ms, LONGEST_REPEAT_MS[event.reason]))
    if gate.state is not GateState.PROBING and gate.trouble:
        gate = replace(gate, flaps=gate.flaps + 1)
    return _close(_learn(gate, event, now_ms), event.reason, pause_ms, now_ms, damped=damped)


def _extended(gate: Gate, event: Denied, now_ms: int, policy: BackoffPolicy) -> Gate:
    """Apply a late refusal while the gate is closed: its wait may be longer."""
    if event.epoch < gate.forced_epoch or (event.reason is ClosureReason.WAF and event.stated_ms is None):
        return gate
    if event.reason is ClosureReason.BAN and gate.bans == 0:
        gate = replace(gate, bans=1)
    until_ms = now_ms + _repeated_ms(gate, event, policy)
    if until_ms <= gate.until_ms:
        return gate
    return replace(
        gate, reason=event.reason, until_ms=until_ms, last_pause_ms=max(gate.last_pause_ms, until_ms - now_ms)
    )


def _forced_open(gate: Gate, _event: GateEvent, _now_ms: int, _policy: BackoffPolicy) -> Gate:
    return Gate(epoch=gate.epoch + 1, forced_epoch=gate.epoch + 1)


def _forced_shut(gate: Gate, event: ForcedShut, now_ms: int, _policy: BackoffPolicy) -> Gate:
    return _close(gate, ClosureReason.OPERATOR, event.wait_ms, now_ms)


# ------------------------------------------------------------------------------------------- parts


def _repeated_ms(gate: Gate, event: Denied, policy: BackoffPolicy) -> int:
    """Return the wait after a late refusal: that of its closure, without climbing the ladder."""
    return wait_ms(event, policy, level=max(0, gate.level - 1), bans=max(0, gate.bans - 1))


def _close_unanswered(gate: Gate, jitter: float, now_ms: int, policy: BackoffPolicy) -> Gate:
    """Close it because nothing was answered. That is no refusal: what refusals have cost is kept as it is."""
    pause_ms = failures_ms(gate.level + gate.silences, jitter, policy)
    remembered_ms = max(pause_ms, gate.last_pause_ms)
    gate = _close(replace(gate, silences=gate.silences + 1), ClosureReason.FAILURES, pause_ms, now_ms)
    return replace(gate, last_pause_ms=remembered_ms)


def _learn(gate: Gate, event: Denied, now_ms: int) -> Gate:
    """Count this refusal, so that the next one of its kind waits longer."""
    rates = gate.rates + 1 if event.reason is ClosureReason.RATE else 0
    return replace(
        gate,
        level=gate.level + (event.reason is ClosureReason.WAF),
        bans=gate.bans + (event.reason is ClosureReason.BAN),
        rates=rates,
        halved_until_ms=now_ms + HALVED_MS if rates > 1 else gate.halved_until_ms,
    )


def _forget(gate: Gate, now_ms: int) -> Gate:
    """Forget the history if there was no refusal for long enough since the reopening."""
    unproved = gate.state is GateState.CLOSED or gate.state is GateState.PROBING
    if unproved or now_ms - gate.reopened_ms < max(FORGET_MS, gate.last_pause_ms):
        return gate
    return replace(gate, level=0, silences=0, bans=0, rates=0, flaps=0, last_pause_ms=0, trouble=())


def _trouble_with(gate: Gate, now_ms: int) -> tuple[int, ...]:
    """Return `trouble` with a read that is sent now, if the gate was closed by a refusal."""
    return (*gate.trouble, now_ms) if gate.reason in FLAPPING else gate.trouble


def _trouble_without(gate: Gate) -> tuple[int, ...]:
    """Return `trouble` without a read that had no answer."""
    return gate.trouble[:-1] if gate.reason in FLAPPING else gate.trouble


def _close(gate: Gate, reason: ClosureReason, pause_ms: int, now_ms: int, *, damped: bool = False) -> Gate:
    """Close it for this long; `damped`: longer if the family flaps."""
    shut = gate.state is GateState.CLOSED
    stray = gate.in_flight if gate.state is GateState.OPEN and reason in FLAPPING else 0
    trouble = tuple(sent_ms for sent_ms in gate.trouble if sent_ms > now_ms - FLAP_WINDOW_MS)
    trouble = (*trouble, *(now_ms,) * stray)[-2 * FLAP_SENDS :]
    until_ms = max(now_ms + pause_ms, gate.until_ms if shut else 0)
    if damped and gate.flaps > 1 and len(trouble) > FLAP_SENDS:
        until_ms = max(until_ms, trouble[-FLAP_SENDS - 1] + FLAP_WINDOW_MS)
    return replace(
        gate,
        state=GateState.CLOSED,
        reason=gate.reason if shut and until_ms == gate.until_ms else reason,
        until_ms=until_ms,
        epoch=gate.epoch + 1,
        in_flight=0,
        width=0,
        answered=0,
        failures=0,
        last_pause_ms=max(pause_ms, gate.last_pause_ms if shut else 0),
        trouble=trouble,
    )


# mypy can't say "the handler of a type takes that type": the table's own test calls every pair.
_Handler = Callable[..., Gate]
_ALWAYS: dict[type, _Handler] = {ForcedOpen: _forced_open, ForcedShut: _forced_shut}
_TABLE: dict[GateState, dict[type, _Handler]] = {
    GateState.OPEN: {
        Sent: _sent,
        Answered: _answered,
        Dropped: _dropped,
        Denied: _denied,
        QuestionFailed: _failed,
        **_ALWAYS,
    },
    GateState.CLOSED: {
        Sent: _probe,
        Answered: _same,
        Dropped: _same,
        Denied: _extended,
        QuestionFailed: _same,
        **_ALWAYS,
    },
    GateState.PROBING: {
        Sent: _same,
        Answered: _proved,
        Dropped: _unproved,
        Denied: _denied,
        QuestionFailed: _same,
        **_ALWAYS,
    },
    GateState.RAMP: {
        Sent: _sent,
        Answered: _climbed,
        Dropped: _dropped,
        Denied: _denied,
        QuestionFailed: _failed,
        **_ALWAYS,
    },
}
