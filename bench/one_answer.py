"""One answer of many series against hits of Binance's form: the daemon's CPU for each, asked in turn.

    python -m bench.one_answer

One client over one kept connection reads every answer whole, and does nothing else with it. The ratios are medians over
the rounds: what disturbs the machine for a round disturbs all sides of it.
"""

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import httpx

from bench.hits import LOAD_CORE, SERVER_CORE
from bench.processes import cpu_s, daemon, sim
from bench.rows import median, median_ratio

SYMBOLS = (
    *("BTC", "ETH", "BNB", "LTC", "ADA", "XRP", "TRX", "LINK", "ATOM", "DOGE"),
    *("BCH", "SOL", "DOT", "UNI", "AVAX", "FIL", "NEAR", "AAVE", "SHIB", "APT"),
)
INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
LONGER = ("1h", "2h", "4h", "6h", "12h", "1d")  # no candle closes meanwhile, unless an hour ends
LIMIT, FEW = 500, 40
ROUNDS, ANSWERS = 15, 10
CODINGS = ("identity", "gzip")
ONE, AS_MANY, FEWER = "one answer", "120 hits of Binance's form", "40 hits"

Line = tuple[str, ...]


class _Client:
    """A kept connection; what comes is read into the same memory again and again."""

    def __init__(self, url: str) -> None:
        host, _, port = urlsplit(url).netloc.partition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = host
        self._into = memoryview(bytearray(1 << 20))

    def ask(self, path: str, coding: str) -> int:
        """Return how many bytes of body came, whose length is known."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept-Encoding: {coding}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._into[: self._socket.recv_into(self._into)]
        head, _, body = head.partition(b"\r\n\r\n")
        _, found, length = head.lower().partition(b"content-length:")
        if not head.startswith(b"HTTP/1.1 200") or not found:
            raise SystemExit(f"not an answer that is kept: {head.decode()}")
        size = int(length.split()[0])
        left = size - len(body)
        while left:
            left -= self._socket.recv_into(self._into, min(left, len(self._into)))
        return size


def lines(exchange: str) -> list[Line]:
    """Measure, and return the table's lines."""
    names = [f"{each}USDT" for each in SYMBOLS]
    one = f"/v1/candles?market=spot&symbols={','.join(names)}&intervals={','.join(LONGER)}&limit={LIMIT}"
    hits = [f"/api/v3/klines?symbol={name}&interval={each}&limit={LIMIT}" for name in names for each in LONGER]
    ways: dict[str, Sequence[str]] = {ONE: [one], AS_MANY: hits, FEWER: hits[:FEW]}
    settings = {"open_candle_ttl_s": "3600", "compress": "on", "log_level": "error", "streams": "off"}
    with daemon(exchange, core=SERVER_CORE, **settings) as (url, process):
        with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as first:
            for coding in CODINGS * 3:  # read from the exchange; then printed, compressed, and kept so
                for path in (*hits, one):
                    first.get(path, headers={"accept-encoding": coding}).raise_for_status()
        client = _Client(url)
        seen: dict[tuple[str, str], list[float]] = {(way, coding): [] for coding in CODINGS for way in ways}
        sizes = {}
        for _ in range(ROUNDS):
            for (way, coding), spent in seen.items():
                before = cpu_s(process)
                for _ in range(ANSWERS):
                    sizes[way, coding] = sum(client.ask(path, coding) for path in ways[way])
                spent.append(1000 * (cpu_s(process) - before) / ANSWERS)
    return [
        (
            way if coding == "identity" else f"{way}, {coding}",
            f"{sizes[way, coding] / 1e6:.1f} MB",
            f"{median(spent):.2f} ms",
            f"{median_ratio(list(zip(spent, seen[FEWER, coding], strict=True))):.2f}",
        )
        for (way, coding), spent in seen.items()
    ]


def main() -> None:
    with sim("--limit", "1000000000", core=LOAD_CORE) as exchange:
        for line in lines(exchange):
            print(*line, sep="  ")


if __name__ == "__main__":
    main()
