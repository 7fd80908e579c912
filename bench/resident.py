"""Resident memory: bytes a candle, hot and idle, and how far a scan takes the daemon past its bound.

    python -m bench.resident

Blocks are idle after ten minutes; here at a signal, and are then compressed by the same code.
"""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from bench.hits import LOAD_CORE
from bench.mixed_load import Asking
from bench.processes import free_port, running, sim
from bench.reads import FIRST_MS, PAGE_MS, Measured
from bench.rows import Aim, Row

READERS = 8
SIZES = ((300, 1_000), (5_000, 500))
SCANNED_ROWS, BOUND_MB = 5_000_000, 20
INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h")
HOT, IDLE, GROWTH = Aim(195, at_most=True), Aim(80, at_most=True), Aim(40, at_most=True, unit=" MB")
COMMAND = """
import signal
from mdcache.cache import idle_blocks
idle_blocks._LOOK_EACH_S, idle_blocks._PAUSE_S = 1.0, 0.0
signal.signal(signal.SIGUSR1, lambda *_: setattr(idle_blocks, "_IDLE_S", 0.0))
from mdcache.cli.app import main
main()
"""


@contextmanager
def daemon(upstream: str, **settings: str) -> Iterator[tuple[str, int]]:
    """A daemon whose blocks are idle from SIGUSR1 on; yields URL and process id."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {f"MDCACHE_{name}_URL": upstream for name in ("SPOT", "USDM", "COINM")}
    env |= {"MDCACHE_PORT": str(port), "MDCACHE_EGRESS": "bench", "MDCACHE_LOG_LEVEL": "error"}
    env |= {"MDCACHE_WEIGHT_SHARE": "1.0", "MDCACHE_UPSTREAM_TIMEOUT_S": "60", "MDCACHE_REQUEST_DEADLINE_S": "60"}
    env |= {f"MDCACHE_{name.upper()}": value for name, value in settings.items()}
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-c", COMMAND, "serve"]
        with running(command, f"{url}/healthz", env | {"MDCACHE_STATE_DIR": folder}) as process:
            yield url, process.pid


def resident(pid: int) -> int:
    """The process's resident bytes."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise AssertionError(f"no process {pid}")
    return int(found[1]) * 1024


def read_all(url: str, paths: Sequence[str]) -> None:
    """Ask for all of these, eight at a time."""

    def some(n: int) -> None:
        asking = Asking(url)
        for path in islice(paths, n, None, READERS):
            asking.get(path)

    with ThreadPoolExecutor(READERS) as readers:
        list(readers.map(some, range(READERS)))


def candle_rows(upstream: str, series: int, rows: int) -> list[Row]:
    """Bytes a candle once `series` have been read, and once they are idle."""
    listed = httpx.get(f"{upstream}/api/v3/exchangeInfo", trust_env=False).json()["symbols"]
    names = [each["symbol"] for each in listed if each["status"] == "TRADING" and each["symbol"].isascii()]
    paths = [
        f"/api/v3/klines?symbol={name}&interval={interval}&limit={rows}&timeZone={zone}"
        for zone in range(-12, 15)
        for name in names
        for interval in INTERVALS
    ]
    found = []
    with daemon(upstream, memory_max_mb="4096") as (url, pid):
        read_all(url, paths[-READERS:])  # code paths, pools, the symbol list
        before = resident(pid)
        read_all(url, paths[:series])
        for state, aim in (("hot", HOT), ("after ten idle minutes", IDLE)):
            Measured(url, pid).settle()
            grown = resident(pid) - before
            status = httpx.get(f"{url}/v1/status", trust_env=False, timeout=30.0).json()
            count, held = status["series"]["rows"], status["stores"]["memory"]["bytes"]
            what = f"Resident bytes a candle, {series:,} series of {rows:,}, {state}"
            found.append(Row(what, grown / count, aim, f"{held / count:.0f} accounted for; {count:,} candles"))
            os.kill(pid, signal.SIGUSR1)
            time.sleep(3.0)
    return found


def scan_row(upstream: str, rows: int = SCANNED_ROWS) -> Row:
    """Growth of a daemon that may hold 20 MB while it reads many more."""
    paths = [
        f"/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000&startTime={FIRST_MS - page * PAGE_MS}"
        for page in range(rows // 1_000)
    ]
    with daemon(upstream, memory_max_mb=str(BOUND_MB)) as (url, pid):
        read_all(url, paths[:READERS])
        before, most = resident(pid), 0
        for at in range(READERS, len(paths), 100):
            read_all(url, paths[at : at + 100])
            most = max(most, resident(pid))
    what = f"Growth of the process under `MEMORY_MAX_MB={BOUND_MB}` and a scan of {rows:,} rows"
    return Row(what, (most - before) / 1e6, GROWTH, f"from {before / 1e6:.0f} MB to {most / 1e6:.0f}")


def rows(upstream: str) -> list[Row]:
    """All of them."""
    return [*(row for size in SIZES for row in candle_rows(upstream, *size)), scan_row(upstream)]


def main() -> None:
    with sim("--limit", "1000000000", core=LOAD_CORE) as upstream:
        for row in rows(upstream):
            print(row.line(), flush=True)


if __name__ == "__main__":
    main()
