"""Topics that stay subscribed to for a while though nobody listens, one of each route (docs/design.md#relay).

A connection outlives its last listener, so that one who comes and goes costs Binance no handshakes; and one that was
lost is opened again, so that its return shows to those who wait for it.
"""

from collections.abc import Container

from mdcache.clock import Clock
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import MINI_TICKERS
from mdcache.exchange.topics import StreamRoute, topic_route
from mdcache.relay.outbox import Topic
from mdcache.relay.ports import ListenedStreams

_KEPT_S, _KEPT_AT_MOST_S = 60.0, 300.0  # the latter while no frames come


class KeptTopics:
    """Keeps the connections of `streams` open."""

    def __init__(self, streams: ListenedStreams, clock: Clock) -> None:
        self._streams = streams
        self._clock = clock
        self._kept: dict[tuple[Market, StreamRoute], tuple[str, float]] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._kept)

    def __contains__(self, topic: Topic) -> bool:
        """Whether a topic is one of them."""
        return any((market, kept) == topic for (market, _), (kept, _) in self._kept.items())

    def keep(self, market: Market, topic: str) -> None:
        """Keep the connection of a topic for a minute; the topic itself only where no other is known to have frames."""
        route = topic_route(market, topic)
        known = MINI_TICKERS if route is StreamRoute.MARKET else topic
        kept, _ = self._kept.get((market, route), (known, 0.0))
        self._kept[market, route] = kept, self._clock.now()
        self._streams.listen(market, kept)

    def release(self, listened: Container[Topic]) -> None:
        """Keep no longer what was kept for long enough."""
        now_s = self._clock.now()
        for (market, route), (topic, since_s) in list(self._kept.items()):
            kept_s = _KEPT_S if self._streams.refusal(market) is None else _KEPT_AT_MOST_S
            if now_s - since_s >= kept_s:
                del self._kept[market, route]
                if (market, topic) not in listened:
                    self._streams.unlisten(market, topic)
