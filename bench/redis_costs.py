"""Measure what each operation of replicas costs Redis: `make redis-costs`; docs/scaling.md uses the results.

    python -m bench.redis_costs [--peers 3,30,300,1000]

A real redis-server, asked by the daemon's own code, one thing at a time. CPU is what the server says it used (parsing,
the script, and writing the reply), so that other work on the machine and the asker's own time do not count.
"""

import argparse
import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from mdcache.candles.block import build_block
from mdcache.candles.persistence import StoredBlock
from mdcache.candles.replication import SeriesState, SharedBlock
from mdcache.candles.shared_rows import KnownVersions, LeaseRequest, Push
from mdcache.candles.tail import Tail
from mdcache.clock import SystemClock
from mdcache.events import Events
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.rows import Row
from mdcache.leases import Lease
from mdcache.store_events import StoreOp
from mdcache.stores.redis.budget import GateChannel, RedisBudget
from mdcache.stores.redis.client import RedisClient
from mdcache.stores.redis.replica_id import ReplicaId
from mdcache.stores.redis.rows import RedisRowStore
from mdcache.stores.redis.url import connect, parse_url
from mdcache.upstream.replicas.protocol import (
    Allotment,
    DrawKind,
    DrawReply,
    DrawRequest,
    after_reply,
    at_minute,
    minute_requests,
    stated_part,
)
from tests.support.redis_servers import RedisServer, running_redis

TIMES = 2_000
PEERS = (3, 30, 300, 1_000)
KEY = SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m")
ORIGINS = dict.fromkeys(Market, "https://exchange.test")
MINUTE_MS = 60_000
INDEX = 29_000
START_MS = INDEX * 1_000 * MINUTE_MS
ROWS = 500
ALLOWED = 3_000
TIMEOUT_S = 60.0  # of a measured call: the daemon's own is shorter

Work = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Cost:
    """Of one thing: the server's CPU in microseconds, and bytes to and from it."""

    cpu_us: float
    sent: float
    received: float


