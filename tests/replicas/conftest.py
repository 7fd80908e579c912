"""Real servers for the tests of what replicas share."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.support.redis_servers import RedisServer, redis_cluster, running_redis
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def single() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def three() -> Iterator[list[RedisServer]]:
    with redis_cluster() as servers:
        yield servers


REAL = [pytest.param(each, marks=pytest.mark.processes) for each in ("redis", "cluster")]


@pytest.fixture(params=["fake", *REAL])
def redis_servers(request: pytest.FixtureRequest) -> list[RedisServer]:
    """Empty servers: none for the tests' own store, one, or a cluster."""
    if request.param == "fake":
        return []
    servers = [request.getfixturevalue("single")] if request.param == "redis" else request.getfixturevalue("three")
    for each in servers:
        each.client().flushall()
    return list(servers)


@pytest.fixture
def redis_url(redis_servers: list[RedisServer]) -> str | None:
    """Where an empty Redis is; `None` for the tests' own."""
    if not redis_servers:
        return None
    scheme = "redis" if len(redis_servers) == 1 else "redis+cluster"
    return f"{scheme}://127.0.0.1:{redis_servers[0].port}"


@pytest.fixture
def subscribed(redis_servers: list[RedisServer]) -> Callable[[int], Awaitable[None]]:
    """Wait until this many replicas have subscribed."""

    async def wait(count: int) -> None:
        if redis_servers:
            await asyncio.to_thread(eventually, lambda: sum(each.subscribers() for each in redis_servers) >= count)

    return wait
