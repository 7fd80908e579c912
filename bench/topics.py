"""The daemon with 5,000 topics of the simulated exchange's streams: CPU, memory, and how old its answers are.

    python -m bench.topics [--topics 5000] [--seconds 30]

Symbols that are traded all the time are listed anew, so that a series has few rows. Where the simulated exchange can't
send a frame for each topic in two seconds on this machine, the frames a second say so, and ages grow with it.
"""

import argparse
import asyncio
import random
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.figures import spread
from mdcache.replay.processes import daemon, sim, stream_settings

_INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
_PAST_MS = 600_000
_TRADES_A_DAY = 400_000  # some five a second: a frame each two seconds
_AT_ONCE = 16
_SETTLED_S = 6.0
_FED = 0.95  # of the topics: at any moment a few pause
_TICKS = 100  # of CPU time a second: USER_HZ of Linux

Series = tuple[str, str]


@dataclass(frozen=True)
class Used:
    """What the daemon has used until now: CPU seconds, resident bytes, and frames with news."""

    cpu_s: float
    resident: int
    frames: int
    fed: int


async def list_symbols(exchange: str, number: int) -> list[str]:
    """List so many new symbols, and return their names."""
    names = [f"BENCH{place}USDT" for place in range(number)]
    listed_ms = int(time.time() * 1000) - _PAST_MS
    async with httpx.AsyncClient(base_url=exchange, timeout=60.0, trust_env=False) as client:
        for name in names:
            asked = {"market": "spot", "symbol": name, "listed_ms": listed_ms, "trades_per_day": _TRADES_A_DAY}
            (await client.post("/_sim/list", json=asked)).raise_for_status()
    return names


def process_use(pid: int) -> tuple[float, int]:
    """Return the CPU seconds and resident bytes of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(resident[1]) * 1024 if resident else 0


async def used(client: httpx.AsyncClient, pid: int) -> Used:
    streams = (await client.get("/v1/status")).raise_for_status().json()["streams"][0]
    return Used(*process_use(pid), streams["frames"]["news"], streams["topics"]["fed"])


async def age_ms(client: httpx.AsyncClient, series: Series) -> float:
    """Ask for a series' last candles; return the age of the answer."""
    query = {"symbol": series[0], "interval": series[1], "limit": "2"}
    reply = (await client.get("/api/v3/klines", params=query)).raise_for_status()
    return time.time() * 1000 - int(reply.headers["x-mdcache-as-of"])


async def measure(exchange: str, url: str, pid: int, topics: int, seconds: float) -> bool:
    """Print the figures; return whether nearly all topics were fed."""
    symbols = await list_symbols(exchange, -(-topics // len(_INTERVALS)))
    known = [(symbol, interval) for symbol in symbols for interval in _INTERVALS][:topics]
    limits = httpx.Limits(max_connections=_AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=60.0, trust_env=False, limits=limits) as client:
        free = asyncio.Semaphore(_AT_ONCE)

        async def ask(series: Series) -> None:
            async with free:
                await age_ms(client, series)

        for _ in range(2):  # a series is followed from the second question on
            await asyncio.gather(*map(ask, known))
        await asyncio.sleep(_SETTLED_S)
        ages, before, began_s = [], await used(client, pid), time.monotonic()
        while (took_s := time.monotonic() - began_s) < seconds:
            ages.append(await age_ms(client, random.choice(known)))
            await asyncio.sleep(0.05)
        after = await used(client, pid)
    print(
        f"{topics:,} topics, {after.fed:,} of them fed, {(after.frames - before.frames) / took_s:,.0f} frames a second"
    )
    print(f"  daemon  {(after.cpu_s - before.cpu_s) / took_s:.2f} of a core, {after.resident / 1e6:.0f} MB resident")
    print(f"  ages    {spread(ages, 'ms')} of {len(ages)} answers")
    return after.fed >= _FED * topics


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--topics", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    with (
        sim("--limit", "200000") as exchange,
        daemon(exchange, weight_share="1.0", **stream_settings(exchange)) as (url, process),
    ):
        fed = asyncio.run(measure(exchange, url, process.pid, options.topics, options.seconds))
    return 0 if fed else 1


if __name__ == "__main__":
    sys.exit(main())
