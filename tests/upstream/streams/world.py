"""Streams before the simulated exchange, in virtual time, with a consumer that accepts what is newer."""

import json
import random
from collections import defaultdict
from typing import TypeVar

from mdcache.cache.book_starts import BookStarts
from mdcache.events import Event, Events
from mdcache.exchange.markets import Market
from mdcache.exchange.symbols import MarketSymbols
from mdcache.relay.relay import Relay
from mdcache.sim import Exchange
from mdcache.upstream.governor import Governor, GovernorSettings
from mdcache.upstream.streams.market_streams import MarketStreamsStatus
from mdcache.upstream.streams.ports import Dialing, FrameRelay, FrameTakers
from mdcache.upstream.streams.streams import Streams
from tests.support.sim_streams import SimStreams
from tests.support.sim_transport import SimTransport
from tests.support.virtual_time import VirtualClock, close_at_end

_E = TypeVar("_E")

BASES = {
    Market.SPOT: "ws://sim.test",
    Market.USDM: "ws://sim.test/usdm",
    Market.COINM: "ws://sim.test/coinm",
}
BTC = "btcusdt@kline_1m"
SOME = ("btcusdt@kline_1m", "ethusdt@kline_1m", "bnbusdt@kline_1m", "solusdt@kline_1m", "xrpusdt@kline_1m")


class GrowingConsumer:
    """Accepts frames whose event time grows; notes when, and the event times."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.accepted: dict[tuple[Market, str], list[float]] = defaultdict(list)
        self.newest: dict[tuple[Market, str], int] = {}
        self.event_times: dict[tuple[Market, str], list[int]] = defaultdict(list)
        self.fails = False
        self.interrupted: list[Market] = []

    def interrupt(self, market: Market) -> None:
        self.interrupted.append(market)

    def take(self, market: Market, topic: str, data: bytes) -> bool:
        if self.fails:
            raise LookupError("a bug of the consumer")
        try:
            event = json.loads(data)
            event_ms = event[0]["E"] if isinstance(event, list) else event["E"]
        except (ValueError, LookupError, TypeError):
            return False
        if event_ms <= self.newest.get((market, topic), 0):
            return False
        self.newest[market, topic] = event_ms
        self.event_times[market, topic].append(event_ms)
        self.accepted[market, topic].append(self._clock.now())
        return True

    def since(self, at_s: float, market: Market, *topics: str) -> list[float]:
        """How long after a moment each topic had its first frame; `inf`: not yet."""
        return [next((at - at_s for at in self.accepted[market, topic] if at > at_s), float("inf")) for topic in topics]


class StreamWorld:
    def __init__(self, seed: int = 7) -> None:
        self.clock = VirtualClock()
        self.exchange = Exchange(now_ms=self.clock.true_ms)
        self.control = self.exchange.control
        self.net = SimStreams(self.exchange, self.clock)
        self.consumer = GrowingConsumer(self.clock)
        self.events: list[Event] = []
        bus = Events(self.events.append)
        rng = random.Random(seed)
        self.transport = SimTransport(self.exchange, self.clock)
        self.governor = Governor(
            clock=self.clock,
            rng=rng,
            events=bus,
            base_urls=dict.fromkeys(Market, "http://sim.test"),
            settings=GovernorSettings(),
            transport=self.transport,
        )

        def open_streams(relay: FrameRelay) -> Streams:
            self.streams = Streams(
                clock=self.clock,
                rng=rng,
                events=bus,
                dialing=Dialing(self.net, self.governor.handshakes),
                base_urls=BASES,
                takers=FrameTakers(self.consumer, relay),
            )
            return self.streams

        books = BookStarts(lambda _: self.clock.true_ms(), self.clock)
        self.symbols = MarketSymbols()
        self.relay = Relay(open_streams, self.clock, bus, books, lambda _: self.symbols, lambda _: 3.0)
        close_at_end(self.aclose)

    async def aclose(self) -> None:
        self.relay.aclose()
        await self.streams.aclose()
        await self.governor.aclose()

    def subscribe(self, *topics: str, market: Market = Market.SPOT) -> None:
        for topic in topics:
            self.streams.subscribe(market, topic)

    def status(self, market: Market = Market.SPOT) -> MarketStreamsStatus:
        return next(one for one in self.streams.status() if one.market == market.value)

    async def wait(self, seconds: float) -> None:
        await self.clock.sleep(seconds)

    def matching(self, kind: type[_E]) -> list[_E]:
        return [event for event in self.events if isinstance(event, kind)]

    def most_connects_a_minute(self) -> int:
        times = [at for at, _ in self.net.attempts]
        return max(sum(begin <= at < begin + 60 for at in times) for begin in times)
