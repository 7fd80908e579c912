"""A family's gate keeper: holds its gate, applies events to it, and reports its changes.

`gate` decides when it changes its state, and how.
"""

import random
from collections.abc import Callable

from mdcache.clock import Clock, Instant
from mdcache.errors import GateClosed
from mdcache.events import Events, GateChanged
from mdcache.exchange.markets import Family
from mdcache.upstream import gate as gates
from mdcache.upstream.backoff import BackoffPolicy, ClosureReason, Denied
from mdcache.upstream.budget import MINUTE_MS
from mdcache.upstream.family_clock import FamilyClock
from mdcache.upstream.gate import Gate, GateDecision, GateState
from mdcache.upstream.gate_events import Dropped, GateEvent, QuestionFailed
from mdcache.upstream.reply_head import ReplyHead
from mdcache.upstream.reply_status import CAUSES
from mdcache.upstream.stated_wait import reference_time, stated_wait_ms


class GateKeeper:
    """One family's gate. `gate`: its current value; after a change, the caller makes the scheduler pump.

    `on_change` is called in each step that changes what should be saved; `on_step` after each event in this process,
    with the gate before it.
    """

    def __init__(
        self,
        family: Family,
        *,
        backoff: BackoffPolicy,
        family_clock: FamilyClock,
        clock: Clock,
        rng: random.Random,
        events: Events,
        on_change: Callable[[], None],
        on_step: Callable[[GateEvent, Gate], None],
    ) -> None:
        self.gate = Gate()
        self._family = family
        self._backoff = backoff
        self._family_clock = family_clock
        self._clock = clock
        self._rng = rng
        self._events = events
        self._on_change = on_change
        self._on_step = on_step

    # -------------------------------------------------------------------------------- queries

    def decision(self) -> GateDecision:
        """Decide what to do with the next read."""
        return gates.decide(self.gate, self._now_ms())

    def refusal(self) -> GateClosed | None:
        """Return the error for a question now; `None` if it may be asked, or wait."""
        return self.closed_error() if self.decision() is GateDecision.SHUT else None

    def closed_error(self) -> GateClosed:
        """Return the error for a question while the gate is closed, or that closed it."""
        return GateClosed(self.reopens_in_s(), CAUSES[self.gate.reason])

    def reopens_in_s(self) -> float:
        """Return how long a refused read should wait."""
        return gates.reopens_in_ms(self.gate, self._now_ms()) / 1000

    def share_factor(self) -> float:
        """Return the part of the share that it allows."""
        return gates.share_factor(self.gate, self._now_ms())

    def next_gate(self, gate: Gate, event: GateEvent, at_ms: int | None = None) -> Gate:
        """Return the gate after `event`; `at_ms`: by the clock that never steps, now if not given."""
        return gates.step(gate, event, self._now_ms() if at_ms is None else at_ms, self._backoff)

    def utc(self) -> Instant:
        """Return the exchange's time; its error counts as a minute at most."""
        utc = self._family_clock.now()
        return Instant(utc.utc_ms, min(utc.error_ms, MINUTE_MS))

    # -------------------------------------------------------------------------------- events

    def step(self, event: GateEvent) -> None:
        """Apply an event in this process."""
        before, self.gate = self.gate, self.next_gate(self.gate, event)
        self._publish(before)
        self._on_step(event, before)

    def adopt(self, gate: Gate) -> None:
        """Replace the gate by the one that the replicas share."""
        before, self.gate = self.gate, gate
        self._publish(before)

    def record_refusal(self, epoch: int, reason: ClosureReason, head: ReplyHead, body: bytes | None = None) -> bool:
        """Close it, or extend its closure, in the step that reads the reply; `body`: `None` if it is not read yet.

        Return whether the body must be read to know for how long.
        """
        at = reference_time(head, self.utc())
        stated_ms = stated_wait_ms(head, body or b"", at)
        body_pending = body is None and reason is ClosureReason.BAN and stated_ms is None
        self.step(
            Denied(
                epoch=epoch,
                reason=reason,
                stated_ms=stated_ms,
                next_minute_ms=min(MINUTE_MS, MINUTE_MS - at.ms % MINUTE_MS + at.error_ms),
                jitter=self._rng.random(),
                body_pending=body_pending,
            )
        )
        return body_pending

    def record_drop(self, epoch: int) -> None:
        """Apply an attempt that ended inconclusively."""
        self.step(Dropped(epoch, self._rng.random()))

    def record_failure(self) -> None:
        """Apply a question that failed after all its attempts."""
        self.step(QuestionFailed(self._rng.random()))

    # -------------------------------------------------------------------------------- parts

    def _publish(self, before: Gate) -> None:
        """Report the new state, and let it be saved."""
        if _public_part(self.gate) != _public_part(before):
            gate, extended = self.gate, before.state is self.gate.state is GateState.CLOSED
            self._events.emit(
                GateChanged(self._family.value, gate.state.value, gate.reason.value, self.reopens_in_s(), extended)
            )
            self._on_change()

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)


def _public_part(gate: Gate) -> tuple[object, ...]:
    return gate.state, gate.reason, gate.until_ms
