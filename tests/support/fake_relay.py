"""A relay that sends what a test publishes, and records what it is asked."""

from collections.abc import Iterable

from mdcache.exchange.markets import Market
from mdcache.relay.frames import RelayedFrame
from mdcache.relay.ports import Listener

SubscriptionChange = tuple[str, Market, tuple[str, ...]]


class FakeRelay:
    """`changes`: subscriptions and their ends, in order. `trouble`: why no listener is taken."""

    def __init__(self) -> None:
        self.changes: list[SubscriptionChange] = []
        self.listeners: dict[Listener, set[tuple[Market, str]]] = {}
        self.left: list[Listener] = []
        self.trouble: str | None = None

    def subscribe(self, listener: Listener, market: Market, topics: Iterable[str]) -> None:
        added = tuple(topics)
        self.changes.append(("subscribe", market, added))
        self.listeners.setdefault(listener, set()).update((market, topic) for topic in added)

    def unsubscribe(self, listener: Listener, market: Market, topics: Iterable[str]) -> None:
        removed = tuple(topics)
        self.changes.append(("unsubscribe", market, removed))
        self.listeners[listener] -= {(market, topic) for topic in removed}

    def leave(self, listener: Listener) -> None:
        self.listeners.pop(listener, None)
        self.left.append(listener)

    def refusal(self, market: Market) -> str | None:
        return self.trouble

    def publish(self, topic: str, data: bytes, market: Market = Market.SPOT) -> None:
        frame = RelayedFrame(market, topic, data)
        for listener, topics in list(self.listeners.items()):
            if (market, topic) in topics:
                listener.send(frame)
