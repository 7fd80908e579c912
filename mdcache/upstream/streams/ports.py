"""What connections to streams need from outside: the network, the gate, and who takes the frames."""

from collections.abc import Awaitable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from mdcache.errors import UpstreamUnavailable
from mdcache.exchange.markets import Market
from mdcache.upstream.reply_head import ReplyHead


class FrameConsumer(Protocol):
    """Takes frames."""

    def take(self, market: Market, topic: str, data: bytes) -> bool:
        """Take the `data` of a frame; return False if it proved nothing new: unknown, garbage, or no newer than before.

        It must not block: a connection reads its next message when this returns, so no frame ever waits in a queue of
        ours, and none is dropped because its consumer is slow.
        """

    def interrupt(self, market: Market) -> None:
        """Note that frames of `!miniTicker@arr` may be missing: its connection has ended, or was replaced."""


class FrameRelay(Protocol):
    """Takes the frames of topics that somebody listens to (docs/design.md#relay)."""

    def relay(self, market: Market, topic: str, data: bytes) -> None:
        """Take the `data` of a frame: each once, in the exchange's order. It must not block."""

    def lost(self, market: Market, topics: Collection[str], reason: str) -> None:
        """Note that frames of topics are missing, or do not come any more: in both cases listeners must know."""

    def refused(self, market: Market, topic: str, code: int, msg: str) -> None:
        """Note that the exchange refuses to send a topic, and what it says; may be repeated."""


class NoRelay:
    """Nobody listens."""

    def relay(self, market: Market, topic: str, data: bytes) -> None:
        """Do nothing."""

    def lost(self, market: Market, topics: Collection[str], reason: str) -> None:
        """Do nothing."""

    def refused(self, market: Market, topic: str, code: int, msg: str) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class FrameTakers:
    """Who takes frames: those of all topics, and those of topics that are listened to."""

    consumer: FrameConsumer
    relay: FrameRelay = field(default_factory=NoRelay)


class ConnectQuota(Protocol):
    """The connects that all replicas behind one address may make together."""

    async def take(self, *, planned: bool) -> float:
        """Count a connect; return how many seconds to wait before asking again, 0 if it may begin.

        `planned`: it leaves room for those that are not.
        """


class OwnConnects:
    """No other replica: the pace of this process is enough."""

    async def take(self, *, planned: bool) -> float:
        """Return 0: it may begin."""
        del planned
        return 0.0


class HandshakeRefused(Exception):
    """The handshake was answered with a status instead of an upgrade."""

    def __init__(self, head: ReplyHead, body: bytes) -> None:
        super().__init__(f"handshake refused: {head.status}")
        self.head = head
        self.body = body


class ConnectionEnded(Exception):
    """The connection has ended. `code`: of the other side's closing handshake; `None`: there was none."""

    def __init__(self, code: int | None, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class StreamConnection(Protocol):
    """An open connection. It answers pings by itself, at once."""

    async def send(self, text: str) -> None:
        """Send a message; raise `ConnectionEnded` if that is so."""

    async def receive(self) -> bytes | str:
        """Return the next message; raise `ConnectionEnded` after the last one."""

    async def close(self) -> None:
        """Close it, in bounded time whatever the other side does."""


class Connect(Protocol):
    """Opens connections."""

    def __call__(self, url: str) -> Awaitable[StreamConnection]:
        """Connect to `url`; raise `HandshakeRefused`, or `TransportFailed` if no answer came."""


@dataclass(frozen=True, slots=True)
class HandshakeOutcome:
    """What a handshake's answer changed: it closed the gate, or makes the market's streams alone wait for `wait_s`."""

    closed_gate: bool = False
    wait_s: float = 0.0


class HandshakeGate(Protocol):
    """The gate of a market's family, as handshakes need it."""

    def handshake_refusal(self, market: Market) -> UpstreamUnavailable | None:
        """Return why no handshake may be sent now: the gate is closed, or its probe is not answered yet."""

    def handshake_epoch(self, market: Market) -> int:
        """Return the gate's epoch, to be given back with what becomes of a handshake that is sent now."""

    def record_handshake(self, market: Market, epoch: int, head: ReplyHead, body: bytes) -> HandshakeOutcome:
        """Tell how a handshake was answered."""


@dataclass(frozen=True, slots=True)
class Dialing:
    """What it takes to open connections; a handshake is bounded by `timeout_s`."""

    connect: Connect
    gate: HandshakeGate
    quota: ConnectQuota = field(default_factory=OwnConnects)
    timeout_s: float = 5.0
