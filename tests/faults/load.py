"""Clients of a daemon that ask all kinds of questions, and what they were told."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, cycle

import httpx

from tests.faults.bench import FaultBench
from tests.support.waiting import eventually

HOUR_MS = 3_600_000
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_PAUSE_S = 0.25
_PATIENCE_S = 15.0  # of a client
_STARTS = count(1)  # no two cold questions are the same
_SLOW_S = 1.0
_CLIENTS = 6
TAILS = (
    ("/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=5"),
    ("/fapi/v1/klines", "symbol=ETHUSDT&interval=1m&limit=5"),
    ("/dapi/v1/klines", "symbol=BTCUSD_PERP&interval=1m&limit=5"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """One answer; status 0: none came, and `text` says why. `sent_s` is the exchange's time."""

    path: str
    query: str
    sent_s: float
    took_s: float
    status: int
    text: bytes
    as_of_ms: int = 0
    marked: bool = False

    @property
    def of_tail(self) -> bool:
        return "startTime" not in self.query

    def newest_close_ms(self) -> int:
        """When its last candle closes."""
        return int(json.loads(self.text)[-1][6])


def connected(bench: FaultBench, patience_s: float) -> httpx.Client:
    """Return a client of its daemon, which reads no file of certificates: that costs more than all it asks."""
    return httpx.Client(base_url=bench.daemon.url, timeout=patience_s, trust_env=False, verify=_NO_TLS)


def ask(bench: FaultBench, client: httpx.Client, path: str, query: str) -> Told:
    """Ask once."""
    sent_s, began_s = bench.exchange_s(), time.monotonic()
    try:
        reply = client.get(f"{path}?{query}")
    except httpx.TransportError as error:
        return Told(path, query, sent_s, time.monotonic() - began_s, 0, repr(error).encode())
    as_of, status = reply.headers.get("x-mdcache-as-of", "0"), reply.headers.get("cache-status", "")
    took_s = time.monotonic() - began_s
    return Told(path, query, sent_s, took_s, reply.status_code, reply.content, int(as_of), "detail=stale" in status)


Questions = Iterator[tuple[str, str]]


class Clients:
    """Six, each with a connection of its own, that ask from `start` to `stop`; `told`: all that they were.

    Of two daemons that share, each has three, and one more that floods its futures: `flooded`, what it was told.
    """

    def __init__(self, bench: FaultBench, patience_s: float) -> None:
        self.told: list[Told] = []
        self.flooded: list[Told] = []
        self._bench = bench
        self._patience_s = _PATIENCE_S + patience_s
        self._ends = threading.Event()
        self._answered: set[threading.Thread] = set()
        now_ms = int(bench.exchange_s()) * 1000
        settled = ("/api/v3/klines", f"symbol=BTCUSDT&interval=1h&startTime={now_ms - 900 * HOUR_MS}&limit=100")
        known = cycle((settled,))
        asked: list[tuple[FaultBench, Questions, float, list[Told]]] = []
        if bench.others:
            for each in bench.all:
                asked += [(each, cycle((TAILS[0],)), _PAUSE_S, self.told), (each, known, _SLOW_S, self.told)]
                asked += [(each, _cold(now_ms), _SLOW_S, self.told), (each, _flood(now_ms), _SLOW_S, self.flooded)]
        else:
            for questions in (*(cycle((each,)) for each in TAILS), known, _cold(now_ms), _cold(now_ms)):
                asked.append((bench, questions, _PAUSE_S, self.told))
        self._threads = [threading.Thread(target=self._poll, args=each, daemon=True) for each in asked]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _poll(self, bench: FaultBench, questions: Questions, pause_s: float, told: list[Told]) -> None:
        with connected(bench, self._patience_s) as client:
            for path, query in questions:
                told.append(ask(bench, client, path, query))
                if told[-1].status == 200:
                    self._answered.add(threading.current_thread())
                if self._ends.wait(pause_s):
                    return

    def wait_until_answered(self) -> None:
        """Wait until each had an answer; a flood need not."""
        eventually(lambda: len(self._answered) >= _CLIENTS)

    def stop(self) -> None:
        """Once they have what they wait for."""
        self._ends.set()
        for thread in self._threads:
            thread.join(2 * self._patience_s)


def _cold(now_ms: int) -> Questions:
    while True:
        start = now_ms - (1_000 + 7 * next(_STARTS)) * HOUR_MS
        yield "/api/v3/klines", f"symbol=ETHUSDT&interval=15m&startTime={start}&limit=20"


def _flood(now_ms: int) -> Questions:
    """Of 20 weight each: twice the share."""
    while True:
        start = now_ms - HOUR_MS - next(_STARTS) * 1_000
        yield "/fapi/v1/aggTrades", f"symbol=BTCUSDT&startTime={start}&endTime={start + 200}"
