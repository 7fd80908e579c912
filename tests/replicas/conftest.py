"""Real servers for the tests of what replicas share."""

from collections.abc import Iterator

import pytest

from tests.support.redis_servers import RedisServer, redis_cluster, running_redis


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
def redis_url(request: pytest.FixtureRequest) -> str | None:
    """Where an empty Redis is; `None` for the tests' own."""
    if request.param == "fake":
        return None
    servers = [request.getfixturevalue("single")] if request.param == "redis" else request.getfixturevalue("three")
    for each in servers:
        each.client().flushall()
    scheme = "redis" if request.param == "redis" else "redis+cluster"
    return f"{scheme}://127.0.0.1:{servers[0].port}"
