"""What happens on the connections to Binance's streams, as `events` describes."""

from dataclasses import dataclass
from enum import StrEnum


class ConnectReason(StrEnum):
    """Why a connection to streams is opened; the last three replace one that still lives."""

    FIRST = "first"
    LOST = "lost"
    PLANNED = "planned"
    SHUTDOWN = "shutdown"
    SILENT = "silent"


class StreamEnd(StrEnum):
    """How a connection to streams ended: closed or broken by the other side, or closed by us."""

    CLOSED = "closed"
    BROKEN = "broken"
    REPLACED = "replaced"
    USELESS = "useless"
    UNUSED = "unused"

    @property
    def is_loss(self) -> bool:
        """Whether the other side ended it."""
        return self in {StreamEnd.CLOSED, StreamEnd.BROKEN}


@dataclass(frozen=True, slots=True)
class StreamConnected:
    """A connection to streams is open, which proves nothing about its topics. `seconds`: of the handshake."""

    market: str
    reason: ConnectReason
    path: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """A connection to streams ended after `seconds`. `useless`: it took over nothing that the old one has."""

    market: str
    end: StreamEnd
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StreamRefused:
    """A handshake failed: with `status`, or without any (0). `closed_gate`: the gate of the family closed for it."""

    market: str
    status: int
    detail: str
    closed_gate: bool = False


@dataclass(frozen=True, slots=True)
class StreamSubscribed:
    """So many topics were subscribed to in one message."""

    market: str
    topics: int


@dataclass(frozen=True, slots=True)
class StreamsSilent:
    """So many topics had no frame for long and are subscribed to again; `example` is one of them."""

    market: str
    topics: int
    example: str


@dataclass(frozen=True, slots=True)
class StreamComplaint:
    """Binance refused a message on a connection to streams."""

    market: str
    detail: str


@dataclass(frozen=True, slots=True)
class TopicsDead:
    """So many topics are dead: reads showed trades that none of their frames did. `example` is one of them."""

    market: str
    topics: int
    example: str


StreamEvent = (
    StreamConnected | StreamEnded | StreamRefused | StreamSubscribed | StreamsSilent | StreamComplaint | TopicsDead
)
