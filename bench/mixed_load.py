"""What a hit waits while the daemon is busy with everything else, and for how long its event loop is held at a time.

    python -m bench.mixed_load

20 pages of 1,000 rows a second that nobody asked for before, an `exchangeInfo` of 2 MB read anew every two seconds, and
2,500 frames a second from streams. A hit is asked for each two milliseconds, whether or not those before are answered.
"""

import http.client
import json
import multiprocessing
import os
import selectors
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from bench.busy_exchange import names
from bench.frames import FRAMES_A_SECOND, MINUTE
from bench.growth import now_ms
from bench.hits import LOAD_CORE, SERVER_CORE, bare_like
from bench.processes import busy_exchange, watched_daemon
from bench.rows import Aim, Row
from mdcache.replay.processes import stream_settings

LISTED = 1_680  # symbols, whose list takes 2 MB
TOPICS = 250  # of them
SECONDS = 15.0
PAGES_A_SECOND = 20
INFO_EVERY_S = 2.0
HIT_EVERY_S = 0.002
CONNECTIONS = 64
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


@contextmanager
def at_once() -> Iterator[None]:
    """Have this process run as soon as it can, where that is allowed: what it measures is not its own waiting."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def hit_waits_ms(url: str, seconds: float) -> list[float]:
    """Milliseconds that hits waited: one is asked for whenever it is due, however many still wait for their answers."""
    waits: list[float] = []
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        free = [stack.enter_context(Asked(url)) for _ in range(CONNECTIONS)]
        for each in free:
            selector.register(each.connection, selectors.EVENT_READ, each)
        stack.enter_context(at_once())
        due, starved = time.perf_counter(), False
        end = due + seconds
        while len(free) < CONNECTIONS or due < end:
            for key, _ in selector.select(max(0.0, due - time.perf_counter()) if due < end and free else None):
                if (wait_s := key.data.read()) is not None:
                    waits.append(wait_s * 1000)
                    free.append(key.data)
            while free and due <= min(time.perf_counter(), end):
                free.pop(0).ask(due if starved else time.perf_counter())  # to wake up late is this process's own fault
                due += HIT_EVERY_S
            starved = not free or (starved and due <= time.perf_counter())
    return waits


class Asked:
    """A connection over which one hit is asked for at a time."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._request = f"GET {address.path}?{address.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        self._received = bytearray()
        self._since_s = 0.0
        self.connection = socket.create_connection((address.hostname or "", address.port or 0))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(4):  # by then it is a hit
            self.ask()
            while self.read() is None:
                pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, since_s: float = 0.0) -> None:
        self._received.clear()
        self._since_s = since_s
        self.connection.sendall(self._request)

    def read(self) -> float | None:
        """Read on; return the seconds since it was asked once the answer is there."""
        self._received += self.connection.recv(262_144)
        if not self._received.startswith(b"HTTP/1.1 200"):
            raise AssertionError(bytes(self._received[:300]))
        if (end := self._received.find(b"\r\n\r\n")) < 0:
            return None
        length = int(self._received[:end].partition(b"content-length: ")[2].split()[0])
        return None if len(self._received) < end + 4 + length else time.perf_counter() - self._since_s


def frames_so_far(asking: Asking) -> int:
    """Frames with news that the daemon has taken."""
    streams = json.loads(asking.get("/v1/status"))["streams"]
    return sum(each["frames"]["news"] for each in streams)


@dataclass(frozen=True)
class Measured:
    """Waits of hits and of a bare server beside the daemon, and for how long its loop was held, all in milliseconds."""

    waits: list[float]
    bare: list[float]
    held: list[float]
    frames_a_second: float


def measure(folder: Path) -> Measured:
    """Ask under the load that this module's text names."""
    held = folder / "held"
    context = multiprocessing.get_context("spawn")
    os.sched_setaffinity(0, {LOAD_CORE})
    settings = {"weight_share": "1.0", "open_candle_ttl_s": "3600", "memory_max_mb": "2000", "stream_idle_s": "600"}
    path = f"{KLINES}{names(1)[0]}&limit=500&endTime={now_ms() - 86_400_000}"
    with busy_exchange(LISTED, core=LOAD_CORE) as upstream:
        with watched_daemon(upstream, held, core=SERVER_CORE, **settings, **stream_settings(upstream)) as (url, _):
            asking = Asking(url)
            for _ in range(2):  # a series is followed from the second question on
                for name in names(TOPICS):
                    asking.get(f"{KLINES}{name}&limit=2")
            time.sleep(5.0)
            frames, began_s = frames_so_far(asking), time.monotonic()
            loads = [context.Process(target=load, args=(url,), daemon=True) for load in (read_pages, read_symbols)]
            for load in loads:
                load.start()
            with bare_like(url, path, folder) as (bare_url, _):
                time.sleep(3.0)
                waits = hit_waits_ms(url + path, SECONDS)
                bare = hit_waits_ms(bare_url + path, SECONDS)
            ended_s = time.monotonic()
            for load in loads:
                load.terminate()
                load.join()
            a_second = (frames_so_far(Asking(url)) - frames) / (time.monotonic() - began_s)
        times = [ms for at_s, ms in json.loads(held.read_text()) if began_s < at_s < ended_s]
    return Measured(waits, bare, times, a_second)


def rows(_: str) -> list[Row]:
    """Measure the rows about waits."""
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    load = (
        f"{PAGES_A_SECOND} pages, {found.frames_a_second:,.0f} of {FRAMES_A_SECOND:,} frames a second, exchangeInfo of"
        " 2 MB"
    )
    over = sum(each > 2.0 for each in found.held)
    return [
        Row("hits' p99 under load", _p99(found.waits), Aim(5.0, at_most=True, unit=" ms"),
            f"{_spread(found.waits)}; {load}"),
        Row("the same of a bare server beside the daemon, on the same core: ms", _p99(found.bare), None,
            _spread(found.bare)),
        Row("longest hold of the loop under the same load", max(found.held), Aim(2.0, at_most=True, unit=" ms"),
            f"{over} of {len(found.held):,} over 2 ms"),
    ]  # fmt: skip


def _p99(waits: Sequence[float]) -> float:
    return statistics.quantiles(waits, n=100)[98]


def _spread(waits: Sequence[float]) -> str:
    return f"p50 {statistics.median(waits):.2f} ms, worst {max(waits):.1f} ms of {len(waits):,}"


def main() -> None:
    for row in rows(""):
        print(row.line())


if __name__ == "__main__":
    main()
