"""The daemon with many listeners: its CPU and memory, and how long a frame takes from the exchange to a listener.

    python -m bench.listeners [--seconds 10] [LISTENERSxTOPICS …]

All listen to all topics, candles on spot, which change every two seconds. The daemon has a core of its own; the
exchange (`bench.candle_exchange`) and all clients share the others. Each frame says when it was sent. One client beside
the many measures how old frames are through the daemon, and one how old they are directly.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from operator import itemgetter
from statistics import quantiles
from typing import cast
from urllib.parse import urlsplit

import httpx
import uvloop
from websockets.asyncio.client import connect

from bench.processes import busy_exchange, daemon
from bench.topics import process_use
from mdcache.replay.processes import stream_settings

CASES = ("1x20", "100x20", "1000x20", "1x1000", "100x1000", "1000x1000")
SERVER_CORE, LOAD_CORE = 0, 1
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
_SETTLED_S = 8.0
_AT_ONCE = 50
_SENT = b'"B":"'


class _Reader(asyncio.BufferedProtocol):
    """A listener that only reads. `buffer`: of all, as nobody looks at it."""

    def __init__(self, head: bytes, buffer: bytearray) -> None:
        self._head = head
        self._buffer = buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._head)

    def get_buffer(self, sizehint: int) -> bytearray:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        pass


async def load(url: str, listeners: int) -> None:
    """Connect so many listeners, say so, and read until the end."""
    parts, buffer = urlsplit(url), bytearray(262_144)
    head = (
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n"
    ).encode()
    host, _, port = parts.netloc.partition(":")
    loop = asyncio.get_running_loop()
    for begun in range(0, listeners, _AT_ONCE):
        some = range(min(_AT_ONCE, listeners - begun))
        await asyncio.gather(*(loop.create_connection(lambda: _Reader(head, buffer), host, int(port)) for _ in some))
    print("connected", flush=True)
    await asyncio.Event().wait()


async def ages_ms(base: str, topics: list[str], seconds: float) -> list[float]:
    """Return how old frames are when they come, in the last `seconds` of a connection."""
    ages: list[float] = []
    url = f"ws://{urlsplit(base).netloc}/stream"
    async with connect(url, proxy=None, compression=None, max_size=None, open_timeout=60.0) as listener:
        await listener.send(json.dumps({"method": "SUBSCRIBE", "params": topics, "id": 1}))
        since_s = time.monotonic() + _SETTLED_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLED_S + seconds):
                while True:
                    frame, now_s = await listener.recv(decode=False), time.monotonic()
                    place = frame.find(_SENT)
                    if place >= 0 and now_s >= since_s:
                        start = place + len(_SENT)
                        ages.append(1_000 * (now_s - float(frame[start : frame.index(b'"', start)])))
    return ages


def spread(ages: list[float]) -> str:
    """Return median and 99th percentile."""
    return "none" if len(ages) < 2 else "p50 {:.1f}, p99 {:.1f} ms".format(*itemgetter(49, 98)(quantiles(ages, n=100)))


async def measure(exchange: str, url: str, pid: int, listeners: int, topics: list[str], seconds: float) -> None:
    """Print the figures of one case."""
    address = f"{url}/stream?streams=" + "/".join(topics)
    command = [sys.executable, "-m", "bench.listeners", "--load", address, str(listeners)]
    others = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert others.stdout is not None
    try:
        await others.stdout.readline()
        probes = [asyncio.create_task(ages_ms(base, topics, seconds)) for base in (url, exchange)]
        await asyncio.sleep(_SETTLED_S)
        before_s, began = process_use(pid)[0], time.monotonic()
        ours, theirs = await asyncio.gather(*probes)
        after_s, resident = process_use(pid)
        share = (after_s - before_s) / (time.monotonic() - began)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            status = (await client.get("/v1/status")).raise_for_status().json()
    finally:
        others.kill()
        await others.wait()
    streams, heard = status["streams"][0], status["listeners"][0]
    print(
        f"{listeners:>5} listeners, {len(topics):>5} topics: {share:.3f} of a core, {resident / 1e6:.0f} MB; "
        f"frames are {spread(ours)} old, {spread(theirs)} without the daemon; {len(ours) / max(1, len(theirs)):.0%} "
        f"of them come; {streams['connects_last_hour']} connects and {heard['topics']:,} topics upstream in place of "
        f"{listeners:,} and {listeners * len(topics):,}",
        flush=True,
    )


async def compare(cases: list[str], seconds: float) -> None:
    """Measure all cases, each with a daemon of its own."""
    sizes = [tuple(map(int, case.split("x"))) for case in cases]
    most = max(topics for _, topics in sizes)
    with busy_exchange(most, core=LOAD_CORE, module="bench.candle_exchange") as exchange:
        known = [f"coin{number}usdt@kline_1m" for number in range(most)]
        for listeners, topics in sizes:
            room = str(listeners + 1)  # the one that measures is one, too
            settings = stream_settings(exchange)
            with daemon(exchange, core=SERVER_CORE, listeners_max=room, **settings) as (url, process):
                await measure(exchange, url, process.pid, listeners, known[:topics], seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--load", nargs=2)
    parser.add_argument("cases", nargs="*", default=CASES)
    given = parser.parse_args()
    os.sched_setaffinity(0, set(os.sched_getaffinity(0)) - {SERVER_CORE} or {SERVER_CORE})
    if given.load:
        uvloop.run(load(given.load[0], int(given.load[1])))
    else:
        uvloop.run(compare(given.cases, given.seconds))


if __name__ == "__main__":
    main()
