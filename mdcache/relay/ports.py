"""What the relay needs from outside: those who listen, and the streams."""

from typing import Protocol

from mdcache.cache.stream_tails import TopicFollower
from mdcache.exchange.markets import Market
from mdcache.relay.frames import RelayedFrame


class Listener(Protocol):
    """A client's connection that takes frames. Listeners are told apart by identity, so each must be hashable."""

    @property
    def client(self) -> str:
        """Whose connection it is: a client's name, or its address."""

    def send(self, frame: RelayedFrame) -> None:
        """Take a frame. It must not block."""

    def waiting_bytes(self) -> int:
        """Return how many bytes the client's socket has not taken yet."""

    def tell(self, code: int, msg: str) -> None:
        """Send an error of the exchange's. It must not block."""

    def close(self, code: int, reason: str) -> None:
        """Close the connection with a WebSocket code, perhaps in the midst of `subscribe`. Nothing more is sent."""


class ListenedStreams(TopicFollower, Protocol):
    """Streams whose topics may be relayed; calls may be repeated."""

    def listen(self, market: Market, topic: str) -> None:
        """Relay a topic, subscribing to it where that is not done."""

    def unlisten(self, market: Market, topic: str) -> None:
        """Relay it no more."""

    def refusal(self, market: Market) -> str | None:
        """Return why frames of a market would not come now; nothing if they would."""
