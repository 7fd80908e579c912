"""Topics that stay subscribed to for a while though nobody listens (docs/design.md#relay).

A connection outlives its last listener by one topic, so that one who comes and goes costs Binance no handshakes; and
one that was lost is opened again, so that its return shows to those who wait for it. Topics whose listeners were closed
since frames are missing outlive them, so that their return costs Binance no messages.
"""

from collections.abc import Container

from mdcache.clock import Clock
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import MINI_TICKERS
from mdcache.exchange.topics import StreamRoute, topic_route
from mdcache.relay.outbox import Topic
from mdcache.relay.ports import ListenedStreams

_KEPT_S, _KEPT_AT_MOST_S = 60.0, 300.0  # the latter while no frames come
_EXPECTED_S = 30.0


class KeptTopics:
    """Keeps the connections of `streams` open."""

    def __init__(self, streams: ListenedStreams, clock: Clock) -> None:
        self._streams = streams
        self._clock = clock
        self._kept: dict[tuple[Market, StreamRoute], tuple[str, float]] = {}
        self._expected: dict[Topic, float] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._kept or self._expected)

    def __contains__(self, topic: Topic) -> bool:
        """Whether a topic is one of them."""
        kept = any((market, kept) == topic for (market, _), (kept, _) in self._kept.items())
        return kept or topic in self._expected

    def keep(self, market: Market, topic: str) -> None:
        """Keep the connection of a topic for a minute; the topic itself only where no other is known to have frames."""
        route = topic_route(market, topic)
        known = MINI_TICKERS if route is StreamRoute.MARKET else topic
        kept, _ = self._kept.get((market, route), (known, 0.0))
        self._kept[market, route] = kept, self._clock.now()
        self._streams.listen(market, kept)

    def expect(self, topic: Topic) -> None:
        """Keep a topic that is listened to for half a minute more."""
        self._expected[topic] = self._clock.now()

    def release(self, listened: Container[Topic]) -> None:
        """Keep no longer what was kept for long enough."""
        now_s = self._clock.now()
        for (market, route), (topic, since_s) in list(self._kept.items()):
            kept_s = _KEPT_S if self._streams.refusal(market) is None else _KEPT_AT_MOST_S
            if now_s - since_s >= kept_s:
                del self._kept[market, route]
                self._let_go((market, topic), listened)
        for key, since_s in list(self._expected.items()):
            if now_s - since_s >= _EXPECTED_S:
                del self._expected[key]
                self._let_go(key, listened)

    def _let_go(self, topic: Topic, listened: Container[Topic]) -> None:
        if topic not in listened and topic not in self:
            self._streams.unlisten(*topic)
