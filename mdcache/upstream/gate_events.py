"""The events of the gate's table. `Denied`, which carries a wait, is in `backoff`."""

from dataclasses import dataclass

from mdcache.upstream.backoff import Denied


@dataclass(frozen=True, slots=True)
class Sent:
    """A read was sent; it belongs to the epoch the gate has after this step."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A read of `epoch` was completely answered by Binance itself."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A read of `epoch` ended inconclusively: 5xx, no reply, a transport fault, or a body not from Binance."""

    epoch: int
    jitter: float


@dataclass(frozen=True, slots=True)
class QuestionFailed:
    """A question failed after all its attempts."""

    jitter: float


@dataclass(frozen=True, slots=True)
class ForcedOpen:
    """The operator opens the gate regardless of its history, after a change of address."""


@dataclass(frozen=True, slots=True)
class ForcedShut:
    """The operator closes the gate for `wait_ms`."""

    wait_ms: int


GateEvent = Sent | Answered | Dropped | Denied | QuestionFailed | ForcedOpen | ForcedShut
