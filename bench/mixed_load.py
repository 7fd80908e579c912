"""What a hit waits while the daemon is busy with everything else, and for how long its event loop is held at a time.

    python -m bench.mixed_load

20 pages of 1,000 rows a second that nobody asked for before, an `exchangeInfo` of 2 MB read anew every two seconds, and
2,500 frames a second from streams. Hits are asked for all the time over one connection each two milliseconds.
"""

import http.client
import json
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.busy_exchange import names
from bench.frames import FRAMES_A_SECOND, MINUTE
from bench.growth import now_ms
from bench.hits import LOAD_CORE, SERVER_CORE
from bench.processes import busy_exchange, watched_daemon
from bench.rows import Aim, Row
from mdcache.replay.processes import stream_settings

TOPICS = 250
SECONDS = 15.0
PAGES_A_SECOND = 20
INFO_EVERY_S = 2.0
HIT_EVERY_S = 0.002
KLINES = "/api/v3/klines?interval=1m&symbol="
_OK = 200


class Asking:
    """One connection to the daemon."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60.0)

    def get(self, path: str, **headers: str) -> bytes:
        self._connection.request("GET", path, headers=headers)
        reply = self._connection.getresponse()
        body = reply.read()
        if reply.status != _OK:
            raise AssertionError(f"{path}: {reply.status} {body[:200]!r}")
        return body


def read_pages(url: str) -> None:
    """Ask for pages of the past, of one symbol after another, until this process is ended."""
    asking, due, page = Asking(url), time.monotonic(), 0
    newest = now_ms() // MINUTE * MINUTE - 86_400_000
    while True:
        due += 1 / PAGES_A_SECOND
        time.sleep(max(0.0, due - time.monotonic()))
        start = newest - (page // TOPICS + 1) * 1_000 * MINUTE
        asking.get(f"{KLINES}{names(TOPICS)[page % TOPICS]}&limit=1000&startTime={start}")
        page += 1


def read_symbols(url: str) -> None:
    """Have the list of symbols read anew, until this process is ended."""
    asking = Asking(url)
    while True:
        asking.get("/api/v3/exchangeInfo", **{"Cache-Control": "no-cache"})
        time.sleep(INFO_EVERY_S)


def hit_waits_ms(url: str, seconds: float) -> list[float]:
    """Milliseconds from when a hit was due until its answer was there."""
    request = (
        f"GET {KLINES}{names(1)[0]}&limit=500&endTime={now_ms() - 86_400_000} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    )
    host, port = urlsplit(url).netloc.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(4):
            exchange(connection, request)
        waits, end = [], time.perf_counter() + seconds
        due = time.perf_counter()
        while (now := time.perf_counter()) < end:
            slept = due > now
            time.sleep(max(0.0, due - now))
            since = time.perf_counter() if slept else due  # waking up late is this process's own fault
            exchange(connection, request)
            waits.append((time.perf_counter() - since) * 1000)
            due += HIT_EVERY_S
    return waits


def exchange(connection: socket.socket, request: bytes) -> None:
    """Send a request and read its answer."""
    connection.sendall(request)
    received = bytearray(connection.recv(262_144))
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += connection.recv(262_144)
    if not received.startswith(b"HTTP/1.1 200"):
        raise AssertionError(bytes(received[:300]))
    length = int(received[:end].partition(b"content-length: ")[2].split()[0])
    while len(received) < end + 4 + length:
        received += connection.recv(262_144)


def frames_so_far(asking: Asking) -> int:
    """Frames with news that the daemon has taken."""
    streams = json.loads(asking.get("/v1/status"))["streams"]
    return sum(each["frames"]["news"] for each in streams)


def measure(folder: Path) -> tuple[list[float], list[float], float]:
    """Waits of hits, times for which the loop was held (both ms), and frames a second."""
    held = folder / "held"
    context = multiprocessing.get_context("spawn")
    os.sched_setaffinity(0, {LOAD_CORE})
    settings = {"weight_share": "1.0", "open_candle_ttl_s": "3600", "memory_max_mb": "2000", "stream_idle_s": "600"}
    with busy_exchange(TOPICS, core=LOAD_CORE) as upstream:
        with watched_daemon(upstream, held, core=SERVER_CORE, **settings, **stream_settings(upstream)) as url:
            asking = Asking(url)
            for _ in range(2):  # a series is followed from the second question on
                for name in names(TOPICS):
                    asking.get(f"{KLINES}{name}&limit=2")
            time.sleep(5.0)
            began_s = time.monotonic()
            loads = [context.Process(target=load, args=(url,), daemon=True) for load in (read_pages, read_symbols)]
            for load in loads:
                load.start()
            time.sleep(3.0)
            before, began = frames_so_far(Asking(url)), time.monotonic()
            waits = hit_waits_ms(url, SECONDS)
            frames = (frames_so_far(Asking(url)) - before) / (time.monotonic() - began)
            for load in loads:
                load.terminate()
                load.join()
        times = [ms for at_s, ms in json.loads(held.read_text()) if at_s > began_s]
    return waits, times, frames


def rows(_: str) -> list[Row]:
    """Measure the rows about waits."""
    with tempfile.TemporaryDirectory() as folder:
        waits, held, frames = measure(Path(folder))
    p50, p99 = (statistics.quantiles(waits, n=100)[place] for place in (49, 98))
    load = f"{PAGES_A_SECOND} pages, {frames:,.0f} of {FRAMES_A_SECOND:,} frames a second, exchangeInfo of 2 MB"
    over = sum(each > 2.0 for each in held)
    return [
        Row("hits' p99 under load", p99, Aim(5.0, at_most=True, unit=" ms"),
            f"p50 {p50:.2f} ms, worst {max(waits):.1f} ms of {len(waits):,}; {load}"),
        Row("longest hold of the loop under the same load", max(held), Aim(2.0, at_most=True, unit=" ms"),
            f"{over} of {len(held):,} over 2 ms"),
    ]  # fmt: skip


def main() -> None:
    for row in rows(""):
        print(row.line())


if __name__ == "__main__":
    main()
