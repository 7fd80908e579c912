"""What one listener gets: all, or while its socket is slow, only what counts (docs/design.md#relay)."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import TopicKind
from mdcache.relay.frames import RelayedFrame
from mdcache.relay.ports import Listener

HOLD_FROM_BYTES = 256 * 1024  # waiting for the socket: more than the burst of a close; then frames are held back
MOST_BYTES = 1024 * 1024

Topic = tuple[Market, str]


@dataclass(slots=True)
class SentCounts:
    """Frames of a market that were sent to a listener, and those that were left out as a newer one said all."""

    sent: int = 0
    conflated: int = 0


class Outbox:
    """The frames of a listener. `market`: its connection's; `topics`: what it hears; `counts`: of all listeners."""

    def __init__(self, listener: Listener, market: Market, counts: Mapping[Market, SentCounts]) -> None:
        self.listener = listener
        self.market = market
        self.topics: dict[Topic, None] = {}
        self.left = False  # it is sent nothing more, though it may still be found at topics
        self._counts = counts
        self._held: dict[Topic, deque[RelayedFrame]] = {}
        self._final_bytes = 0  # of the held final frames; of the others there is one a topic

    @property
    def holds(self) -> bool:
        """Whether frames are held back."""
        return bool(self._held)

    def send(self, topic: Topic, kind: TopicKind, frame: RelayedFrame) -> bool:
        """Send a frame, now or later; return False if the listener is too slow to be kept."""
        waiting = self.listener.waiting_bytes()
        if kind is TopicKind.LOSSLESS:
            if waiting >= MOST_BYTES:
                return False
            self._send(frame)
            return True
        if waiting < HOLD_FROM_BYTES and not self._held:
            self._send(frame)
            return True
        self._hold(topic, frame)
        return waiting + self._final_bytes < MOST_BYTES

    def flush(self) -> None:
        """Send what is held, as far as the socket takes it."""
        while self._held and self.listener.waiting_bytes() < HOLD_FROM_BYTES:
            topic = next(iter(self._held))
            frames = self._held[topic]
            frame = frames.popleft()
            if not frames:
                del self._held[topic]
            if frame.final:
                self._final_bytes -= len(frame.data)
            self._send(frame)

    def forget(self, topic: Topic) -> None:
        """Drop what is held of a topic."""
        if topic in self._held:
            self._final_bytes -= sum(len(frame.data) for frame in self._held.pop(topic) if frame.final)

    def _send(self, frame: RelayedFrame) -> None:
        self._counts[frame.market].sent += 1
        self.listener.send(frame)

    def _hold(self, topic: Topic, frame: RelayedFrame) -> None:
        """Keep the final frames of a topic, and its newest one if that is another."""
        frames = self._held.setdefault(topic, deque())
        if frames and not frames[-1].final:
            frames.pop()
            self._counts[frame.market].conflated += 1
        if frame.final:
            self._final_bytes += len(frame.data)
        frames.append(frame)
