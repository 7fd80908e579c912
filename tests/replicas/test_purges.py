"""A purge reaches replicas that were down at the time, with a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mdcache.candles.persistence import SeriesFilter
from mdcache.clock import SystemClock
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.stores.disk.state_dir import StateDir, open_state_dir
from mdcache.stores.redis.purges import FILE, MAX_ENTRIES
from mdcache.stores.redis.rows import RedisRowStore
from tests.support.processes import daemon, sim
from tests.support.redis_row_store import ORIGINS, client_for
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.waiting import eventually, until

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

SOL, ETH = SeriesFilter(Market.SPOT, "SOLUSDT"), SeriesFilter(Market.SPOT, "ETHUSDT")
TOKEN = "a-very-secret-token"
PurgesSeen = list[tuple[SeriesFilter, bytes]]


@asynccontextmanager
async def replica(
    server: RedisServer, purges: PurgesSeen, folder: StateDir | None = None
) -> AsyncIterator[RedisRowStore]:
    """One that has just started."""
    bus = Events()
    link = client_for(server.url, bus)
    store = RedisRowStore(link, ORIGINS, ThreadPoolExecutor(1), SystemClock(), bus, folder)
    store.subscribe(lambda _key: None, lambda which, name: purges.append((which, name)))
    store.start()
    await link.start()
    await store.apply_missed_purges()
    try:
        yield store
    finally:
        await store.aclose()
        await link.aclose()


async def test_a_replica_that_was_away_learns_of_a_purge_once_at_its_start(tmp_path: Path) -> None:
    with running_redis() as server:
        async with replica(server, []) as other:
            await other.purge(SOL, b"purge 1!")
            folder, first, second = open_state_dir(tmp_path), [], []  # type: StateDir, PurgesSeen, PurgesSeen
            async with replica(server, first, folder):
                assert first == [(SOL, b"purge 1!")]
                await until((tmp_path / FILE).exists, 10)
            await other.purge(ETH, b"purge 2!")
            async with replica(server, second, folder):
                assert second == [(ETH, b"purge 2!")]
            folder.release()


async def test_a_replica_that_started_without_redis_learns_of_purges_when_it_is_back() -> None:
    purges: PurgesSeen = []
    server = RedisServer()
    async with AsyncExitStack() as stack:
        stack.callback(server.close)
        await stack.enter_async_context(replica(server, purges))
        server.start()
        other = await stack.enter_async_context(replica(server, []))
        await other.purge(SOL, b"purge 1!")
        await until(lambda: purges == [(SOL, b"purge 1!")], 10)


async def test_a_replica_that_missed_more_purges_than_the_log_holds_forgets_all(tmp_path: Path) -> None:
    with running_redis() as server:
        async with replica(server, []) as other:
            folder, purges = open_state_dir(tmp_path), []  # type: StateDir, PurgesSeen
            await other.purge(SOL, b"purge 1!")
            async with replica(server, [], folder):
                await until((tmp_path / FILE).exists, 10)
            await asyncio.gather(*(other.purge(ETH, b"purge%3d" % n) for n in range(MAX_ENTRIES)))
            async with replica(server, purges, folder):
                assert purges[0][0] == SeriesFilter()
            folder.release()


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xc0"])
async def test_an_unreadable_file_of_followed_purges_has_all_followed_again(tmp_path: Path, content: bytes) -> None:
    with running_redis() as server:
        async with replica(server, []) as other:
            await other.purge(SOL, b"purge 1!")
        (tmp_path / FILE).write_bytes(content)
        folder, purges = open_state_dir(tmp_path), []  # type: StateDir, PurgesSeen
        async with replica(server, purges, folder):
            assert purges == [(SOL, b"purge 1!")]
        folder.release()


def test_rows_on_the_disk_of_a_replica_that_was_down_do_not_come_back(tmp_path: Path) -> None:
    query = "/api/v3/klines?symbol=BTCUSDT&interval=1d&startTime=1700000000000&endTime=1701000000000"

    def calls() -> int:
        log = httpx.get(f"{exchange}/_sim/log?limit=100000", trust_env=False).json()
        return sum(entry["path"].endswith("klines") for entry in log)

    with ExitStack() as stack:
        redis, exchange = stack.enter_context(running_redis()), stack.enter_context(sim())
        settings: dict[str, Any] = {"redis_url": redis.url, "admin_token": TOKEN, "replicas": "4"}
        here = stack.enter_context(daemon(exchange, **settings))[0]
        for _ in range(2):
            with daemon(exchange, **settings, state_dir=str(tmp_path)) as (there, _process):
                before = calls()
                reply = httpx.get(there + query, timeout=20.0, trust_env=False)
                assert reply.status_code == 200
                assert "; hit" not in reply.headers["cache-status"]
                assert calls() == before + 1
                eventually(lambda: any(redis.client().scan_iter("mdcache:*b*")))
            order, headers = {"symbol": "BTCUSDT"}, {"authorization": f"Bearer {TOKEN}"}
            url = f"{here}/v1/admin/purge"
            assert httpx.post(url, json=order, headers=headers, trust_env=False).status_code == 200
