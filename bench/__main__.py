"""Everything that is measured in minutes: `make bench`.

    python -m bench

First what `docs/performance.md` shows (`bench/performance.py`), which is written. Then a cold answer against the same
call made directly, resident bytes a candle, the longest the loop was held while pages are read, and what the frames of
streams cost (`bench/frames.py`).
"""

import re
import statistics
import time
from pathlib import Path

import httpx

from bench import frame_sockets, frames, performance
from bench.hits import LOAD_CORE, SERVER_CORE
from bench.loop import longest_step_ms
from bench.processes import daemon, sim

INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h")


def memory(upstream: str) -> None:
    """Resident bytes a candle at 120 series of 1,000 rows."""
    with daemon(upstream, weight_share="1.0") as (url, process):

        def resident() -> int:
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]

        symbols = [s["symbol"] for s in httpx.get(f"{upstream}/api/v3/exchangeInfo", trust_env=False).json()["symbols"]
                   if s["status"] == "TRADING" and s["symbol"].isascii()][:21]  # fmt: skip
        with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
            for interval in INTERVALS:  # warm what is not candles: code paths, pools, the symbol list
                client.get("/api/v3/klines", params={"symbol": symbols[20], "interval": interval, "limit": 1000})
            before = resident()
            rows = 0
            for symbol in symbols[:20]:
                for interval in INTERVALS:
                    query = {"symbol": symbol, "interval": interval, "limit": 1000}
                    rows += client.get("/api/v3/klines", params=query).raise_for_status().text.count("],[") + 1
            grown = resident() - before
    print(
        f"memory             {rows} candles in {grown / 1e6:.1f} MB resident: {grown / rows:.0f} bytes each (aim 220)"
    )


def cold(upstream: str) -> None:
    """A first answer of 500 rows with the exchange 100 ms away, against the same call made directly."""
    httpx.post(f"{upstream}/_sim/latency", json={"before_s": 0.05, "after_s": 0.05}, trust_env=False).raise_for_status()
    symbols = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"]
    pairs = []
    with daemon(upstream, core=SERVER_CORE) as (url, _), httpx.Client(timeout=10.0, trust_env=False) as client:
        client.get(f"{url}/api/v3/klines?symbol=ADAUSDT&interval=1m&limit=1").raise_for_status()
        for symbol in symbols:
            for interval in ("1m", "15m", "4h"):
                path = f"/api/v3/klines?symbol={symbol}&interval={interval}&limit=500"
                client.get(upstream + path.replace("limit=500", "limit=1000"))  # the simulator's own first computation
                took = []
                for base in (url, upstream):
                    began = time.perf_counter()
                    client.get(base + path).raise_for_status()
                    took.append(time.perf_counter() - began)
                pairs.append((took[0], took[1]))
    httpx.post(f"{upstream}/_sim/latency", json={"before_s": 0, "after_s": 0}, trust_env=False)
    ratio = statistics.median(a / b for a, b in pairs)
    mine, direct = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
    print(f"cold, 500 candles  mdcache {mine:>7.1f} ms   direct {direct:>7.1f} ms   ratio {ratio:.2f} (aim 1.2)")


def loop_held() -> None:
    """The longest single step of the loop while 20 pages a second are checked and merged."""
    median, worst = longest_step_ms()
    print(f"loop held by page  median {median:.2f} ms   worst {worst:.2f} ms of 200 pages of 1,000 rows (aim 5)")


def main() -> None:
    performance.main()
    with sim(core=LOAD_CORE) as upstream:
        cold(upstream)
        memory(upstream)
    loop_held()
    frames.report()
    frame_sockets.report()


if __name__ == "__main__":
    main()
