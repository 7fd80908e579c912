"""The incident in short: 20 symbols x 6 timeframes x 3 consumers, 500 candles every 5 s, with and without mdcache.

    python -m bench.incident [--seconds 60] [--share 0.8]

Direct consumers spend weight 8,640 a minute of Binance's 6,000 and are banned; the table shows what came of it.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.processes import daemon, sim

INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
SYMBOLS = 20
CONSUMERS = 3
EVERY_S = 5.0
WEIGHT = 2  # of one spot kline call


@dataclass
class Tally:
    asked: int = 0
    failed: int = 0
    marked: int = 0
    worst_age_s: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def take(self, response: httpx.Response, took_s: float) -> None:
        self.asked += 1
        self.seconds.append(took_s)
        if response.status_code != 200:
            self.failed += 1
            return
        self.marked += "detail=stale" in response.headers.get("cache-status", "")
        as_of = response.headers.get("x-mdcache-as-of")
        if as_of is not None:
            self.worst_age_s = max(self.worst_age_s, time.time() - int(as_of) / 1000 - took_s)


async def consumer(url: str, symbols: list[str], offset_s: float, seconds: float, tally: Tally) -> None:
    """One program: all its questions, spread evenly over each five seconds."""
    questions = [(symbol, interval) for symbol in symbols for interval in INTERVALS]
    start = time.monotonic() + offset_s
    limits = httpx.Limits(max_connections=32)
    async with (
        httpx.AsyncClient(base_url=url, timeout=15.0, trust_env=False, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):

        async def ask(symbol: str, interval: str) -> None:
            began = time.monotonic()
            query = {"symbol": symbol, "interval": interval, "limit": "500"}
            tally.take(await client.get("/api/v3/klines", params=query), time.monotonic() - began)

        for turn in range(int(seconds / EVERY_S)):
            for place, (symbol, interval) in enumerate(questions):
                await asyncio.sleep(start + (turn + place / len(questions)) * EVERY_S - time.monotonic())
                group.create_task(ask(symbol, interval))


async def crowd(url: str, symbols: list[str], seconds: float) -> Tally:
    tally = Tally()
    spread = EVERY_S / CONSUMERS
    await asyncio.gather(*(consumer(url, symbols, n * spread, seconds, tally) for n in range(CONSUMERS)))
    return tally


def upstream_facts(upstream: str, since_ms: int) -> dict[str, Any]:
    log = [e for e in httpx.get(f"{upstream}/_sim/log?limit=100000", trust_env=False).json() if e["at_ms"] >= since_ms]
    return {
        "calls": len(log),
        "weight": sum(e["weight"] for e in log if e["status"] == 200),
        "refused": sum(1 for e in log if e["status"] in (403, 418, 429)),
    }


def run(url: str, upstream: str, seconds: float) -> tuple[Tally, dict[str, Any]]:
    info = httpx.get(f"{upstream}/api/v3/exchangeInfo", trust_env=False).json()
    symbols = [s["symbol"] for s in info["symbols"] if s["status"] == "TRADING" and s["symbol"].isascii()][:SYMBOLS]
    time.sleep(60 - time.time() % 60)  # limits count whole UTC minutes: begin with one
    since_ms = int(time.time() * 1000)
    tally = asyncio.run(crowd(url, symbols, seconds))
    return tally, upstream_facts(upstream, since_ms)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--share", default="0.8")
    options = parser.parse_args()
    results = {}
    with sim() as upstream:
        results["direct"] = run(upstream, upstream, options.seconds)
    with sim() as upstream, daemon(upstream, weight_share=options.share) as (url, _):
        results["mdcache"] = run(url, upstream, options.seconds)
    minutes = options.seconds / 60
    print(f"{'':<9} {'questions':>9} {'failed':>7} {'weight/min':>10} {'calls':>6} {'refused':>8} "
          f"{'marked':>7} {'worst age':>9} {'p99 ms':>7}")  # fmt: skip
    for name, (tally, facts) in results.items():
        p99 = sorted(tally.seconds)[int(len(tally.seconds) * 0.99)] * 1000
        age = f"{tally.worst_age_s:.1f} s" if name == "mdcache" else "-"
        weight = facts["weight"] / minutes
        print(f"{name:<9} {tally.asked:>9} {tally.failed:>7} {weight:>10.0f} {facts['calls']:>6} "
              f"{facts['refused']:>8} {tally.marked:>7} {age:>9} {p99:>7.1f}")  # fmt: skip
    tally, facts = results["mdcache"]
    wanted = tally.asked * WEIGHT
    ratio = wanted / facts["weight"]
    print(f"asked directly these questions weigh {wanted / minutes:.0f} a minute: {ratio:.2f} times more")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
