"""A server of the daemon's own kind on a real socket, and connections to it that send what a test wants."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from mdcache.serving.http import server
from mdcache.serving.http.connection import ConnectionTimes
from tests.support.serving_harness import ServingHarness

GET = b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE_S = 10.0


class Peer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
            headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
            length = 0 if bodiless else int(headers.get("content-length", "0"))
            return int(line.split()[1]), headers, await self.reader.readexactly(length)

    async def get(self, request: bytes = GET) -> tuple[int, dict[str, str], bytes]:
        await self.send(request)
        return await self.reply()

    async def flood(self, data: bytes) -> None:
        for _ in range(100_000):
            await self.send(data)
            await asyncio.sleep(0)

    async def ended(self) -> bytes:
        """What was still sent before the server closed the connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


@asynccontextmanager
async def serving(
    house: ServingHarness,
    *,
    grace_s: float = 1.0,
    whole_within_s: float = 10.0,
    read_within_s: float = 60.0,
    keep_alive_s: int = 75,
    last_request_s: float = 0.0,
) -> AsyncIterator[Callable[[], Awaitable[Peer]]]:
    """A server; yields what opens a connection to it. Ends by SIGTERM, as everywhere."""
    addresses: list[str] = []
    up = asyncio.Event()

    def on_ready(found: object) -> None:
        assert isinstance(found, list)
        addresses.extend(found)
        up.set()

    sockets = await server.listen("127.0.0.1", 0)
    task = asyncio.create_task(
        server.serve(
            house.app,
            sockets,
            grace_s,
            on_ready,
            streams=house.handshakes,
            times=ConnectionTimes(whole_within_s, read_within_s, keep_alive_s, last_request_s),
        )
    )
    async with asyncio.timeout(PATIENCE_S):
        await up.wait()
    host, port = addresses[0].split(":")
    peers: list[Peer] = []

    async def connect() -> Peer:
        peers.append(Peer(*await asyncio.open_connection(host, int(port))))
        return peers[-1]

    try:
        yield connect
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await task
        for peer in peers:
            peer.writer.close()
