"""Figures of the native API, written to `docs/native-api.md`: the incident, one answer, a million rows, waiters.

    python -m bench.native

The daemon is alone on one core; the simulated exchange and the consumers share the other.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import check_output
from urllib.parse import urlsplit

import httpx
import uvloop
from websockets.asyncio.client import connect

from bench import one_answer
from bench.hits import LOAD_CORE, SERVER_CORE
from bench.one_answer import INTERVALS, LIMIT, SYMBOLS
from bench.performance import machine
from bench.processes import Process, cpu_s, daemon, sim, watched_daemon
from mdcache.replay.processes import stream_settings
from tests.clients import upstream

PAGE = Path(__file__).parents[1] / "docs" / "native-api.md"
BEGIN, END = "<!-- figures: python -m bench.native -->", "<!-- end of figures -->"
CONSUMERS, EACH_S, ROUNDS = 3, 5.0, 6
MILLION, TABLE_SYMBOLS, PAGE_ROWS = 1_000_000, 10, 1_000
WAITERS = 1_000
_UNLIMITED = "1000000000"
_KLINES_WEIGHT = 2

Line = tuple[str, ...]


def incident(exchange: str) -> list[Line]:
    """Three consumers ask for the same 120 series of 500 candles each five seconds, in three forms."""
    names = [f"{each}USDT" for each in SYMBOLS]
    question = f"/v1/candles?market=spot&symbols={','.join(names)}&intervals={','.join(INTERVALS)}&limit={LIMIT}"
    single = [f"/api/v3/klines?symbol={name}&interval={each}&limit={LIMIT}" for name in names for each in INTERVALS]
    lines = []
    for form, paths in (
        ("Binance's form, 120 questions", single),
        ("native, one question with `since`", [question]),
        ("native, closed candles only", [f"{question}&closed=true"]),
    ):
        with daemon(exchange, core=SERVER_CORE, log_level="error") as (url, process):
            lines.append((form, *_ask_often(exchange, url, process, paths)))
    return lines


def _ask_often(exchange: str, url: str, process: Process, paths: Sequence[str]) -> Line:
    tokens = [""] * CONSUMERS
    with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client:

        def ask(consumer: int) -> int:
            received = 0
            for path in paths:
                since = f"&since={tokens[consumer]}" if tokens[consumer] else ""
                reply = client.get(path + since).raise_for_status()
                received += len(reply.content)
                if path.startswith("/v1/") and reply.content:
                    tokens[consumer] = reply.content[10 : reply.content.index(b'"', 10)].decode()
            return received

        for consumer in range(CONSUMERS):
            ask(consumer)
        time.sleep(EACH_S)
        began, reads, received, spent = time.monotonic(), len(upstream.log(exchange)), 0, cpu_s(process)
        for number in range(1, ROUNDS + 1):
            received += sum(ask(consumer) for consumer in range(CONSUMERS))
            time.sleep(max(0.0, began + number * EACH_S - time.monotonic()))
        spent = cpu_s(process) - spent
        klines = [read for read in upstream.log(exchange)[reads:] if read.path.endswith("klines")]
    minutes = ROUNDS * EACH_S / 60
    return (
        f"{received / minutes / 1e6:,.0f} MB",
        f"{spent / minutes:.2f} s",
        f"{_KLINES_WEIGHT * len(klines) / minutes:,.0f}",
        f"{CONSUMERS * len(paths) * 60 / EACH_S:,.0f}",
    )


# ------------------------------------------------------------------------------------- a million rows


def million(exchange: str) -> list[Line]:
    """A million rows that are in memory, as each form and each reader has them."""
    names = [f"{each}USDT" for each in SYMBOLS[:TABLE_SYMBOLS]]
    rows = MILLION // TABLE_SYMBOLS
    settings = {"request_deadline_s": "600", "memory_max_mb": "2000", "log_level": "error"}
    lines: list[tuple[float, float, Line]] = []
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "held"
        with watched_daemon(exchange, held, core=SERVER_CORE, **settings) as (url, process):
            at = httpx.get(f"{url}/api/v3/time", trust_env=False).json()["serverTime"]
            start = at // 60_000 * 60_000 - (rows + 2_000) * 60_000
            span = f"intervals=1m&start={start}&end={start + rows * 60_000 - 1}"
            table = f"{url}/v1/candles?market=spot&symbols={','.join(names)}&{span}&format="
            httpx.get(f"{table}csv", timeout=900.0, trust_env=False).raise_for_status()  # read from the exchange
            for what, reader, source in (
                ("JSON, thrown away", "discard", f"{table}json"),
                ("CSV, thrown away", "discard", f"{table}csv"),
                ("Arrow, thrown away", "discard", f"{table}arrow"),
                ("CSV into pandas", "pandas", f"{table}csv"),
                ("Arrow into Polars", "arrow", f"{table}arrow"),
                ("Binance's form into pandas, 1,000 pages", "pages", f"{url} {start} {','.join(names)}"),
            ):
                began = time.monotonic()
                figures = _read_once(process, reader, source)
                lines.append((began, time.monotonic(), (what, *figures)))
        holds = json.loads(held.read_text())
    longest = [max(ms for at_s, ms in holds if began <= at_s <= ended) for began, ended, _ in lines]
    return [(*line, f"{ms:.1f} ms") for (_, _, line), ms in zip(lines, longest, strict=True)]


def _read_once(process: Process, reader: str, source: str) -> Line:
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the peak begins anew
    before_mb, spent = _memory_mb(process, "VmRSS"), cpu_s(process)
    took_s, peak_mb, found = json.loads(check_output([sys.executable, "-m", "bench.native", "--read", reader, source]))
    if found != MILLION:
        sys.exit(f"{source}: {found} rows")
    return (
        f"{MILLION / took_s / 1e3:,.0f}",
        f"{cpu_s(process) - spent:.2f} s",
        f"{max(0.0, _memory_mb(process, 'VmHWM') - before_mb):.0f} MB",
        f"{peak_mb:.0f} MB",
    )


def _memory_mb(process: Process, name: str) -> float:
    return int(Path(f"/proc/{process.pid}/status").read_text().partition(f"{name}:")[2].split()[0]) / 1024


def read(reader: str, source: str) -> None:
    """Read a million rows, and print how long it took, the memory at its peak, and how many there were."""

    def discard() -> int:
        with httpx.stream("GET", source, timeout=600.0, trust_env=False) as reply:
            for _ in reply.iter_raw():
                pass
        return MILLION

    def pandas() -> int:
        import pandas as pd

        return len(pd.read_csv(source))

    def arrow() -> int:
        import polars as pl

        return pl.read_ipc_stream(httpx.get(source, timeout=600.0, trust_env=False).content).height

    def pages() -> int:
        import pandas as pd

        url, start, names = source.split()
        frames = []
        with httpx.Client(base_url=url, timeout=60.0, trust_env=False) as client:
            for name in names.split(","):
                for page in range(MILLION // TABLE_SYMBOLS // PAGE_ROWS):
                    at = int(start) + page * PAGE_ROWS * 60_000
                    query = f"symbol={name}&interval=1m&startTime={at}&limit={PAGE_ROWS}"
                    found = pd.DataFrame(client.get(f"/api/v3/klines?{query}").json())
                    frames.append(found.astype(dict.fromkeys((1, 2, 3, 4, 5, 7, 9, 10), "float64")))
        return len(pd.concat(frames, ignore_index=True))

    readers: dict[str, Callable[[], int]] = {"discard": discard, "pandas": pandas, "arrow": arrow, "pages": pages}
    began = time.perf_counter()
    found = readers[reader]()
    took_s = time.perf_counter() - began
    print(json.dumps([took_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found]))


# ------------------------------------------------------------------------------------- a thousand waiters


class _Waiter(asyncio.Protocol):
    """Asks once, and notes when the first bytes of the answer came."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self.answered_s: float | None = None
        self.status = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._head)  # type: ignore[attr-defined] # a TCP connection's is one that writes

    def data_received(self, data: bytes) -> None:
        if self.answered_s is None:
            self.answered_s, self.status = time.time(), data[9:12]


