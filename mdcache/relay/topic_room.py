"""How many topics of a market are listened to, and who may add another when room is scarce. Pure.

Each topic is on the account of one listener, and so of its client. Anyone may add topics until four fifths of the room
are taken. The rest is for clients with few: a client may add to it while it has fewer than 32. So whatever others take,
62 clients with 32 topics each find room.

A topic is *doubtful* if it never had a frame, and names no symbol or was refused by the exchange. Where a listener
would be refused, the one with the most doubtful topics gives way, if it has more of them: also to another one of its
client, which may be a proxy with many behind it.
"""

from collections import Counter, defaultdict
from typing import Protocol

from mdcache.exchange.symbols import MarketSymbols
from mdcache.exchange.topics import wire_name

MOST_TOPICS = 10_000  # 13 connections upstream
_FOR_ALL = 8_000
_FEW = 32


class TopicOwner(Protocol):
    """A listener, as far as it is counted."""

    @property
    def client(self) -> str:
        """Whose it is."""


class TopicRoom:
    """The topics of one market. `taken`: how many there are."""

    def __init__(self) -> None:
        self.taken = 0
        self._held: Counter[str] = Counter()  # by client
        self._doubtful: defaultdict[TopicOwner, dict[str, None]] = defaultdict(dict)

    def admits(self, owner: TopicOwner) -> bool:
        """Return whether a listener may add a topic."""
        return self.taken < _FOR_ALL or (self.taken < MOST_TOPICS and self._held[owner.client] < _FEW)

    def take(self, owner: TopicOwner) -> None:
        """Count a topic that a listener adds."""
        self.taken += 1
        self._held[owner.client] += 1

    def give_back(self, owner: TopicOwner, topic: str) -> None:
        """Count it no more."""
        self.taken -= 1
        self._held[owner.client] -= 1
        if not self._held[owner.client]:
            del self._held[owner.client]
        self.trust(owner, topic)

    def move(self, topic: str, owner: TopicOwner, heir: TopicOwner) -> None:
        """Count a topic on another listener's account, as the first one has left it."""
        doubtful = topic in self._doubtful.get(owner, ())
        self.give_back(owner, topic)
        self.take(heir)
        if doubtful:
            self.doubt(heir, topic)

    def doubt(self, owner: TopicOwner, topic: str) -> None:
        """Note that a topic is doubtful."""
        self._doubtful[owner][topic] = None

    def trust(self, owner: TopicOwner, topic: str) -> None:
        """Note that it is not."""
        found = self._doubtful.get(owner)
        if found is not None and found.pop(topic, self) is None and not found:
            del self._doubtful[owner]

    def to_give_way(self, owner: TopicOwner) -> list[str]:
        """Return the doubtful topics of whoever has the most, if that is more than this listener has."""
        most = max(self._doubtful.values(), key=len, default={})
        return list(most) if len(most) > len(self._doubtful.get(owner, ())) else []


def names_nothing(symbols: MarketSymbols, topic: str) -> bool:
    """Return whether a topic is about no symbol or pair of a market, as far as these are known."""
    name = wire_name(topic).partition("@")[0]
    if not symbols.names or name.startswith("!"):
        return False
    upper = name.upper()
    listed = upper in symbols.names or upper in symbols.pairs or upper.rpartition("_")[0] in symbols.pairs
    return not listed or name != name.lower()  # upper case is silent: docs/binance.md#stream-connections
