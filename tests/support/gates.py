"""Gates in each state, as the table leads there."""

from dataclasses import replace
from typing import Any

from mdcache.upstream.backoff import BackoffPolicy, ClosureReason, Denied
from mdcache.upstream.gate import Gate, step
from mdcache.upstream.gate_events import Answered, GateEvent, Sent

POLICY = BackoffPolicy(initial_ms=1_000, max_ms=300_000, ramp_top=8)


T0 = 10_000_000


def denied(gate: Gate, reason: ClosureReason, stated_ms: int | None = None, **more: Any) -> Denied:
    event = Denied(gate.epoch, reason, stated_ms, next_minute_ms=30_000, jitter=1.0)
    return replace(event, **more)


def go(gate: Gate, *events: GateEvent, now_ms: int = T0) -> Gate:
    for event in events:
        gate = step(gate, event, now_ms, POLICY)
    return gate


def closed(reason: ClosureReason = ClosureReason.WAF, **more: Any) -> Gate:
    gate = go(Gate(), Sent())
    return go(gate, denied(gate, reason, **more))


def probing(reason: ClosureReason = ClosureReason.WAF, **more: Any) -> Gate:
    gate = closed(reason, **more)
    return go(gate, Sent(), now_ms=gate.until_ms)


def ramp(reason: ClosureReason = ClosureReason.WAF, **more: Any) -> Gate:
    gate = probing(reason, **more)
    return go(gate, Answered(gate.epoch), now_ms=gate.until_ms)