async def _final_s(exchange: str) -> float:
    """Return when the exchange's own listener got the next final frame of a minute."""
    url = f"ws://{urlsplit(exchange).netloc}/ws/btcusdt@kline_1m"
    async with connect(url, proxy=None) as connection:
        async for message in connection:
            if json.loads(message)["k"]["x"]:
                return time.time()
    sys.exit("the stream ended")


async def waiters(exchange: str) -> list[Line]:
    """A thousand clients wait for one close, with streams and without."""
    lines = []
    for what, settings in (("with streams", stream_settings(exchange)), ("without", {"streams": "off"})):
        most = str(WAITERS + 10)
        with daemon(exchange, core=SERVER_CORE, listeners_max=most, log_level="error", **settings) as (url, process):
            lines.append((what, *await _wait_once(exchange, url, process)))
    return lines


async def _wait_once(exchange: str, url: str, process: Process) -> Line:
    path = "/v1/candles?market=spot&symbols=BTCUSDT&intervals=1m&limit=100&closed=true"
    if time.time() % 60 > 40:
        await asyncio.sleep(61 - time.time() % 60)
    token = ""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for _ in range(3):  # so that streams have begun
            token = (await client.get(path)).raise_for_status().json()["token"]
            await asyncio.sleep(3.0)
    head = f"GET {path}&since={token}&wait=60 HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()
    loop, (host, _, port) = asyncio.get_running_loop(), urlsplit(url).netloc.partition(":")
    waiting = []
    for _ in range(WAITERS):
        _, waiter = await loop.create_connection(lambda: _Waiter(head), host, int(port))
        waiting.append(waiter)
    final = asyncio.create_task(_final_s(exchange))
    await asyncio.sleep(max(0.0, 57 - time.time() % 60))
    reads, spent = len(upstream.log(exchange)), cpu_s(process)
    closed_s = await final
    await asyncio.sleep(8.0)
    spent = cpu_s(process) - spent
    klines = [each for each in upstream.log(exchange)[reads:] if each.path.endswith("klines")]
    late_ms = sorted(1000 * (each.answered_s - closed_s) for each in waiting if each.answered_s is not None)
    if len(late_ms) < WAITERS or {each.status for each in waiting} != {b"200"}:
        sys.exit(f"{len(late_ms)} answered: { {each.status for each in waiting} }")
    p50, p99 = (f"{late_ms[int(len(late_ms) * part)]:.0f} ms" for part in (0.5, 0.99))
    return f"{len(klines)}", f"{spent:.2f} s", p50, p99, f"{late_ms[-1]:.0f} ms"


# ------------------------------------------------------------------------------------- the page


def _table(head: Line, lines: Sequence[Line]) -> list[str]:
    return ["", f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(line)} |" for line in lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--read", nargs=2)
    asked = parser.parse_args()
    if asked.read:
        read(*asked.read)
        return
    with sim("--limit", _UNLIMITED, core=LOAD_CORE) as exchange:
        head = f"Measured {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC: {machine()}."
        text = [
            head,
            *_table(("Three consumers, each 5 s", "sent a minute", "CPU", "weight", "questions"), incident(exchange)),
            *_table(("120 series, 500 rows each", "sent", "daemon's CPU", "of 40 hits"), one_answer.lines(exchange)),
            *_table(
                ("A million rows", "1,000 rows/s", "daemon's CPU", "daemon grew", "reader's peak", "loop held"),
                million(exchange),
            ),
            *_table(("1,000 wait", "reads", "daemon's CPU", "p50", "p99", "last"), uvloop.run(waiters(exchange))),
        ]
    print("\n".join(text))
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    PAGE.write_text(f"{before}{begin}\n\n" + "\n".join(text) + f"\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
