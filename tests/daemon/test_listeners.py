"""Streams end to end: `mdcache serve` before the simulated exchange, and clients by the library `websockets`."""

import asyncio
import json
import signal

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from mdcache.replay.processes import stream_settings
from tests.support.processes import daemon, sim
from tests.support.waiting import PATIENCE_S, until

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

PATHS = {  # the daemon's path, the exchange's, and topics
    "spot": ("/stream", "/stream", ["btcusdt@kline_1m", "ethusdt@kline_1s", "btcusdt@trade"]),
    "usdm": ("/usdm/stream", "/usdm/market/stream", ["btcusdt@kline_1m", "ethusdt@kline_5m"]),
    "coinm": ("/coinm/stream", "/coinm/stream", ["btcusd_perp@kline_1m", "btcusd_perp@markPriceKline_1m"]),
}
FRAMES = 4


async def _open(base: str, path: str, topics: list[str]) -> ClientConnection:
    url = f"{base.replace('http://', 'ws://')}{path}?streams={'/'.join(topics)}"
    return await connect(url, proxy=None, compression=None)


class _Listener:
    """The frames that one client has received, by topic."""

    def __init__(self, connection: ClientConnection, topics: list[str]) -> None:
        self.frames: dict[str, list[str]] = {topic: [] for topic in topics}
        self._connection = connection

    async def receive(self) -> None:
        async for text in self._connection:
            assert isinstance(text, str)
            self.frames[json.loads(text)["stream"]].append(text)


def _event(text: str) -> tuple[int, int]:
    """Return when a frame was sent, and of which trade or candle."""
    data = json.loads(text)["data"]
    return data["E"], data["t"] if "t" in data else data["k"]["t"]


async def _compare(base: str, exchange: str, market: str) -> None:
    """Two bots listen to the daemon and one to the exchange: all get the same."""
    path, direct, topics = PATHS[market]
    connections = [
        await _open(base, path, topics),
        await _open(base, path, topics),
        await _open(exchange, direct, topics),
    ]
    first, second, exact = listeners = [_Listener(one, topics) for one in connections]
    receiving = asyncio.gather(*(one.receive() for one in listeners))
    pairs = [(each, topic) for each in (first, second) for topic in topics]
    await until(lambda: all(len(_shared(exact, each, topic)) >= FRAMES for each, topic in pairs))
    await asyncio.gather(*(one.close() for one in connections))
    await receiving
    for each, topic in pairs:
        shared, relayed = _shared(exact, each, topic), each.frames[topic]
        assert [text for text in relayed if text in shared] == shared
        assert len(set(relayed)) == len(relayed)
        same = {_event(text): text for text in exact.frames[topic]}
        assert all(same.get(_event(text), text) == text for text in relayed)


def _shared(exact: _Listener, relayed: _Listener, topic: str) -> list[str]:
    return [text for text in exact.frames[topic] if text in relayed.frames[topic]]


async def test_frames_of_all_markets_are_the_exchanges_own_byte_for_byte() -> None:
    with sim() as exchange, daemon(exchange, listeners_max="6", **stream_settings(exchange)) as (base, process):
        await asyncio.gather(*(_compare(base, exchange, market) for market in PATHS))
        last = await _open(base, "/stream", ["btcusdt@kline_1m"])
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            assert (await client.get("/stream")).status_code == 426
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await last.wait_closed()
        assert last.close_code == 1001
        assert process.wait(15) == 0
