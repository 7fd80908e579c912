"""A purge reaches whoever was away when it came: at a real Redis."""

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

pytestmark = pytest.mark.processes

SOL, ETH = SeriesFilter(Market.SPOT, "SOLUSDT"), SeriesFilter(Market.SPOT, "ETHUSDT")
TOKEN = "a-very-secret-token"
Heard = list[tuple[SeriesFilter, bytes]]


@asynccontextmanager
async def replica(server: RedisServer, heard: Heard, folder: StateDir | None = None) -> AsyncIterator[RedisRowStore]:
    """One that has just started."""
    told = Events()
    link = client_for(server.url, told)
    commons = RedisRowStore(link, ORIGINS, ThreadPoolExecutor(1), SystemClock(), told, folder)
    commons.subscribe(lambda _key: None, lambda which, name: heard.append((which, name)))
    commons.start()
    await link.start()
    await commons.apply_missed_purges()
    try:
        yield commons
    finally:
        await commons.aclose()
        await link.aclose()


async def test_who_was_away_hears_of_it_at_its_start_and_once(tmp_path: Path) -> None:
    with running_redis() as server:
        async with replica(server, []) as other:
            await other.purge(SOL, b"purge 1!")
            folder, first, second = open_state_dir(tmp_path), [], []  # type: StateDir, Heard, Heard
            async with replica(server, first, folder):
                assert first == [(SOL, b"purge 1!")]
                await until((tmp_path / FILE).exists, 10)
            await other.purge(ETH, b"purge 2!")
            async with replica(server, second, folder):
                assert second == [(ETH, b"purge 2!")]
            folder.release()


async def test_who_did_not_find_redis_at_its_start_hears_of_what_came_meanwhile() -> None:
    heard: Heard = []
    server = RedisServer()
    async with AsyncExitStack() as stack:
        stack.callback(server.close)
        await stack.enter_async_context(replica(server, heard))
        server.start()
        other = await stack.enter_async_context(replica(server, []))
        await other.purge(SOL, b"purge 1!")
        await until(lambda: heard == [(SOL, b"purge 1!")], 10)


async def test_who_missed_more_than_the_list_holds_forgets_all(tmp_path: Path) -> None:
    with running_redis() as server:
        async with replica(server, []) as other:
            folder, heard = open_state_dir(tmp_path), []  # type: StateDir, Heard
            await other.purge(SOL, b"purge 1!")
            async with replica(server, [], folder):
                await until((tmp_path / FILE).exists, 10)
            await asyncio.gather(*(other.purge(ETH, b"purge%3d" % n) for n in range(MAX_ENTRIES)))
            async with replica(server, heard, folder):
                assert heard[0][0] == SeriesFilter()
            folder.release()


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xc0"])
async def test_what_cannot_be_read_in_the_folder_is_followed_again(tmp_path: Path, content: bytes) -> None:
    with running_redis() as server:
        async with replica(server, []) as other:
            await other.purge(SOL, b"purge 1!")
        (tmp_path / FILE).write_bytes(content)
        folder, heard = open_state_dir(tmp_path), []  # type: StateDir, Heard
        async with replica(server, heard, folder):
            assert heard == [(SOL, b"purge 1!")]
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
