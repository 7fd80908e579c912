"""Streams over real sockets, before the simulated exchange as a process."""

import asyncio
import json
import random

import httpx
import pytest

from mdcache.clock import SystemClock
from mdcache.events import Event, Events
from mdcache.exchange.markets import Market
from mdcache.stream_events import StreamConnected, StreamRefused
from mdcache.upstream.governor import Governor, GovernorSettings
from mdcache.upstream.streams.ports import Dialing, FrameTakers
from mdcache.upstream.streams.streams import Streams
from mdcache.upstream.streams.websocket_client import WebSocketConnector
from tests.support.processes import sim
from tests.support.waiting import until

pytestmark = pytest.mark.processes


class _Consumer:
    def __init__(self) -> None:
        self.frames: dict[tuple[Market, str], int] = {}

    def interrupt(self, market: Market) -> None:
        pass

    def take(self, market: Market, topic: str, data: bytes) -> bool:
        json.loads(data)
        self.frames[market, topic] = self.frames.get((market, topic), 0) + 1
        return True


async def test_frames_of_all_markets_come_and_come_back() -> None:
    with sim() as url:
        clock, seen, consumer = SystemClock(), list[Event](), _Consumer()
        bus, address = Events(seen.append), url.replace("http://", "ws://")
        governor = Governor(
            clock=clock,
            rng=random.Random(1),
            events=bus,
            base_urls=dict.fromkeys(Market, url),
            settings=GovernorSettings(),
        )
        streams = Streams(
            clock=clock,
            rng=random.Random(1),
            events=bus,
            dialing=Dialing(WebSocketConnector(timeout_s=5.0, trust_env=False), governor.handshakes),
            base_urls={Market.SPOT: address, Market.USDM: f"{address}/usdm", Market.COINM: f"{address}/coinm"},
            takers=FrameTakers(consumer),
        )
        wanted = (
            (Market.SPOT, "btcusdt@kline_1m"),
            (Market.USDM, "btcusdt@kline_1m"),
            (Market.COINM, "btcusd_perp@kline_1m"),
        )
        try:
            for market, topic in wanted:
                streams.subscribe(market, topic)
            await until(lambda: all(key in consumer.frames for key in wanted))
            async with httpx.AsyncClient(base_url=url, trust_env=False) as control:
                await control.post("/_sim/fault", json={"kind": "403", "path": "/stream", "count": 1})
                await control.post("/_sim/close_streams", json={})
                await until(lambda: any(isinstance(event, StreamRefused) and event.closed_gate for event in seen))
            await until(lambda: sum(isinstance(event, StreamConnected) for event in seen) == 5)
            consumer.frames.clear()
            await until(lambda: all(key in consumer.frames for key in wanted[1:]))
            status = {one.family: one for one in governor.status()}
            assert status["spot"].gate_reason == "403"
            assert status["futures"].gate_state == "open"
        finally:
            async with asyncio.timeout(10):
                await streams.aclose()
                await governor.aclose()
