"""Three replicas and one Redis: what they ask Binance for, and what sharing costs.

    python -m bench.replicas

Real processes: the simulated exchange, redis-server, three daemons. Prints the figures of docs/replicas.md.
"""

import asyncio
import re
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import Any

import httpx
import redis

from bench.processes import daemon, sim
from tests.support.programs import find
from tests.support.redis_servers import RedisServer, running_redis

_PATH = "/api/v3/klines"
_TICKERS = "/api/v3/ticker/24hr"
_INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h")
_SYMBOLS = ("BTCUSDT", "SOLUSDT")
_HITS = 3_000
_COLD = 9  # questions
_WARM_UP = "symbol=ETHUSDT&interval=1d&limit=1&startTime=0&endTime=1"


def calls(exchange: str, ending: str = "klines") -> int:
    log = httpx.get(f"{exchange}/_sim/log?limit=100000", trust_env=False).json()
    return sum(entry["path"].lower().endswith(ending) for entry in log)


async def all_at_once(urls: Sequence[str], queries: Sequence[str]) -> list[httpx.Response]:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20.0, trust_env=False))
            for url in urls
        ]
        return await asyncio.gather(*(c.get(f"{_PATH}?{query}") for query in queries for c in clients))


def cold(exchange: str, urls: Sequence[str]) -> None:
    queries = [f"symbol={symbol}&interval={i}&limit=500" for symbol in _SYMBOLS for i in _INTERVALS]
    before, began = calls(exchange), time.monotonic()
    answers = asyncio.run(all_at_once(urls, queries))
    assert {answer.status_code for answer in answers} == {200}
    took_ms = (time.monotonic() - began) * 1000
    print(f"20 cold series asked of three replicas at once: {calls(exchange) - before} kline calls")
    print(f"  all 60 answers after {took_ms:.0f} ms")


def snapshots(exchange: str, urls: Sequence[str], server: RedisServer) -> None:
    """The symbols were read when the replicas began; a list of tickers is asked of all three."""
    print(f"exchangeInfo read for three replicas: {calls(exchange, 'exchangeinfo')} calls")
    answers = []
    for url in urls:
        answers.append(httpx.get(f"{url}{_TICKERS}", trust_env=False))
        time.sleep(0.2)
    assert {answer.status_code for answer in answers} == {200}
    print(f"ticker/24hr asked of three: {calls(exchange, _TICKERS)} calls, {len(answers[0].content) / 1000:.0f} kB")
    client: Any = server.client()
    for key in client.keys("*}c"):
        print(f"  a copy in Redis: {client.strlen(key) / 1000:.1f} kB")


def one_cold_answer(urls: Sequence[str], server: RedisServer) -> None:
    """The first replica reads and gives, the second takes; medians, less what the ledgers send meanwhile."""
    client = server.client()
    found: dict[str, list[tuple[float, ...]]] = {"read and given": [], "taken from another replica": []}
    for n in range(_COLD):
        query = f"symbol=BNBUSDT&interval=1m&limit=500&endTime={1_760_000_000_000 + n * 90_000_000}"
        for (_, samples), url in zip(found.items(), urls, strict=False):
            idle = _during(client, url, lambda: time.sleep(0.4))
            busy = _during(client, url, partial(_ask, url, query))
            samples.append(tuple(a - b for a, b in zip(busy, idle, strict=True)))
    for who, samples in found.items():
        trips, sent, received = (statistics.median(each) for each in zip(*samples, strict=True))
        kilobytes = f"{sent / 1000:.1f} kB in, {received / 1000:.1f} kB out"
        print(f"a cold answer of 500 rows, {who}: {trips:.0f} round trips, {kilobytes}")


def _ask(url: str, query: str) -> None:
    assert httpx.get(f"{url}{_PATH}?{query}", trust_env=False).status_code == 200
    time.sleep(0.4)


def _during(client: Any, url: str, work: Callable[[], None]) -> tuple[int, int, int]:
    """Round trips of this replica for rows, and all bytes that Redis was sent and sent."""
    before = _trips(url), *_bytes(client)
    work()
    after = _trips(url), *_bytes(client)
    return after[0] - before[0], after[1] - before[1], after[2] - before[2]


def _trips(url: str) -> int:
    page = httpx.get(f"{url}/metrics", trust_env=False).text
    found = re.findall(r'mdcache_tier_seconds_count\{op="(?:pull|push|renew|release)",tier="redis"\} (\S+)', page)
    return sum(int(float(count)) for count in found)


def _bytes(client: Any) -> tuple[int, int]:
    info = client.info("stats")
    return info["total_net_input_bytes"], info["total_net_output_bytes"]


def memory(server: RedisServer) -> None:
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


def taken_fast(urls: Sequence[str], server: RedisServer) -> None:
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


def _warm_up(url: str) -> None:
    assert httpx.get(f"{url}{_PATH}?{_WARM_UP}", timeout=20.0, trust_env=False).status_code == 200


def main() -> None:
    find("redis-server")
    with ExitStack() as stack:
        server = stack.enter_context(running_redis())
        exchange = stack.enter_context(sim())
        settings: dict[str, Any] = {"redis_url": server.url, "replicas": "3"}
        urls = [stack.enter_context(daemon(exchange, **settings))[0] for _ in range(3)]
        for url in urls:
            _warm_up(url)
        snapshots(exchange, urls, server)
        alone = stack.enter_context(daemon(exchange))[0]
        _warm_up(alone)
        cold(exchange, urls)
        one_cold_answer(urls, server)
        taken_fast(urls, server)
        memory(server)
        for _ in range(2):
            hits(alone, "without Redis")
            hits(urls[0], "with Redis   ")


if __name__ == "__main__":
    main()
