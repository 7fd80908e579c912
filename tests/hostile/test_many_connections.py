"""Ten thousand idle connections, floods and slow requests at once: a daemon serves a thousand listeners and others."""

import asyncio
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from mdcache.replay.processes import Process, stream_settings
from tests.serving.streams.test_handshakes import OFFER
from tests.support.processes import daemon, sim
from tests.support.waiting import until

pytestmark = [pytest.mark.processes, pytest.mark.exhaustive]

IDLE = 10_000
LISTENERS = 1_000  # half of them by each protocol
PING = b"GET /api/v3/ping HTTP/1.1\r\nHost: x\r\n\r\n"
EVENTS = b"GET /v1/stream?market=spot&symbols=BTCUSDT&intervals=1m HTTP/1.1\r\nHost: x\r\n\r\n"
FRAMES = b"GET /ws/btcusdt@kline_1m HTTP/1.1\r\n" + OFFER + b"\r\n"
KLINES = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=100"
CONNECTION_BYTES = 20_000  # 10 KB measured


@contextmanager
def connected(url: str, count: int, first: bytes) -> Iterator[list[socket.socket]]:
    """Open connections that send `first`, and read nothing by themselves."""
    parts = urlsplit(url)
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            opened.append(socket.create_connection((parts.hostname, parts.port)))
            opened[-1].sendall(first)
        for each in opened:
            each.setblocking(False)
        yield opened
    finally:
        for each in opened:
            each.close()


def has_news(one: socket.socket, heard: bytearray) -> bool:
    """Read what has come; return whether an event or a frame was among it."""
    with suppress(BlockingIOError):
        heard += one.recv(1 << 20)
    return b"event: " in heard or b'"e":"kline"' in heard


async def flood(url: str) -> None:
    """Pipeline as fast as it is read; read what comes."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    reading = asyncio.create_task(reader.read(-1))
    try:
        while True:
            writer.write(PING * 200)
            await writer.drain()
    finally:
        reading.cancel()
        writer.transport.abort()


def memory_bytes(process: Process) -> int:
    """Return what the daemon itself holds: it is the only child of the process that was started."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split() or [str(process.pid)]
    return int(Path(f"/proc/{child}/statm").read_text().split()[1]) * resource.getpagesize()


async def test_all_of_it_at_once() -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE + LISTENERS + 500
    if files[1] < needed:
        pytest.skip(f"this machine allows {files[1]} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files[0], needed), files[1]))
    with (
        sim() as exchange,
        daemon(exchange, listeners_max=str(LISTENERS), **stream_settings(exchange)) as (url, process),
    ):
        before = memory_bytes(process)
        with (
            connected(url, IDLE, PING),
            connected(url, LISTENERS // 2, EVENTS) as by_events,
            connected(url, LISTENERS // 2, FRAMES) as by_frames,
            connected(url, 200, PING[:20]),
        ):
            held = memory_bytes(process) - before
            floods = [asyncio.create_task(flood(url)) for _ in range(3)]
            try:
                await honest(url)
                listeners = [(each, bytearray()) for each in (*by_events, *by_frames)]
                await until(lambda: all(has_news(*one) for one in listeners))
            finally:
                for each in floods:
                    each.cancel()
                await asyncio.gather(*floods, return_exceptions=True)
        assert held < (IDLE + LISTENERS) * CONNECTION_BYTES


async def honest(url: str) -> None:
    """Ask as a bot does."""
    times: list[float] = []
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=10.0) as client:
        for _ in range(40):
            began = time.perf_counter()
            assert (await client.get(KLINES)).status_code == 200
            times.append(time.perf_counter() - began)
    assert sorted(times)[20] < 0.2  # 6 ms measured, with floods by this very process
