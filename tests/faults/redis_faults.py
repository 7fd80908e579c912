"""What can go wrong with the Redis that two daemons share, and on the way to it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

from tests.faults.bench import REDIS_TIMEOUT_S, USER, FaultBench
from tests.faults.case import Case, Fault
from tests.faults.status_faults import WAIT_S, reply
from tests.faults.upstream_faults import broken, said
from tests.faults.wire import Serve, passing
from tests.support.redis_corruption import Corrupter, forged, noise, numbers, other_types, torn
from tests.support.redis_servers import RedisServer
from tests.support.redis_troubles import frozen, full, gone, read_only


def of_server(trouble: Callable[[RedisServer], AbstractContextManager[None]]) -> Fault:
    """The server is in this trouble."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        assert bench.redis is not None
        with trouble(bench.redis):
            yield

    return fault


def on_the_way(serve: Serve | None) -> Fault:
    """Connections to it are served so; none: they are refused."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        assert bench.to_redis is not None
        assert bench.redis is not None
        if serve is None:
            bench.to_redis.refuse()
        else:
            bench.to_redis.listen(serve=serve)
        yield
        bench.to_redis.listen(serve=passing(bench.redis.port))

    return fault


def late(delay_s: float) -> Fault:
    """Each reply is."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        assert bench.redis is not None
        with on_the_way(passing(bench.redis.port, delay_s))(bench):
            yield

    return fault


@contextmanager
def plugged(bench: FaultBench) -> Iterator[None]:
    """No connection comes about, and what was open is silent no more."""
    assert bench.to_redis is not None
    with on_the_way(None)(bench):
        bench.to_redis.plug()
        yield
        bench.to_redis.unplug()


@contextmanager
def rotated(bench: FaultBench) -> Iterator[None]:
    """The password was changed, and the daemons were not told."""
    assert bench.redis is not None
    with bench.redis.client() as client:
        client.execute_command("ACL", "SETUSER", USER, "resetpass", ">another-hidden-word")
        client.execute_command("CLIENT", "KILL", "USER", USER)
        yield
        client.execute_command("ACL", "SETUSER", USER, "resetpass", ">hidden-word")


def written_over(rubbish: Callable[[Any, str], object]) -> Fault:
    """All of the keys are, again and again."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        assert bench.redis is not None
        with closing(Corrupter(bench.redis, rubbish)):
            yield

    return fault


@contextmanager
def gone_in_a_ban(bench: FaultBench) -> Iterator[None]:
    with of_server(gone)(bench), broken(said(reply(418, Retry_After=str(WAIT_S))))(bench):
        yield


def _saying(data: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    return serve


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(1 << 16):
        pass


REDIS = (  # tests/replicas/test_faults.py tries the most of these upon three, in `make test`
    Case("Redis: connections refused", on_the_way(None), long=True),
    Case("Redis: connections without an answer", plugged, long=True),
    Case("Redis: the cable pulled", on_the_way(_silent), long=True),
    Case("Redis: killed, and started empty", of_server(gone), long=True),
    Case("Redis: frozen (SIGSTOP)", of_server(frozen), long=True),
    Case("Redis: each reply late, in time", late(REDIS_TIMEOUT_S / 5), long=True),
    Case("Redis: each reply too late", late(2 * REDIS_TIMEOUT_S), long=True),
    Case("Redis: full (`OOM`)", of_server(full), long=True),
    Case("Redis: a read-only replica (`READONLY`)", of_server(read_only), long=True),
    Case("Redis: the password changed (`WRONGPASS`)", rotated, long=True),
    Case("Redis: bytes that are no RESP", on_the_way(_saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")), long=True),
    Case("Redis: replies of other questions", on_the_way(_saying(b"*2\r\n$1\r\nx\r\n:17\r\n")), long=True),
    Case("Redis: other types under our keys", written_over(other_types), long=True),
    Case("Redis: noise under our keys", written_over(noise), long=True),
    Case("Redis: numbers under our keys", written_over(numbers), long=True),
    Case("Redis: torn values under our keys", written_over(torn), long=True),
    Case("Redis: a forged budget and gate", written_over(forged), long=True),
    Case("Redis: killed, and a ban meanwhile", gone_in_a_ban, stated_s=WAIT_S, long=True),
)
