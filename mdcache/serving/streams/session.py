"""One listener's state: its topics, the form of its frames, and what it may still send. Pure.

Sources: web-socket-streams.md of spot, Live-Subscribing pages of fapi and dapi (docs/binance.md#stream-messages).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import in_micros, topic_route
from mdcache.serving.streams.listener_messages import (
    TOO_MANY_TOPICS,
    ListRequest,
    MessageRefused,
    PropertyRequest,
    SubscriptionRequest,
    read_message,
    result,
)
from mdcache.serving.streams.paths import StreamPath

MOST_TOPICS = 1_024  # a connection, on all markets
_MESSAGES_A_SECOND = {Market.SPOT: 5, Market.USDM: 10, Market.COINM: 10}
_TOLERATED = 5  # messages over that before the connection is closed: measured on fapi
_SECOND_S = 1.0


@dataclass(frozen=True, slots=True)
class MessageOutcome:
    """What follows from a message: the answer, and the topics whose frames are wanted from now on, or no longer.

    `too_many`: the connection is to be closed, as it has more topics than are allowed.
    """

    reply: str = ""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    too_many: bool = False


class ListenerSession:
    """What one connection is subscribed to."""

    def __init__(self, path: StreamPath) -> None:
        self.market = path.market
        self.combined = path.combined
        self._route = path.route
        self._private = path.private
        self._micros = path.micros
        self._topics: dict[str, None] = {}
        self._received: deque[float] = deque(maxlen=_MESSAGES_A_SECOND[path.market] + _TOLERATED)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it is subscribed to, known or not."""
        return tuple(self._topics)

    def allows_message(self, now_s: float) -> bool:
        """Count a message, ping or pong of the client; return whether it keeps to the limit."""
        received = self._received
        if len(received) == received.maxlen and now_s - received[0] < _SECOND_S:
            return False
        received.append(now_s)
        return True

    def subscribe(self, topics: Iterable[str]) -> MessageOutcome:
        """Subscribe to topics, known or not."""
        new = tuple(topic for topic in dict.fromkeys(topics) if topic not in self._topics)
        if len(self._topics) + len(new) > MOST_TOPICS:
            return MessageOutcome(TOO_MANY_TOPICS, too_many=True)
        self._topics.update(dict.fromkeys(new))
        return MessageOutcome(added=self._relayed(new))

    def receive(self, text: str) -> MessageOutcome:
        """Return what follows from a message."""
        try:
            message = read_message(self.market, text)
        except MessageRefused as refused:
            return MessageOutcome(refused.body)
        match message:
            case ListRequest():
                return MessageOutcome(result(message.id, list(self._topics)))
            case PropertyRequest(combined=None):
                return MessageOutcome(result(message.id, self.combined))
            case PropertyRequest():
                self.combined = bool(message.combined)
                return MessageOutcome(result(message.id))
            case SubscriptionRequest(method="SUBSCRIBE"):
                outcome = self.subscribe(message.topics)
                return outcome if outcome.too_many else MessageOutcome(result(message.id), outcome.added)
            case SubscriptionRequest():
                gone = tuple(topic for topic in dict.fromkeys(message.topics) if topic in self._topics)
                for topic in gone:
                    del self._topics[topic]
                return MessageOutcome(result(message.id), removed=self._relayed(gone))

    def _relayed(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the topics that have frames on this path; all others are acknowledged and silent."""
        if self._private:
            return ()
        if self._micros:
            return tuple(map(in_micros, names))
        return tuple(name for name in names if self._route is None or topic_route(self.market, name) is self._route)
