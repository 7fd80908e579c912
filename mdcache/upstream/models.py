"""Requests to the governor and their replies: plain values, and the protocol of a read."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mdcache.clock import Instant
from mdcache.events import ReadReason
from mdcache.exchange.markets import Market
from mdcache.upstream.priority import Priority

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A GET request: `path` and `query` (without `?`) as they are sent. A body over `max_bytes` is invalid.

    `subject`: the name of the series that it reads, if it reads one.
    """

    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    weight: int
    max_bytes: int
    subject: str = ""


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A whole body with status 200.

    `sent`: exchange time of the send, less an upstream's `Age`: the as-of. `received`: of the reply's head.
    `doubt_ms`: how far the market's clock may be wrong besides its error, by this reply's own `Date` or one before it.
    `sent_s`: the send by our clock's `now()`, and `round_trip_s` from there to the head.
    `date_ms`: its `Date`, if it had one.
    """

    body: bytes
    sent: Instant
    received: Instant
    doubt_ms: int
    round_trip_s: float
    sent_s: float = 0.0
    date_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted(Generic[T_co]):
    """A parsed reply. `rows`: their number, if it is a page of rows."""

    value: T_co
    rows: int | None = None


class Fetchable(Protocol[T_co]):
    """One question to Binance."""

    @property
    def market(self) -> Market:
        """The market that is asked."""

    @property
    def endpoint(self) -> str:
        """The path without market and version, for labels."""

    @property
    def reason(self) -> ReadReason:
        """Why it is asked, for labels."""

    @property
    def priority(self) -> Priority:
        """Its priority in the queue; always the same object."""

    def weight(self) -> int:
        """Return its documented weight if it were sent now; it may grow until then."""

    def build_request(self) -> UpstreamRequest:
        """Build the request. Called in the same step in which its weight is reserved, once for each attempt."""

    async def accept(self, reply: UpstreamReply) -> Accepted[T_co]:
        """Parse the body, a long one in a thread; raise `InvalidBody` if it does not answer the question."""
