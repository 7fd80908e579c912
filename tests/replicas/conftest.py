"""Real servers for the tests of what replicas share."""

from collections.abc import Iterator

import pytest

from tests.world.servers import Server, cluster, running


@pytest.fixture(scope="module")
def single() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def three() -> Iterator[list[Server]]:
    with cluster() as servers:
        yield servers


@pytest.fixture(params=["fake", "redis", "cluster"])
def redis_url(request: pytest.FixtureRequest) -> str | None:
    """Where an empty Redis is; `None` for the tests' own."""
    if request.param == "fake":
        return None
    servers = [request.getfixturevalue("single")] if request.param == "redis" else request.getfixturevalue("three")
    for each in servers:
        each.client().flushall()
    scheme = "redis" if request.param == "redis" else "redis+cluster"
    return f"{scheme}://127.0.0.1:{servers[0].port}"
