"""The daemon with many listeners: its CPU and memory, and how much later than from the exchange a frame comes.

    python -m bench.listeners [--seconds 10] [LISTENERSxTOPICS …]

All listen to all topics, candles on spot, which change every two seconds. One more client is connected to the
exchange itself and one to the daemon: what lies between the arrivals of the same frame is what the daemon adds, on a
machine that runs the exchange, the daemon and all the clients.
"""

import argparse
import asyncio
import contextlib
import subprocess
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import httpx
import uvloop
from websockets.asyncio.client import connect

from bench.figures import spread
from bench.topics import list_symbols, process_use
from mdcache.replay.processes import daemon, sim, stream_settings

CASES = ("1x20", "100x20", "1000x20", "1x1000", "100x1000", "1000x1000")
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
_INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
_SETTLED_S = 8.0
_AT_ONCE = 50


class _Reader(asyncio.Protocol):
    """A listener that only reads."""

    def __init__(self, head: bytes) -> None:
        self._head = head

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._head)


async def load(url: str, listeners: int) -> None:
    """Connect so many listeners, say so, and read until the end."""
    parts = urlsplit(url)
    head = (
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n"
    ).encode()
    host, _, port = parts.netloc.partition(":")
    loop = asyncio.get_running_loop()
    for begun in range(0, listeners, _AT_ONCE):
        some = range(min(_AT_ONCE, listeners - begun))
        await asyncio.gather(*(loop.create_connection(lambda: _Reader(head), host, int(port)) for _ in some))
    print("connected", flush=True)
    await asyncio.Event().wait()


async def arrivals(url: str, seconds: float) -> dict[bytes, float]:
    """Return when each frame came."""
    found: dict[bytes, float] = {}
    async with connect(url, proxy=None, compression=None, max_size=None, open_timeout=60.0) as listener:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    frame = await listener.recv(decode=False)
                    found[frame] = time.perf_counter()
    return found


async def measure(exchange: str, url: str, pid: int, listeners: int, topics: list[str], seconds: float) -> None:
    """Print the figures of one case."""
    path = "/stream?streams=" + "/".join(topics)
    ours, theirs = (f"ws://{urlsplit(base).netloc}{path}" for base in (url, exchange))
    command = [sys.executable, "-m", "bench.listeners", "--load", ours, str(listeners)]
    others = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert others.stdout is not None
    try:
        await others.stdout.readline()
        await asyncio.sleep(_SETTLED_S)
        before_s, began = process_use(pid)[0], time.monotonic()
        probe, direct = await asyncio.gather(arrivals(ours, seconds), arrivals(theirs, seconds))
        after_s, resident = process_use(pid)
        share = (after_s - before_s) / (time.monotonic() - began)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            spot = (await client.get("/v1/status")).raise_for_status().json()["streams"][0]
    finally:
        others.kill()
        await others.wait()
    added = [(at_s - direct[frame]) * 1_000 for frame, at_s in probe.items() if frame in direct]
    print(
        f"{listeners:>5} listeners, {len(topics):>5} topics: {share:.3f} of a core, {resident / 1e6:.0f} MB; "
        f"{len(probe) / max(1, len(direct)):.0%} of the exchange's frames reach a listener, "
        f"{spread(added, 'ms')} later; {spot['connections']} connections to the exchange in place of {listeners}",
        flush=True,
    )


async def compare(cases: list[str], seconds: float) -> None:
    """Measure all cases, each with a daemon of its own."""
    with sim() as exchange:
        sizes = [tuple(map(int, case.split("x"))) for case in cases]
        names = await list_symbols(exchange, -(-max(topics for _, topics in sizes) // len(_INTERVALS)))
        known = [f"{name.lower()}@kline_{interval}" for interval in _INTERVALS for name in names]
        for listeners, topics in sizes:
            most = str(listeners + 1)  # the probe is one, too
            with daemon(exchange, listeners_max=most, **stream_settings(exchange)) as (url, process):
                await measure(exchange, url, process.pid, listeners, known[:topics], seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--load", nargs=2)
    parser.add_argument("cases", nargs="*", default=CASES)
    given = parser.parse_args()
    if given.load:
        uvloop.run(load(given.load[0], int(given.load[1])))
    else:
        uvloop.run(compare(given.cases, given.seconds))


if __name__ == "__main__":
    main()
