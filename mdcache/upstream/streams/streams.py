"""The façade of this package: topics are subscribed to while they are wanted, and their frames handed on.

Which are wanted is state, not messages: it may change at any time, also while nothing is connected, and at each connect
the list is made anew.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping

from mdcache.clock import Clock
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.upstream.streams.dialer import Dialer
from mdcache.upstream.streams.market_streams import MarketStreams, MarketStreamsStatus
from mdcache.upstream.streams.ports import Dialing, FrameTakers

_ALIVE_S = 10.0


class Streams:
    """All connections to streams; a market without wanted topics has none.

    Args:
        clock: The clock.
        rng: Draws jitter and lives.
        events: Told what happens.
        dialing: What it takes to open connections.
        base_urls: The address of each market's streams, without the path.
        takers: Take the frames.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rng: random.Random,
        events: Events,
        dialing: Dialing,
        base_urls: Mapping[Market, str],
        takers: FrameTakers,
    ) -> None:
        self._dialer = Dialer(
            clock=clock,
            rng=rng,
            events=events,
            dialing=dialing,
            alive=self._alive,
        )
        self._markets = {
            market: MarketStreams(
                market,
                url,
                clock=clock,
                rng=rng,
                events=events,
                dialer=self._dialer,
                takers=takers,
            )
            for market, url in base_urls.items()
        }
        self._followed: set[tuple[Market, str]] = set()
        self._listened: set[tuple[Market, str]] = set()

    @property
    def markets(self) -> frozenset[Market]:
        """The markets whose streams have an address."""
        return frozenset(self._markets)

    def subscribe(self, market: Market, topic: str) -> None:
        """Want a topic; nothing happens if it is wanted."""
        self._followed.add((market, topic))
        self._markets[market].subscribe(topic)

    def unsubscribe(self, market: Market, topic: str) -> None:
        """Want it no more; it stays subscribed while somebody listens to it."""
        self._followed.discard((market, topic))
        if (market, topic) not in self._listened:
            self._markets[market].unsubscribe(topic)

    def listen(self, market: Market, topic: str) -> None:
        """Relay a topic; it shares the subscription of one that is wanted."""
        self._listened.add((market, topic))
        self._markets[market].subscribe(topic)
        self._markets[market].listen(topic)

    def unlisten(self, market: Market, topic: str) -> None:
        """Relay it no more; it stays subscribed while it is wanted."""
        self._listened.discard((market, topic))
        if (market, topic) in self._followed:
            self._markets[market].unlisten(topic)
        else:
            self._markets[market].unsubscribe(topic)

    def refusal(self, market: Market) -> str | None:
        """Return why frames of a market would not come now: its connection is gone, or none may be opened."""
        return self._markets[market].refusal()

    def renew(self, market: Market, topic: str) -> None:
        """Subscribe again to a topic that is dead, as a read has shown; may be repeated for as long as that is so.

        If it is still dead after 30 s, its connection is replaced, at most once an hour.
        """
        self._markets[market].renew(topic)

    def silent_s(self, market: Market, topic: str) -> float | None:
        """Return for how long a topic had no accepted frame, since it is wanted at least; `None`: it is not."""
        return self._markets[market].silent_s(topic)

    def status(self) -> tuple[MarketStreamsStatus, ...]:
        """Return the current state of each market."""
        followed: defaultdict[Market, list[str]] = defaultdict(list)
        for market, topic in self._followed:
            followed[market].append(topic)
        return tuple(streams.status(followed[market]) for market, streams in self._markets.items())

    async def aclose(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(market.aclose() for market in self._markets.values()))
        self._dialer.aclose()

    def _alive(self) -> bool:
        return any(market.alive(_ALIVE_S) for market in self._markets.values())
