"""A client's connection as the relay sees it."""

from mdcache.exchange.markets import Market
from mdcache.relay.frames import RelayedFrame
from mdcache.relay.relay import Relay


class FakeListener:
    """Keeps what it is sent. `stuck`: its socket takes nothing, so that all of it waits."""

    def __init__(self, relay: Relay, market: Market = Market.SPOT, *topics: str, client: str = "one") -> None:
        self.relay = relay
        self.market = market
        self.frames: list[RelayedFrame] = []
        self.closed: tuple[int, str] | None = None
        self.told: list[tuple[int, str]] = []
        self.stuck = False
        self.waiting = 0
        self.client = client
        self.subscribe(*topics)

    def subscribe(self, *topics: str) -> None:
        self.relay.subscribe(self, self.market, topics)

    def leave(self) -> None:
        self.relay.leave(self)

    def send(self, frame: RelayedFrame) -> None:
        assert self.closed is None
        self.frames.append(frame)
        if self.stuck:
            self.waiting += len(frame.combined_message())

    def waiting_bytes(self) -> int:
        return self.waiting

    def tell(self, code: int, msg: str) -> None:
        assert self.closed is None
        self.told.append((code, msg))

    def close(self, code: int, reason: str) -> None:
        assert self.closed is None
        self.closed = code, reason
        self.leave()

    def of(self, topic: str) -> list[bytes]:
        """The frames of a topic."""
        return [frame.data for frame in self.frames if frame.topic == topic]
