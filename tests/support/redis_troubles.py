"""A Redis that can't be used: blocks in which that is so."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.redis_servers import RedisServer, free_port


@contextmanager
def gone(redis: RedisServer) -> Iterator[None]:
    """Killed; what comes back is empty."""
    redis.stop()
    yield
    redis.start()


@contextmanager
def frozen(redis: RedisServer) -> Iterator[None]:
    """It accepts, and never answers."""
    redis.freeze()
    try:
        yield
    finally:
        redis.resume()


@contextmanager
def full(redis: RedisServer) -> Iterator[None]:
    """Nothing more can be written."""
    with redis.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        yield
        client.config_set("maxmemory", "0")


@contextmanager
def read_only(redis: RedisServer) -> Iterator[None]:
    """The server became another server's replica."""
    with redis.client() as client:
        client.replicaof("127.0.0.1", free_port())
        yield
        client.replicaof("NO", "ONE")
