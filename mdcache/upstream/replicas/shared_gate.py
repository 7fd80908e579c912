"""A family's shared gate: merge what other replicas wrote, and track what must be written. No I/O.

The store holds it as text, with a version; `gate_messages` reads and writes it there.
"""

import json
from dataclasses import dataclass, replace

from mdcache.clock import Clock
from mdcache.upstream.budget import Moment
from mdcache.upstream.checkpoint import gate_from_mapping, gate_to_mapping
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import GateEvent, Sent
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.stated_wait import KNOWN_CLOCK_MS

_SKEW_MS = 5_000  # the clocks of two replicas may differ by this
_MAX_PENDING = 100


@dataclass(frozen=True, slots=True)
class GateDraft:
    """A gate to write if the store's version is still `version`.

    `gate` and `steps`: the gate here at that time, and how many of our own steps it includes.
    """

    version: int
    text: str
    gate: Gate
    steps: int


class SharedGate:
    """One family's gate, between this process and the store. `lease_ms`: the longest time that a sent read may take.

    `version`: the last one known here; `unwritten`: whether the gate must be written for the other replicas.
    """

    def __init__(self, gate_keeper: GateKeeper, clock: Clock, lease_ms: int) -> None:
        self.version = 0
        self.unwritten = False
        self._gate_keeper = gate_keeper
        self._clock = clock
        self._lease_ms = lease_ms
        self._steps: list[tuple[GateEvent, int]] = []  # our own steps since our last write to the store
        self._lease_until_ms = 0

    # ------------------------------------------------------------------------------- what happens here

    def stepped(self, event: GateEvent, before: Gate, *, keep: bool) -> bool:
        """Return whether this step of our own must be written for the other replicas: it changed more than a count.

        `keep`: remember the step, to apply it again to what others wrote meanwhile.
        """
        if public_part(self._gate_keeper.gate) == public_part(before):
            return False
        self.unwritten = True
        self._lease_until_ms = self._now_ms() + self._lease_ms
        if keep and len(self._steps) < _MAX_PENDING:
            self._steps.append((event, self._now_ms()))
        return True

    def forget_steps(self) -> None:
        """Forget our own steps: the store can't be reached, and later only the resulting gate counts."""
        self._steps.clear()

    def gate_after_send(self) -> Gate:
        """Return the gate after one more read is sent."""
        return self._gate_keeper.next_gate(self._gate_keeper.gate, Sent())

    def drop_lost_reads(self) -> bool:
        """Drop reads of a probe or a ramp that were unanswered for too long, because their replica is gone."""
        gate = self._gate_keeper.gate
        sent = 1 if gate.state is GateState.PROBING else gate.in_flight if gate.state is GateState.RAMP else 0
        if not sent or not self._lease_until_ms or self._now_ms() <= self._lease_until_ms:
            return False
        for _ in range(sent):
            self._gate_keeper.record_drop(gate.epoch)
        return True

    # ------------------------------------------------------------------------------- there and back

    def draft(self, after: Gate, now: Moment) -> GateDraft:
        """Return the draft that makes the stored gate `after`."""
        plain = gate_to_mapping(after, self._now_ms(), now.utc_ms)
        counts = {"in_flight": public_part(after).in_flight, "answered": after.answered}
        times = {"utc_ms": now.utc_ms, "error_ms": now.error_ms, "lease_ms": now.utc_ms + self._lease_ms}
        text = json.dumps(plain | counts | times, separators=(",", ":"))
        return GateDraft(self.version, text, self._gate_keeper.gate, len(self._steps))

    def written(self, draft: GateDraft, version: int) -> None:
        """Record that a draft was written, as this version."""
        self.version = version
        del self._steps[: draft.steps]
        self.unwritten = public_part(self._gate_keeper.gate) != public_part(draft.gate)
        self._lease_until_ms = self._now_ms() + self._lease_ms

    def adopt(self, version: int, text: str, now: Moment, age_ms: int = 0) -> bool:
        """Adopt what others wrote `age_ms` ago, and apply our own steps to it; if the result differs, write it.

        Return whether that changed our gate.
        """
        before, found = self._gate_keeper.gate, self._decode(text, now, age_ms)
        self.version = version
        if found is None:
            self.unwritten = True
            return False
        theirs, self._lease_until_ms = found
        merged = merge(before, theirs, self._now_ms())
        if merged.epoch == theirs.epoch and merged.state is theirs.state:
            for event, at_ms in self._steps:
                merged = self._gate_keeper.next_gate(merged, event, at_ms)
        self.unwritten = public_part(merged) != public_part(theirs)
        if not self.unwritten:
            self._steps.clear()
        if merged == before:
            return False
        self._gate_keeper.adopt(merged)
        return True

    def _decode(self, text: str, now: Moment, age_ms: int) -> tuple[Gate, int] | None:
        """Return the gate, and until when its reads may be in flight by our clock; `None` if the text is invalid.

        Its moments are exchange time. Where that is not known on both sides, the lengths from its writing count.
        """
        now_ms = self._now_ms()
        try:
            plain = json.loads(text)
            state, lease_ms = GateState(plain["state"]), int(plain["lease_ms"])
            in_flight, answered = int(plain["in_flight"]), int(plain["answered"])
            utc_ms = now.utc_ms
            if max(now.error_ms, int(plain.get("error_ms", 0))) > KNOWN_CLOCK_MS:
                utc_ms = int(plain["utc_ms"]) + age_ms
            gate = gate_from_mapping(plain | {"state": GateState.OPEN.value}, now_ms, utc_ms, 0)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        late_ms = min(now.error_ms, _SKEW_MS) if state is GateState.CLOSED else 0
        gate = replace(gate, state=state, in_flight=in_flight, answered=answered, until_ms=gate.until_ms + late_ms)
        return gate, lease_ms - utc_ms + now_ms

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


def public_part(gate: Gate) -> Gate:
    """Return the part of a gate that replicas share: the counts of an open gate are each replica's own."""
    return replace(gate, in_flight=0, failures=0) if gate.state is GateState.OPEN else gate


def merge(ours: Gate, theirs: Gate, now_ms: int) -> Gate:
    """Merge two versions of a gate: the one with more closures wins, and neither's wait is shortened.

    Only the operator opens a gate whose wait is not over. Times in `theirs` are already by our clock.
    """
    if theirs.forced_epoch > ours.epoch:
        return theirs
    if ours.forced_epoch > theirs.epoch:
        return ours
    base, other = (theirs, ours) if theirs.epoch >= ours.epoch else (ours, theirs)
    until_ms = base.until_ms if base.state is GateState.CLOSED else now_ms
    if other.state is GateState.CLOSED and other.until_ms > until_ms + _SKEW_MS:
        return replace(
            base,
            state=GateState.CLOSED,
            reason=other.reason,
            until_ms=other.until_ms,
            epoch=max(base.epoch, other.epoch) + 1,
            in_flight=0,
            width=0,
            answered=0,
            failures=0,
            level=max(base.level, other.level),
            silences=max(base.silences, other.silences),
            bans=max(base.bans, other.bans),
            last_pause_ms=max(base.last_pause_ms, other.last_pause_ms),
            halved_until_ms=max(base.halved_until_ms, other.halved_until_ms),
        )
    if base is theirs and base.state is GateState.OPEN is ours.state and base.epoch == ours.epoch:
        return replace(base, in_flight=ours.in_flight, failures=ours.failures)
    return base
