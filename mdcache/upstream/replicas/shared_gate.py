"""A family's shared gate: what the other replicas know of it, and what they have yet to hear. No I/O.

The ledger holds it as text, with a version; who reads and writes it there is `sharing`'s business.
"""

import json
from dataclasses import dataclass, replace

from mdcache.clock import Clock
from mdcache.upstream.budget import Moment
from mdcache.upstream.gate import Gate, GateState
from mdcache.upstream.gate_events import GateEvent, Sent
from mdcache.upstream.gate_keeper import GateKeeper
from mdcache.upstream.replicas.protocol import Answer
from mdcache.upstream.saved_state import gate_from_mapping, gate_to_mapping

_SKEW_MS = 5_000  # two replicas' idea of one moment may differ by this
_MOST_PENDING = 100


@dataclass(frozen=True, slots=True)
class Draft:
    """What a message says of the gate. `text`: what to write if the version is still `version`; `None`: nothing.

    `gate` and `steps`: where it stood here when that was said, and how many of our steps are in it.
    """

    version: int
    text: str | None
    gate: Gate
    steps: int


class SharedGate:
    """One family's gate, on its way to the ledger and back. `lease_ms`: longest that a sent read may take.

    `unwritten`: whether the ledger has to be told where it stands.
    """

    def __init__(self, gatekeeper: GateKeeper, clock: Clock, lease_ms: int) -> None:
        self.unwritten = False
        self._gatekeeper = gatekeeper
        self._clock = clock
        self._lease_ms = lease_ms
        self._version = 0
        self._steps: list[tuple[GateEvent, int]] = []  # of our own since the ledger last had it from us
        self._lease_until_ms = 0

    # ------------------------------------------------------------------------------- what happens here

    def stepped(self, event: GateEvent, before: Gate, *, keep: bool) -> bool:
        """It was moved here; whether others must hear of that: it is more than a count of ours.

        `keep` the step, to take it again on top of what others wrote meanwhile.
        """
        if heard(self._gatekeeper.gate) == heard(before):
            return False
        self.unwritten = True
        self._lease_until_ms = self._now_ms() + self._lease_ms
        if keep and len(self._steps) < _MOST_PENDING:
            self._steps.append((event, self._now_ms()))
        return True

    def unsent(self) -> None:
        """A probe or a read of a ramp was written and then not sent: the gate is as it is here."""
        self.unwritten = True

    def cut_off(self) -> None:
        """The ledger can't be told: where the gate stands then will count, not how it came there."""
        self._steps.clear()

    def sending(self) -> Gate:
        """The gate once one more read is sent."""
        return self._gatekeeper.next_gate(self._gatekeeper.gate, Sent())

    def give_up_the_dead(self) -> bool:
        """Drop reads of a probe or a ramp that nobody heard of for too long: who sent them is gone."""
        gate = self._gatekeeper.gate
        sent = 1 if gate.state is GateState.PROBING else gate.flying if gate.state is GateState.RAMP else 0
        if not sent or not self._lease_until_ms or self._now_ms() <= self._lease_until_ms:
            return False
        for _ in range(sent):
            self._gatekeeper.record_drop(gate.epoch)
        return True

    # ------------------------------------------------------------------------------- there and back

    def draft(self, after: Gate, now: Moment) -> Draft:
        """What to tell the ledger, where the gate will be `after` if it is written."""
        gate = self._gatekeeper.gate
        writes = self.unwritten or heard(after) != heard(gate)
        return Draft(self._version, self._encode(after, now) if writes else None, gate, len(self._steps))

    def answered(self, draft: Draft, answer: Answer, now: Moment) -> bool:
        """The ledger's answer; whether the gate moved here by it."""
        self._version = answer.version
        if answer.gate is not None:
            return self._adopt(answer.gate, now)
        if answer.written:
            del self._steps[: draft.steps]
            self.unwritten = heard(self._gatekeeper.gate) != heard(draft.gate)
            self._lease_until_ms = self._now_ms() + self._lease_ms
        return False

    def _adopt(self, text: str, now: Moment) -> bool:
        """Others moved it: go by that, with what happened here on top; what differs then is to be written."""
        before, found = self._gatekeeper.gate, self._decode(text, now)
        if found is None:
            self.unwritten = True
            return False
        theirs, self._lease_until_ms = found
        merged = merge(before, theirs, self._now_ms())
        if merged.epoch == theirs.epoch and merged.state is theirs.state:
            for event, at_ms in self._steps:
                merged = self._gatekeeper.next_gate(merged, event, at_ms)
        self.unwritten = heard(merged) != heard(theirs)
        if not self.unwritten:
            self._steps.clear()
        if merged == before:
            return False
        self._gatekeeper.adopt(merged)
        return True

    def _encode(self, gate: Gate, now: Moment) -> str:
        plain = gate_to_mapping(gate, self._now_ms(), now.utc_ms)
        more = {"flying": heard(gate).flying, "lease_ms": now.utc_ms + self._lease_ms}
        return json.dumps(plain | more, separators=(",", ":"))

    def _decode(self, text: str, now: Moment) -> tuple[Gate, int] | None:
        """The gate, and until when its reads may be under way, by our clock; `None` for what no `_encode` made."""
        now_ms = self._now_ms()
        try:
            plain = json.loads(text)
            state, flying, lease_ms = GateState(plain["state"]), int(plain["flying"]), int(plain["lease_ms"])
            gate = gate_from_mapping(plain | {"state": GateState.OPEN.value}, now_ms, now.utc_ms, 0)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        late_ms = min(now.error_ms, _SKEW_MS) if state is GateState.CLOSED else 0
        gate = replace(gate, state=state, flying=flying, until_ms=gate.until_ms + late_ms)
        return gate, lease_ms - now.utc_ms + now_ms

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


def heard(gate: Gate) -> Gate:
    """What of a gate others hear: counts of an open one are each replica's own."""
    return replace(gate, flying=0, failures=0) if gate.state is GateState.OPEN else gate


def merge(ours: Gate, theirs: Gate, now_ms: int) -> Gate:
    """One gate of two views of it: the one that knows more closures, and no wait of either is cut short.

    Only the operator's word opens a gate whose wait is not over; times in `theirs` are already by our clock.
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
            flying=0,
            width=0,
            landed=0,
            failures=0,
            level=max(base.level, other.level),
            bans=max(base.bans, other.bans),
            last_pause_ms=max(base.last_pause_ms, other.last_pause_ms),
            halved_until_ms=max(base.halved_until_ms, other.halved_until_ms),
        )
    if base is theirs and base.state is GateState.OPEN is ours.state and base.epoch == ours.epoch:
        return replace(base, flying=ours.flying, failures=ours.failures)
    return base
