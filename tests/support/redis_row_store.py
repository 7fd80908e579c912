"""Test data for the shared row store, checks of its contents, and the store in a real Redis."""

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from mdcache.candles.block import build_block
from mdcache.candles.persistence import StoredBlock
from mdcache.candles.replication import SeriesState, SharedBlock
from mdcache.candles.shared_rows import KnownVersions, PullResult, Push, SharedRowStore
from mdcache.candles.tail import Tail
from mdcache.clock import SystemClock
from mdcache.events import Event, Events
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.rows import Row
from mdcache.stores.redis.client import RedisClient
from mdcache.stores.redis.rows import RedisRowStore
from mdcache.stores.redis.url import connect, parse_url

KEY = SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m")
OTHER = SeriesKey(Market.USDM, "continuousKlines", "币安人生USDT", "PERPETUAL", "1M", 480, micros=True)
WIDTH = 60_000_000
ORIGINS = dict.fromkeys(Market, "https://exchange.test")
INDEX = 29_000


def raw(open_ms: int, price: float = 100.0, trades: int = 30) -> bytes:
    rng = random.Random(open_ms)  # with as many digits as real rows: they don't compress to nothing
    prices = ",".join(f'"{price + rng.uniform(low, high):.2f}"' for low, high in ((0, 1), (2, 3), (-3, -2), (0, 1)))
    volume, part = rng.uniform(1, 90), rng.random()
    amounts = f'"{volume:.5f}",{open_ms + 59_999},"{volume * price:.7f}",{trades}'
    return f'[{open_ms},{prices},{amounts},"{volume * part:.5f}","{volume * part * price:.7f}","0"]'.encode()


def block(first: int = 0, last: int = 500, *, index: int = INDEX, **odd: int) -> SharedBlock:
    start = index * WIDTH
    rows = [
        (start + n * 60_000, raw(start + n * 60_000, 100 + n % 7, odd.get(f"n{n}", 30))) for n in range(first, last)
    ]
    known = ((start + first * 60_000, start + (last - 1) * 60_000 + 1),)
    return SharedBlock(StoredBlock(build_block(index, rows), known))


def tail(as_of_ms: int, start_ms: int = INDEX * WIDTH + 500 * 60_000) -> Tail:
    row = Row(start_ms, start_ms + 59_999, 30, raw(start_ms))
    return Tail(start_ms, (row,), as_of_ms, {start_ms: as_of_ms - 5}, 12)


class LoopClock:
    """The fake server's, on the real loop's time."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()


def client_for(url: str, told: Events, prefix: str = "mdcache:") -> RedisClient:
    address = parse_url(url)
    return RedisClient(lambda: connect(address, 1.0), prefix=prefix, timeout_s=10.0, clock=SystemClock(), events=told)


@asynccontextmanager
async def redis_row_store(
    url: str, events: list[Event] | None = None, prefix: str = "mdcache:"
) -> AsyncIterator[RedisRowStore]:
    told = Events((events if events is not None else []).append)
    link = client_for(url, told, prefix)
    commons = RedisRowStore(link, ORIGINS, ThreadPoolExecutor(1), SystemClock(), told)
    commons.start()
    await link.start()
    try:
        yield commons
    finally:
        await commons.aclose()
        await link.aclose()


def known_versions(found: PullResult, *indexes: int) -> KnownVersions:
    blocks = {
        index: (found.block_versions[index][0] if index in found.block_versions else b"", None) for index in indexes
    }
    return KnownVersions(found.epoch, found.revisions, found.tail_version, found.empty_ranges_version, blocks)


async def push(
    commons: SharedRowStore, seen: PullResult, shared: SeriesState, told: frozenset[int] = frozenset(), **more: Any
) -> PullResult:
    return await commons.push(
        more.get("key", KEY), Push(known_versions(seen, *shared.blocks), shared, told, more.get("lease"))
    )


async def pull(
    commons: SharedRowStore, *indexes: int, seen: PullResult | None = None, key: SeriesKey = KEY
) -> PullResult:
    return await commons.pull(key, known_versions(seen or PullResult(), *indexes), None)
