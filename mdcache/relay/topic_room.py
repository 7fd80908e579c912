"""How many topics of a market are listened to, and who may add another when room is scarce. Pure.

Each topic is on the account of one client. Anyone may add topics until four fifths of the room are taken. The rest is
for clients with few: a client may add to it while it has fewer than 32. So whatever others take, 62 clients with 32
topics each find room.

A topic is *doubtful* if it never had a frame, and names no symbol or was refused by the exchange. Where a client would
be refused, the one with the most doubtful topics gives way, if it has more of them.
"""

from collections import Counter, defaultdict

from mdcache.exchange.symbols import MarketSymbols
from mdcache.exchange.topics import wire_name

MOST_TOPICS = 10_000  # 13 connections upstream
_FOR_ALL = 8_000
_FEW = 32


class TopicRoom:
    """The topics of one market. `taken`: how many there are."""

    def __init__(self) -> None:
        self.taken = 0
        self._held: Counter[str] = Counter()  # by client
        self._doubtful: defaultdict[str, dict[str, None]] = defaultdict(dict)

    def admits(self, client: str) -> bool:
        """Return whether a client may add a topic."""
        return self.taken < _FOR_ALL or (self.taken < MOST_TOPICS and self._held[client] < _FEW)

    def take(self, client: str) -> None:
        """Count a topic that a client adds."""
        self.taken += 1
        self._held[client] += 1

    def give_back(self, client: str, topic: str) -> None:
        """Count it no more."""
        self.taken -= 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        self.trust(client, topic)

    def move(self, topic: str, client: str, heir: str) -> None:
        """Count a topic on another client's account: the first one has left it."""
        if client == heir:
            return
        doubtful = topic in self._doubtful.get(client, ())
        self.give_back(client, topic)
        self.take(heir)
        if doubtful:
            self.doubt(heir, topic)

    def doubt(self, client: str, topic: str) -> None:
        """Note that a topic is doubtful."""
        self._doubtful[client][topic] = None

    def trust(self, client: str, topic: str) -> None:
        """Note that it is not."""
        found = self._doubtful.get(client)
        if found is not None and found.pop(topic, self) is None and not found:
            del self._doubtful[client]

    def to_give_way(self, client: str) -> list[str]:
        """Return the doubtful topics of whoever has the most, if that is more than this client has."""
        most = max(self._doubtful.values(), key=len, default={})
        return list(most) if len(most) > len(self._doubtful.get(client, ())) else []


def names_nothing(symbols: MarketSymbols, topic: str) -> bool:
    """Return whether a topic is about no symbol or pair of a market, as far as these are known."""
    name = wire_name(topic).partition("@")[0]
    if not symbols.names or name.startswith("!"):
        return False
    upper = name.upper()
    listed = upper in symbols.names or upper in symbols.pairs or upper.rpartition("_")[0] in symbols.pairs
    return not listed or name != name.lower()  # upper case is silent: docs/binance.md#stream-connections
