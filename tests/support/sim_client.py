"""What is known outside of the daemons: what the exchange holds true and was asked, and what was not asked yet."""

import itertools
import json
import time
from typing import Any

import httpx

from tests.support.daemon_process import DaemonProcess
from tests.support.waiting import allowed_s

KLINES = "/api/v3/klines"
INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "SOLUSDT")
_DAY_MS = 86_400_000
_OPEN_MS = 5  # before its as-of an answer's candle may still have moved


class SimClient:
    """The simulated exchange's own view: what is true, and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=20.0, trust_env=False)

    def truth(self, path: str, query: str, at_ms: int | None = None) -> bytes:
        """The body of an answer at that moment."""
        asked = {"path": path, "query": query} | ({} if at_ms is None else {"at_ms": str(at_ms)})
        reply = self._client.get("/_sim/truth", params=asked)
        assert reply.status_code == 200
        return reply.content

    def log(self) -> list[dict[str, Any]]:
        """All that it was asked, as it answered and charged it."""
        found: list[dict[str, Any]] = self._client.get("/_sim/log?limit=100000").json()
        return found

    def calls(self, path: str) -> int:
        """Requests for a path that began so."""
        return sum(entry["path"] == path for entry in self.log())

    def act(self, action: str, **body: object) -> None:
        """One of its levers."""
        assert self._client.post(f"/_sim/{action}", json=body).status_code == 200

    def spent(self, family: str) -> dict[int, int]:
        """Weight in each UTC minute, as it counted it."""
        found: dict[int, int] = {}
        for entry in self.log():
            if entry["family"] == family:
                minute = int(entry["at_ms"]) // 60_000
                found[minute] = found.get(minute, 0) + int(entry["weight"])
        return found

    def close(self) -> None:
        self._client.close()


class FreshQuestions:
    """Ask new questions about spot, and compare each answer with the exchange's own."""

    def __init__(self, exchange: SimClient) -> None:
        self._exchange = exchange
        self._unasked = iter(list(itertools.product(SYMBOLS, INTERVALS)))

    def cold(self) -> tuple[str, str]:
        """About the end of a series, and about settled rows of it."""
        symbol, interval = next(self._unasked)
        series, end = f"symbol={symbol}&interval={interval}", int(time.time() * 1000) - 400 * _DAY_MS
        return f"{series}&limit=500", f"{series}&startTime={end - 30 * _DAY_MS}&endTime={end}&limit=400"

    def ask(self, daemon: DaemonProcess, query: str, within_s: float, path: str = KLINES) -> bytes:
        """A right answer, in time."""
        began_s = time.monotonic()
        reply = daemon.get(f"{path}?{query}")
        took_s = time.monotonic() - began_s
        assert reply.status_code == 200, reply.text
        assert took_s < allowed_s(within_s), f"{took_s:.2f} s for {query}"
        self._right(reply.content, path, query, int(reply.headers["x-mdcache-as-of"]))
        return reply.content

    def _right(self, body: bytes, path: str, query: str, as_of_ms: int) -> None:
        """Byte for byte, but for a candle that was open: it moves within a millisecond."""
        truth = self._exchange.truth(path, query, as_of_ms)
        if body != truth:
            assert path == KLINES
            rows, told = json.loads(body), json.loads(truth)
            closed = as_of_ms - _OPEN_MS
            assert [row[0] for row in rows] == [row[0] for row in told]
            assert [row for row in rows if row[6] < closed] == [row for row in told if row[6] < closed]
            assert sum(row[6] >= closed for row in rows) <= 1
