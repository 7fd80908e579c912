"""Three replicas and one Redis: what they ask Binance for, and what sharing costs.

    python -m bench.replicas

Real processes: the simulated exchange, redis-server, three daemons. Prints the figures of docs/replicas.md.
"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx
import redis

from bench.processes import daemon, need, sim
from tests.world.servers import Server, running

_PATH = "/api/v3/klines"
_INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h")
_SYMBOLS = ("BTCUSDT", "SOLUSDT")
_HITS = 3_000
_WARM_UP = "symbol=ETHUSDT&interval=1d&limit=1&startTime=0&endTime=1"


def kline_calls(exchange: str) -> int:
    log = httpx.get(f"{exchange}/_sim/log?limit=100000", trust_env=False).json()
    return sum(entry["path"].lower().endswith("klines") for entry in log)


def seen(client: Any) -> tuple[int, int, int]:
    """Scripts run, and bytes in and out, so far."""
    stats, info = client.info("commandstats"), client.info("stats")
    scripts = stats.get("cmdstat_evalsha", {}).get("calls", 0)
    return scripts, info["total_net_input_bytes"], info["total_net_output_bytes"]


async def all_at_once(urls: Sequence[str], queries: Sequence[str]) -> list[httpx.Response]:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20.0, trust_env=False))
            for url in urls
        ]
        return await asyncio.gather(*(c.get(f"{_PATH}?{query}") for query in queries for c in clients))


def cold(exchange: str, urls: Sequence[str]) -> None:
    queries = [f"symbol={symbol}&interval={i}&limit=500" for symbol in _SYMBOLS for i in _INTERVALS]
    before, began = kline_calls(exchange), time.monotonic()
    answers = asyncio.run(all_at_once(urls, queries))
    assert {answer.status_code for answer in answers} == {200}
    took_ms = (time.monotonic() - began) * 1000
    print(f"20 cold series asked of three replicas at once: {kline_calls(exchange) - before} kline calls")
    print(f"  all 60 answers after {took_ms:.0f} ms")


def one_cold_answer(urls: Sequence[str], server: Server) -> None:
    """The first replica reads and gives, the second takes: one question each, and nothing else but heartbeats."""
    query = "symbol=BNBUSDT&interval=1m&limit=500"
    client = server.client()
    for who, url in (("read and given", urls[0]), ("taken from another replica", urls[1])):
        idle = _during(client, lambda: time.sleep(0.5))

        def ask(url: str = url) -> None:
            assert httpx.get(f"{url}{_PATH}?{query}", trust_env=False).status_code == 200
            time.sleep(0.5)

        trips, sent, received = (a - b for a, b in zip(_during(client, ask), idle, strict=True))
        print(
            f"a cold answer of 500 rows, {who}: {trips} scripts, {sent / 1000:.1f} kB in, {received / 1000:.1f} kB out"
        )


def _during(client: Any, work: Any) -> tuple[int, int, int]:
    before = seen(client)
    work()
    after = seen(client)
    return after[0] - before[0], after[1] - before[1], after[2] - before[2]


def memory(server: Server) -> None:
    client = server.client()
    for interval in ("1m", "1h"):
        for symbol in _SYMBOLS:
            keys = client.keys(f"*/{symbol}/*/{interval}/*")
            used = sum(client.memory_usage(key, samples=0) for key in keys)
            print(f"Redis memory of 500 rows of {symbol} {interval}: {used / 500:.1f} bytes a candle, {len(keys)} keys")


def hits(url: str, what: str) -> None:
    """A question whose answer is settled: always the same bytes from memory."""
    query = "symbol=BTCUSDT&interval=1h&startTime=1700000000000&endTime=1701000000000"
    with httpx.Client(base_url=url, trust_env=False) as client:
        times = []
        for _ in range(_HITS):
            began = time.perf_counter()
            client.get(f"{_PATH}?{query}")
            times.append(time.perf_counter() - began)
    times = times[100:]
    print(f"a hit, {what}: median {statistics.median(times) * 1e6:.0f} µs over HTTP, client included")


def taken_fast(urls: Sequence[str], server: Server) -> None:
    """How soon after the answer another replica can have it."""
    client: Any = server.client()
    delays = []
    for n in range(20):
        query = f"symbol=XRPUSDT&interval=1m&limit=500&endTime={1_760_000_000_000 + n * 90_000_000}"
        stamp = _stamp(client)
        httpx.get(f"{urls[0]}{_PATH}?{query}", trust_env=False)
        answered = time.monotonic()
        while _stamp(client) == stamp and time.monotonic() - answered < 1.0:
            time.sleep(0.0005)
        delays.append((time.monotonic() - answered) * 1000)
    print(f"rows are in Redis after the answer: median {statistics.median(delays):.1f} ms, worst {max(delays):.1f} ms")


def _stamp(client: redis.Redis) -> object:
    found: Any = client.keys("*/XRPUSDT/*}h")
    return [client.hgetall(key) for key in found]


def main() -> None:
    need("redis-server", "redis-server")
    with ExitStack() as stack:
        server = stack.enter_context(running())
        exchange = stack.enter_context(sim())
        settings: dict[str, Any] = {"redis_url": server.url, "replicas": "3"}
        urls = [stack.enter_context(daemon(exchange, **settings))[0] for _ in range(3)]
        alone = stack.enter_context(daemon(exchange))[0]
        for url in (*urls, alone):
            assert httpx.get(f"{url}{_PATH}?{_WARM_UP}", timeout=20.0, trust_env=False).status_code == 200
        cold(exchange, urls)
        one_cold_answer(urls, server)
        taken_fast(urls, server)
        memory(server)
        for _ in range(2):
            hits(alone, "without Redis")
            hits(urls[0], "with Redis   ")


if __name__ == "__main__":
    main()
