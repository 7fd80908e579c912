"""Three daemons, one Redis, one exchange: real processes, killed and stopped in the middle of a read."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support.processes import daemon, sim
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.waiting import eventually, strain, until

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

TOKEN = "a-very-secret-token"
PATH = "/api/v3/klines"
MINUTE = 60_000
LEASE_S = 3.0
LEAST_TTL_MS = 2_000


@dataclass
class ReplicaProcesses:
    exchange: str
    redis: RedisServer
    urls: list[str]
    pids: list[int]

    def calls(self, ending: str = "klines") -> list[str]:
        return [f"{entry['path']}?{entry['query']}" for entry in self.log(ending)]

    def log(self, ending: str = "klines") -> list[dict[str, Any]]:
        log = httpx.get(f"{self.exchange}/_sim/log?limit=100000", trust_env=False).json()
        return [entry for entry in log if entry["path"].lower().endswith(ending)]

    def act(self, action: str, **body: object) -> None:
        assert httpx.post(f"{self.exchange}/_sim/{action}", json=body, trust_env=False).status_code == 200

    def get(self, replica: int, query: str, path: str = PATH, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.urls[replica]}{path}?{query}", headers=headers, timeout=20.0, trust_env=False)

    def purge(self, replica: int, **order: str) -> None:
        headers = {"authorization": f"Bearer {TOKEN}"}
        url = f"{self.urls[replica]}/v1/admin/purge"
        assert httpx.post(url, json=order, headers=headers, trust_env=False).status_code == 200


@pytest.fixture(scope="module")
def fleet() -> Iterator[ReplicaProcesses]:
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        exchange = stack.enter_context(sim())
        settings: dict[str, Any] = {
            "redis_url": redis.url,
            "admin_token": TOKEN,
            "replicas": "3",
            "redis_timeout_s": "2",
        }
        made = [stack.enter_context(daemon(exchange, **settings)) for _ in range(3)]
        found = ReplicaProcesses(exchange, redis, [url for url, _ in made], [process.pid for _, process in made])
        for n in range(3):  # symbols known, clocks measured
            assert found.get(n, "symbol=ETHUSDT&interval=1d&limit=1&startTime=0&endTime=1").status_code == 200
        yield found


async def at_once(fleet: ReplicaProcesses, queries: list[str]) -> list[list[httpx.Response]]:
    """Each query, of all replicas at the same time."""
    async with Clients(fleet.urls) as clients:
        return [
            list(found)
            for found in await asyncio.gather(
                *(asyncio.gather(*(client.get(f"{PATH}?{query}") for client in clients)) for query in queries)
            )
        ]


class Clients:
    def __init__(self, urls: list[str]) -> None:
        self._clients = [httpx.AsyncClient(base_url=url, timeout=20.0, trust_env=False) for url in urls]

    async def __aenter__(self) -> list[httpx.AsyncClient]:
        return self._clients

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            await client.aclose()


def test_symbols_and_snapshots_are_read_once_for_all(fleet: ReplicaProcesses) -> None:
    assert len(fleet.calls("exchangeinfo")) == 1
    tickers = "/api/v3/ticker/24hr"  # lives for 16 s: its weight is 80
    answers = [fleet.get(0, "", tickers)]
    eventually(lambda: len(fleet.redis.list_keys("mdcache:*}c")) == 2)
    answers += [fleet.get(n, "", tickers) for n in (1, 2)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({(answer.content, answer.headers["etag"], answer.headers["x-mdcache-as-of"]) for answer in answers}) == 1
    assert len(fleet.calls(tickers)) == 1
    fleet.purge(1)
    assert fleet.redis.list_keys("mdcache:*}c") == []
    first = answers[0].headers["x-mdcache-as-of"]
    eventually(lambda: fleet.get(0, "", tickers).headers["x-mdcache-as-of"] > first, 10.0)


async def test_twenty_cold_series_asked_of_all_three_at_once(fleet: ReplicaProcesses) -> None:
    intervals = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h")
    queries = [f"symbol={symbol}&interval={i}&limit=500" for symbol in ("BTCUSDT", "SOLUSDT") for i in intervals]
    before = len(fleet.log())
    answers = await at_once(fleet, queries)
    read_at: dict[str, list[int]] = {query: [] for query in queries}
    for entry in fleet.log()[before:]:
        series = next(query for query in queries if query.rpartition("&")[0] + "&" in entry["query"] + "&")
        read_at[series].append(entry["at_ms"])
    # one that a busy machine keeps from asking for longer than a TTL reads again, rightly
    again = [gap for times in read_at.values() for gap in map(int.__sub__, times[1:], times) if gap < LEAST_TTL_MS]
    assert len(again) <= 2 * strain(), read_at
    assert all(read_at.values())
    assert {answer.status_code for found in answers for answer in found} == {200}
    for found in answers:
        by_moment = {answer.headers["x-mdcache-as-of"]: answer for answer in found}
        for answer in found:  # the same as-of means the same bytes and the same tag, wherever it came from
            same = by_moment[answer.headers["x-mdcache-as-of"]]
            assert (answer.content, answer.headers["etag"]) == (same.content, same.headers["etag"])


def test_settled_rows_have_one_etag_everywhere_and_are_read_once(fleet: ReplicaProcesses) -> None:
    now = int(time.time() * 1000) // MINUTE * MINUTE
    query = f"symbol=BNBUSDT&interval=1m&startTime={now - 900 * MINUTE}&endTime={now - 500 * MINUTE}"
    before = len(fleet.calls())
    first = fleet.get(0, query)
    eventually(lambda: fleet.redis.holds("BNBUSDT", "1m"))
    for n in (1, 2):
        found = fleet.get(n, query)
        assert (found.content, found.headers["etag"]) == (first.content, first.headers["etag"])
        assert fleet.get(n, query, **{"if-none-match": first.headers["etag"]}).status_code == 304
    assert len(fleet.calls()) - before == 1


def test_time_never_runs_back_through_a_balancer(fleet: ReplicaProcesses) -> None:
    saw, replica = [0], itertools.cycle(range(3))

    def moved_on() -> bool:
        found = fleet.get(next(replica), "symbol=BTCUSDT&interval=1m&limit=5", **{"x-mdcache-min-as-of": str(saw[-1])})
        saw.append(int(found.headers["x-mdcache-as-of"]))
        assert saw[-1] >= saw[-2]
        return len(set(saw)) > 4

    eventually(moved_on)


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
async def test_the_replica_with_the_lease_is_stopped_or_killed_midway(
    fleet: ReplicaProcesses, how: signal.Signals
) -> None:
    """The last replica reads; the others get their answer when its lease has run out, and what it has is no harm."""
    symbol = "XRPUSDT" if how is signal.SIGSTOP else "ADAUSDT"
    query = f"symbol={symbol}&interval=5m&limit=500"
    fleet.act("latency", before_s=1.0, path=PATH)
    async with Clients(fleet.urls) as clients:
        doomed = asyncio.ensure_future(clients[2].get(f"{PATH}?{query}"))
        await until(lambda: any(f"/{symbol}/" in key and "}l" in key for key in fleet.redis.list_keys()))
        os.kill(fleet.pids[2], how)
        fleet.act("latency", path=PATH)
        began = time.monotonic()
        found = await asyncio.gather(*(client.get(f"{PATH}?{query}") for client in clients[:2]))
        waited_s = time.monotonic() - began
        if how is signal.SIGSTOP:
            os.kill(fleet.pids[2], signal.SIGCONT)
            late = await doomed
            assert late.status_code == 200
        else:
            with pytest.raises(httpx.TransportError):
                await doomed
    assert [(answer.status_code, len(answer.json())) for answer in found] == [(200, 500)] * 2
    assert waited_s < LEASE_S + 2.0
    assert sum(symbol in call for call in fleet.calls()) <= 2 + (how is signal.SIGSTOP)
    settled = query + f"&endTime={int(time.time() * 1000) - 3_600_000}"
    assert fleet.get(0, settled).content == fleet.get(1, settled).content


def test_a_purge_reaches_the_others(fleet: ReplicaProcesses) -> None:
    now = int(time.time() * 1000) // MINUTE * MINUTE
    query = f"symbol=DOGEUSDT&interval=1m&startTime={now - 700 * MINUTE}&endTime={now - 500 * MINUTE}"
    for n in (0, 1):
        assert fleet.get(n, query).status_code == 200
    before = len(fleet.calls())
    order = {"symbol": "DOGEUSDT"}
    headers = {"authorization": f"Bearer {TOKEN}"}
    reply = httpx.post(f"{fleet.urls[0]}/v1/admin/purge", json=order, headers=headers, trust_env=False)
    assert reply.json() == {"purged": 1}
    eventually(lambda: fleet.get(1, query, **{"cache-control": "only-if-cached"}).status_code == 504)
    assert fleet.get(1, query).status_code == 200
    assert len(fleet.calls()) - before == 1
    assert fleet.get(0, query).status_code == 200
    assert len(fleet.calls()) - before == 1


def test_every_key_that_is_left_runs_out(fleet: ReplicaProcesses) -> None:
    with fleet.redis.client() as client:
        lives = {key: client.pttl(key) for key in client.keys("mdcache:*")}
    assert len(lives) > 50
    assert [key for key, life in lives.items() if life == -1] == []
