"""What is handed to the governor, and what comes back: plain values, and the protocol of a read."""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from mdcache.clock import Instant as Instant  # noqa: PLC0414 - readers of replies read moments too
from mdcache.events import ReadReason
from mdcache.exchange.markets import Market
from mdcache.upstream.priority import Priority

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A GET, sealed: `path` and `query` (without `?`) as they are sent. A body over `max_bytes` is broken."""

    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    weight: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A whole body with status 200.

    `sent`: exchange time of the send, less an upstream's `Age`: the as-of. `received`: of the reply's head.
    `settles`: whether rows of it may settle; not while the market's clock is unmeasured or doubted, nor if
    this reply's own `Date` is off. `sent_s`: the send by our clock's `now()`, and `rtt_s` from there to the
    head. `date_ms`: its `Date`, if it had one.
    """

    body: bytes
    sent: Instant
    received: Instant
    may_settle: bool
    round_trip_s: float
    sent_s: float = 0.0
    date_ms: int | None = None


class Fetchable(Protocol[T_co]):
    """One question to Binance. `reason` says why it is asked (an event's label)."""

    @property
    def market(self) -> Market:
        """Where it is asked."""
        ...

    @property
    def endpoint(self) -> str:
        """The path's tail, for labels."""
        ...

    @property
    def reason(self) -> ReadReason:
        """Why it is asked."""
        ...

    @property
    def priority(self) -> Priority:
        """How it stands in the queue; the same object throughout."""
        ...

    def weight(self) -> int:
        """Documented weight if it were sealed now; may grow until then."""
        ...

    def build_request(self) -> UpstreamRequest:
        """Return what to send. Called in the same step in which its weight is reserved, once for each attempt."""
        ...

    def accept(self, reply: UpstreamReply) -> T_co:
        """Return what the body says; raises `InvalidBody` if it is not what was asked for. Pure."""
        ...
