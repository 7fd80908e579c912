"""What a client gets that is connected to the exchange by itself: the truth for what is relayed."""

import asyncio
import json

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import StreamRoute, topic_on, topic_route, wire_name
from mdcache.sim import Exchange
from tests.support.sim_streams import SimStreams
from tests.support.virtual_time import close_at_end
from tests.upstream.streams.world import BASES, StreamWorld

_PATHS = {Market.SPOT: "/stream", Market.USDM: "/{}/stream", Market.COINM: "/stream"}


class DirectClient:
    """Connected to an exchange of its own, which sends the same and never fails."""

    def __init__(self, world: StreamWorld, market: Market, *topics: str) -> None:
        self._net = SimStreams(Exchange(now_ms=world.clock.true_ms), world.clock)
        self._market = market
        self._frames: dict[str, list[bytes]] = {topic: [] for topic in topics}
        routes = {topic_route(market, topic) for topic in topics}
        self._tasks = [
            asyncio.create_task(self._run(route, [one for one in topics if topic_route(market, one) is route]))
            for route in routes
        ]
        close_at_end(self.aclose)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()

    def of(self, topic: str) -> list[bytes]:
        return self._frames[topic]

    def since(self, topic: str, first: bytes, last: bytes) -> list[bytes]:
        """The frames of a topic from one to another."""
        frames = self._frames[topic]
        return frames[frames.index(first) : frames.index(last) + 1]

    async def _run(self, route: StreamRoute, topics: list[str]) -> None:
        unit = "?timeUnit=MICROSECOND" if route is StreamRoute.MICROS else ""
        connection = await self._net(BASES[self._market] + _PATHS[self._market].format(route.value) + unit)
        await connection.send(json.dumps({"method": "SUBSCRIBE", "params": list(map(wire_name, topics)), "id": 1}))
        while True:
            text = await connection.receive()
            if text.startswith('{"stream":'):
                topic = topic_on(route, text[11 : text.index('"', 11)])
                self._frames[topic].append(text[text.index('"data":') + 7 : -1].encode())
