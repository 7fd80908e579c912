"""What can happen to a gate: all events of its table. `pauses` has the one that says how long to stay away."""

from dataclasses import dataclass

from mdcache.upstream.backoff import Refused


@dataclass(frozen=True, slots=True)
class Sent:
    """A read was sent; it belongs to the epoch the gate has after this step."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A read of `epoch` was answered by Binance itself, whole."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A read of `epoch` ended without a verdict: 5xx, silence, a transport fault, or not Binance's body."""

    epoch: int
    jitter: float


@dataclass(frozen=True, slots=True)
class QuestionFailed:
    """A question was given up after all its tries."""

    jitter: float


@dataclass(frozen=True, slots=True)
class ForcedOpen:
    """The operator opens it, whatever it knows: after a new address."""


@dataclass(frozen=True, slots=True)
class ForcedShut:
    """The operator closes it for `wait_ms`."""

    wait_ms: int


GateEvent = Sent | Answered | Dropped | Refused | QuestionFailed | ForcedOpen | ForcedShut
