"""What a read of the exchange costs the daemon, against a bare client that asks the exchange the same.

    python -m bench.reads

The bare client is httpx with msgspec's decoder, on the same event loop as the daemon's. Both ask the same questions in
turn. CPU is that of all of the daemon's threads, the disk's included, until all is written.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice

import httpx
import msgspec
import uvloop

from bench.hits import LOAD_CORE, SERVER_CORE
from bench.mixed_load import Asking
from bench.processes import daemon, sim
from bench.rows import Aim, Row, median, median_ratio

ROUNDS, REFRESHES, PAGES, COLD = 15, 20, 10, 150
MINUTE_MS = 60_000
PAGE_MS = 1_000 * MINUTE_MS
FIRST_MS = 1_650_000_000_000
SETTINGS = {"weight_share": "1.0", "log_level": "error"}
KLINES = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit="
AWAY_S = 0.1
COLD_INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h")
_QUIET_S = 0.4  # longer than a change waits to be saved
_QUIET_CPU_S = 0.0015  # an idle daemon takes a third of it in that time


class BareClient:
    """A bare httpx client with msgspec's decoder, on a loop of its own."""

    def __init__(self, base_url: str) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._client = httpx.AsyncClient(base_url=base_url, timeout=30.0, trust_env=False)
        self._decoder = msgspec.json.Decoder()

    def cpu_s(self, paths: Iterable[str]) -> float:
        """CPU seconds of this process to get and decode these, one after another."""
        return self._runner.run(self._get(paths))

    async def _get(self, paths: Iterable[str]) -> float:
        began = time.process_time()
        for path in paths:
            reply = await self._client.get(path)
            self._decoder.decode(reply.content)
        return time.process_time() - began


class Measured:
    """A daemon, asked over one connection, and its CPU."""

    def __init__(self, url: str, pid: int) -> None:
        self._asking = Asking(url)
        self._cpu_clock = (~pid << 3) | 2  # what clock_getcpuclockid(3) returns for another process

    def cpu_s(self, paths: Iterable[str], **headers: str) -> float:
        """CPU seconds to answer these, until all is on the disk."""
        began = self._cpu_now()
        for path in paths:
            self._asking.get(path, **headers)
        self.settle()
        return self._cpu_now() - began

    def settle(self) -> None:
        """Wait until it does nothing more."""
        before = -1.0
        while (now := self._cpu_now()) - before > _QUIET_CPU_S:
            before = now
            time.sleep(_QUIET_S)

    def _cpu_now(self) -> float:
        return time.clock_gettime(self._cpu_clock)


@contextmanager
def measured(upstream: str, **settings: str) -> Iterator[Measured]:
    with daemon(upstream, core=SERVER_CORE, **(SETTINGS | settings)) as (url, process):
        yield Measured(url, process.pid)


def ratio(what: str, aim: Aim | None, ours: Callable[[int], float], bare: Callable[[int], float], times: int) -> Row:
    """The median ratio of `ROUNDS` rounds, each of `times` questions to either side."""
    pairs = [(ours(n) / times, bare(n) / times) for n in range(ROUNDS)]
    mine, other = (1000 * median(column) for column in zip(*pairs, strict=True))
    return Row(what, median_ratio(pairs), aim, f"{mine:.2f} ms of CPU against {other:.2f}")


def refresh_rows(upstream: str) -> list[Row]:
    """A question for 500 rows whose tail is refreshed, for which the daemon reads a hundred."""
    bare, asking = BareClient(upstream), [f"{KLINES}500"] * REFRESHES
    overlap = [f"{KLINES}100"] * REFRESHES
    with measured(upstream) as daemon_:

        def ours(_: int) -> float:
            return daemon_.cpu_s(asking, **{"Cache-Control": "no-cache"})

        ours(0)
        bare.cpu_s(asking)
        return [
            ratio(
                "CPU of a tail refresh of 500 candles, against a bare GET and decode of the answer",
                Aim(1.3, at_most=True),
                ours,
                lambda _: bare.cpu_s(asking),
                REFRESHES,
            ),
            ratio(
                "The same against a bare GET of the 100 candles that the daemon reads",
                None,
                ours,
                lambda _: bare.cpu_s(overlap),
                REFRESHES,
            ),
        ]


def pages(n: int) -> list[str]:
    """The pages of round `n`, which no other round asks for."""
    starts = [FIRST_MS + (n * PAGES + page) * PAGE_MS for page in range(PAGES)]
    return [f"{KLINES}1000&startTime={start}" for start in starts]


def cold_pages_cpu_s(side: "BareClient | Measured", n: int) -> float:
    """CPU seconds of round `n`."""
    return side.cpu_s(pages(n))


def page_rows(upstream: str) -> list[Row]:
    """Pages of 1,000 rows that nobody asked for before."""
    bare, found = BareClient(upstream), []
    for where, settings in (("memory and disk", {}), ("memory alone", {"disk_max_mb": "0"})):
        with measured(upstream, **settings) as daemon_:
            daemon_.cpu_s(pages(ROUNDS))
            bare.cpu_s(pages(ROUNDS))
            found.append(
                ratio(
                    f"CPU of a cold page of 1,000 candles ({where}), against the bare client",
                    Aim(2.5, at_most=True),
                    partial(cold_pages_cpu_s, daemon_),
                    partial(cold_pages_cpu_s, bare),
                    PAGES,
                )
            )
    return found


def cold_rows(upstream: str) -> list[Row]:
    """A first answer of 500 rows with the exchange 100 ms away, against the same call made directly."""
    listed = httpx.get(f"{upstream}/api/v3/exchangeInfo", trust_env=False).json()["symbols"]
    names = [each["symbol"] for each in listed if each["status"] == "TRADING" and each["symbol"].isascii()]
    asked = ((name, interval) for interval in COLD_INTERVALS for name in names)
    paths = [f"/api/v3/klines?symbol={name}&interval={each}&limit=500" for name, each in islice(asked, COLD)]
    direct = Asking(upstream)
    for path in paths:  # the first computation of the simulator, of all that the daemon reads
        direct.get(path.replace("limit=500", "limit=1000"))
    latency = f"{upstream}/_sim/latency"
    httpx.post(latency, json={"before_s": AWAY_S / 2, "after_s": AWAY_S / 2}, trust_env=False).raise_for_status()
    try:
        with daemon(upstream, core=SERVER_CORE, **SETTINGS) as (url, _):
            ours = Asking(url)
            ours.get(f"{KLINES}1")
            pairs = [(_seconds(ours, path), _seconds(direct, path)) for path in paths]
    finally:
        httpx.post(latency, json={"before_s": 0, "after_s": 0}, trust_env=False)
    mine, other = zip(*pairs, strict=True)
    rows = []
    for name, aim, quantile in (("p50", 1.08, statistics.median), ("p99", 1.15, _p99)):
        figures = f"{1000 * quantile(mine):.1f} ms against {1000 * quantile(other):.1f}"
        what = f"A cold answer of 500 candles, the exchange 100 ms away, against direct, {name}"
        rows.append(Row(what, quantile(mine) / quantile(other), Aim(aim, at_most=True), figures))
    return rows


def _seconds(asking: Asking, path: str) -> float:
    began = time.perf_counter()
    asking.get(path)
    return time.perf_counter() - began


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def rows(upstream: str) -> list[Row]:
    """All of them."""
    return [*refresh_rows(upstream), *page_rows(upstream), *cold_rows(upstream)]


def main() -> None:
    with sim("--limit", "1000000000", core=LOAD_CORE) as upstream:
        for row in rows(upstream):
            print(row.line(), flush=True)


if __name__ == "__main__":
    main()