@dataclass
class Meter:
    """Reads the server's own counts before and after."""

    client: Any
    idle_us_a_s: float = 0.0

    def _seen(self) -> tuple[float, int, int, float]:
        cpu, stats = self.client.info("cpu"), self.client.info("stats")
        used_us = (cpu["used_cpu_user"] + cpu["used_cpu_sys"]) * 1e6
        return used_us, stats["total_net_input_bytes"], stats["total_net_output_bytes"], time.monotonic()

    async def idle(self, seconds: float = 2.0) -> None:
        """Measure what the server uses while idle."""
        before = self._seen()
        await asyncio.sleep(seconds)
        self.idle_us_a_s = (self._seen()[0] - before[0]) / seconds

    async def cost(self, work: Work, times: int = TIMES) -> Cost:
        for _ in range(times // 20 + 1):  # the script is known, the connection made
            await work()
        before = self._seen()
        for _ in range(times):
            await work()
        after = self._seen()
        used_us = after[0] - before[0] - self.idle_us_a_s * (after[3] - before[3])
        return Cost(used_us / times, (after[1] - before[1]) / times, (after[2] - before[2]) / times)


def tell(name: str, cost: Cost) -> None:
    print(
        f"{name:<40} {cost.cpu_us:>9.0f} µs {1e6 / cost.cpu_us:>8.0f}/s"
        f" {cost.sent / 1e3:>7.1f} kB in {cost.received / 1e3:>7.1f} kB out"
    )


@asynccontextmanager
async def linked(server: RedisServer) -> AsyncIterator[RedisClient]:
    link = RedisClient(
        lambda: connect(parse_url(server.url), TIMEOUT_S),
        prefix="mdcache:",
        timeout_s=TIMEOUT_S,
        clock=SystemClock(),
        events=Events(),
    )
    await link.start()
    try:
        yield link
    finally:
        await link.aclose()


# ------------------------------------------------------------------------------------------------ rows


def printed(open_ms: int) -> bytes:
    """A row with as many digits as Binance prints."""
    rng = random.Random(open_ms)
    prices = ",".join(f'"{60_000 + rng.uniform(low, high):.8f}"' for low, high in ((0, 9), (9, 20), (-20, 0), (0, 9)))
    volume, part = rng.uniform(1, 90), rng.random()
    amounts = f'"{volume:.8f}",{open_ms + 59_999},"{volume * 60_000:.8f}",{rng.randrange(100, 9_000)}'
    return f'[{open_ms},{prices},{amounts},"{volume * part:.8f}","{volume * part * 60_000:.8f}","0"]'.encode()


def settled() -> SharedBlock:
    rows = [(START_MS + n * MINUTE_MS, printed(START_MS + n * MINUTE_MS)) for n in range(ROWS)]
    return SharedBlock(StoredBlock(build_block(INDEX, rows), ((START_MS, rows[-1][0] + 1),)))


def tail(as_of_ms: int) -> Tail:
    first = START_MS + ROWS * MINUTE_MS
    rows = tuple(Row(at, at + 59_999, 300, printed(at)) for at in (first, first + MINUTE_MS))
    return Tail(first, rows, as_of_ms)


async def rows(server: RedisServer, meter: Meter) -> None:
    """What a question costs that a replica can't answer from memory."""
    async with linked(server) as link:
        commons = RedisRowStore(link, ORIGINS, ThreadPoolExecutor(1), SystemClock(), Events())
        block, now_ms = settled(), START_MS + (ROWS + 1) * MINUTE_MS
        nothing = KnownVersions(blocks={INDEX: (b"", None)})
        found = await commons.push(
            KEY, Push(nothing, SeriesState(tail(now_ms), blocks={INDEX: block}), frozenset(), None)
        )
        have = KnownVersions(
            found.epoch,
            found.revisions,
            found.tail_version,
            found.empty_ranges_version,
            {INDEX: (found.block_versions[INDEX][0], block.stored.block)},
        )
        lease = Lease("tail", "0123456789abcdef", 1)
        need = LeaseRequest(lease, now_ms + 1, now_ms)

        async def give_tail() -> None:
            nonlocal have, now_ms
            now_ms += 1
            told = await commons.push(
                KEY, Push(have, SeriesState(tail(now_ms), blocks={INDEX: block}), frozenset(), None)
            )
            assert told.pushed
            have = replace(have, tail_version=told.tail_version)

        async def give_rows() -> None:
            nonlocal have, now_ms
            await link.call(StoreOp.SCAN, lambda client: client.flushdb())
            now_ms += 1
            assert (
                await commons.push(
                    KEY, Push(nothing, SeriesState(tail(now_ms), blocks={INDEX: block}), frozenset(), None)
                )
            ).pushed

        async def flush() -> None:
            await link.call(StoreOp.SCAN, lambda client: client.flushdb())

        tell("take: nothing is new (a poll, a look)", await meter.cost(lambda: commons.pull(KEY, have, None)))
        tell("take: nothing is new, and a lease", await meter.cost(lambda: commons.pull(KEY, have, need)))
        tell("renew a lease", await meter.cost(lambda: commons.renew(KEY, lease)))
        tell(
            "release a lease that is not ours",
            await meter.cost(lambda: commons.release(KEY, Lease("tail", "0", 1), "")),
        )
        seen = replace(have, tail_version=b"")
        tell("take: a new tail", await meter.cost(lambda: commons.pull(KEY, seen, None)))
        tell(f"take: a new tail and {ROWS} rows", await meter.cost(lambda: commons.pull(KEY, nothing, None)))
        tell("give: a tail, the rows are there", await meter.cost(give_tail))
        emptied, given = await meter.cost(flush), await meter.cost(give_rows)
        given = Cost(*(a - b for a, b in zip(_plain(given), _plain(emptied), strict=True)))
        tell(f"give: a tail and {ROWS} rows", given)
        tell("list of purges, empty", await meter.cost(lambda: link.call(StoreOp.LIST_PURGES, _purges(link))))


def _plain(cost: Cost) -> tuple[float, float, float]:
    return cost.cpu_us, cost.sent, cost.received


def _purges(link: RedisClient) -> Callable[[Any], Awaitable[object]]:
    return lambda client: client.lrange(f"{link.prefix}purges", 0, 63)


# ------------------------------------------------------------------------------------------------ news


async def news(server: RedisServer, meter: Meter, listeners: int) -> None:
    """One message on the channel that all replicas listen to."""
    address = parse_url(server.url)
    async with AsyncExitStack() as stack:
        teller = await stack.enter_async_context(connect(address, TIMEOUT_S))
        heard = []
        for _ in range(listeners):
            client = await stack.enter_async_context(connect(address, TIMEOUT_S))
            pubsub = client.pubsub()
            stack.push_async_callback(pubsub.aclose)
            await pubsub.subscribe("mdcache:v2:news")
            heard.append(pubsub)
        message = b'{"market":"spot","kind":"klines","symbol":"BTCUSDT","contract":"","interval":"1m"}'
        cost = await meter.cost(lambda: teller.publish("mdcache:v2:news", message), 100)
        tell(f"a message to {listeners} replicas", cost)


# ------------------------------------------------------------------------------------------------ budget


class Peer:
    """A replica as the budget knows it."""

    def __init__(self, link: RedisClient, name: int) -> None:
        self._store = RedisBudget(
            link, GateChannel(link, "bench"), "bench", "spot", ReplicaId(None, lambda: f"{name:016x}")
        )
        self._allotment = Allotment()
        self._seq = 0
        self._spent = 0

    async def draw(self, now_ms: int, weight: int = 0) -> DrawReply:
        minutes = range(now_ms // MINUTE_MS, now_ms // MINUTE_MS + 1)
        before = at_minute(self._allotment, minutes[0])
        self._seq += 1
        request = DrawRequest(
            kind=DrawKind.REPORT if self._seq > 1 else DrawKind.REGISTER,
            seq=self._seq,
            now_ms=now_ms,
            allowed=ALLOWED,
            limit=6_000,
            part=stated_part(before, minutes[0]),
            replicas=before.replicas,
            born=before.born,
            assumed=3,
            returning=False,
            process=1,
            error_ms=50,
            enters=self._seq > 1,
            gate_version=0,
            rank=1,
            minutes=minute_requests(before, minutes, lambda _minute: self._spent, ALLOWED, weight),
        )
        reply = await self._store.draw(request)
        self._allotment = after_reply(before, request, reply)
        return reply


async def budget(server: RedisServer, meter: Meter, peers: int) -> None:
    """Measure one message to a budget with this many replicas."""
    client = server.client()
    client.flushdb()
    async with linked(server) as link:
        made = [Peer(link, name) for name in range(peers)]
        for peer in made:
            await peer.draw(START_MS)
        turn = 0

        async def beat() -> None:
            nonlocal turn
            turn += 1
            await made[turn % peers].draw(START_MS + MINUTE_MS + turn // 10, turn % 3)

        tell(f"a draw or beat among {peers} replicas", await meter.cost(beat))
        (key,) = client.keys("mdcache:v2:budget:*")
        print(f"{'':<40} {client.memory_usage(key, samples=0) / 1e3:.1f} kB in Redis")
        gate = RedisBudget(link, GateChannel(link, "bench"), "bench", "spot", ReplicaId(None, lambda: "writer"))
        version = (await gate.write_gate(0, "x" * 300)).version

        async def write() -> None:
            nonlocal version
            version = (await gate.write_gate(version, "x" * 300)).version

        tell("a move of the gate", await meter.cost(write, 500))
    client.flushdb()


async def measure(counts: list[int]) -> None:
    with running_redis() as server:
        meter = Meter(server.client())
        await meter.idle()
        print(f"{'':<40} {'CPU of one':>12} {'one core':>10}")
        await rows(server, meter)
        for count in counts:
            await news(server, meter, count)
        for count in counts:
            await budget(server, meter, count)


def main() -> None:
    parser = argparse.ArgumentParser(description="What replicas cost Redis.")
    parser.add_argument("--peers", default=",".join(map(str, PEERS)), help="how many replicas, separated by commas")
    asyncio.run(measure([int(count) for count in parser.parse_args().peers.split(",")]))


if __name__ == "__main__":
    main()
