"""The circuit before a real Redis, in every kind of trouble it can be in."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mdcache.clock import SystemClock
from mdcache.events import Event, Events
from mdcache.store_events import StoreOp, TierFailed, TierStateChanged, TierUsed
from mdcache.stores.redis.client import RedisClient, RedisDown, RedisRefused
from mdcache.stores.redis.url import connect, parse_url
from tests.support.redis_servers import RedisServer, free_port, redis_cluster, redis_sentinels, running_redis
from tests.support.waiting import until

pytestmark = pytest.mark.processes

BACK_S = 5.0
SLOWEST_S = 1.5


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


class Heard(list[Event]):
    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


@asynccontextmanager
async def link_to(url: str, heard: Heard | None = None, timeout_s: float = 0.25) -> AsyncIterator[RedisClient]:
    address = parse_url(url)
    events = Events((heard if heard is not None else Heard()).append)
    link = RedisClient(
        lambda: connect(address, 1.0),
        prefix="mdcache:",
        timeout_s=timeout_s,
        clock=SystemClock(),
        events=events,
        topology=address.topology.value,
    )
    await link.start()
    try:
        yield link
    finally:
        await link.aclose()


async def write(link: RedisClient, key: str = "{x}key") -> None:
    async def work(client: Any) -> None:
        await client.set(link.prefix + key, b"value", px=60_000)

    await link.call(StoreOp.WRITE, work)


async def down(link: RedisClient, within_s: float = SLOWEST_S) -> None:
    """Calls fail, none later than its time-out, until the circuit is open."""
    async with asyncio.timeout(within_s):
        while link.up:
            with pytest.raises(RedisDown):
                await write(link)


async def back(link: RedisClient, within_s: float = BACK_S) -> None:
    await until(lambda: link.up, within_s)
    await write(link)


async def test_a_call_reaches_redis_and_is_counted(server: RedisServer) -> None:
    heard = Heard()
    async with link_to(server.url, heard) as link:
        await write(link)
        assert server.client().get("mdcache:v2:{x}key") == b"value"
        assert [event.op for event in heard.of(TierUsed)] == ["write"]
        assert [event.state for event in heard.of(TierStateChanged)] == ["ok"]
        assert link.status() == {"state": "ok", "detail": "", "form": "single", "round_trips": 1, "failures": 0}


async def test_not_there_at_the_start() -> None:
    server = RedisServer(port=free_port())
    heard = Heard()
    try:
        async with asyncio.timeout(SLOWEST_S):
            context = link_to(server.url, heard)
            link = await context.__aenter__()
        assert not link.up
        with pytest.raises(RedisDown):
            await write(link)
        assert [event.state for event in heard.of(TierStateChanged)] == ["down"]
        await asyncio.to_thread(server.start)
        await back(link)
        assert [event.state for event in heard.of(TierStateChanged)] == ["down", "ok"]
        await context.__aexit__(None, None, None)
    finally:
        server.close()


async def test_gone_and_back_empty(server: RedisServer) -> None:
    heard = Heard()
    async with link_to(server.url, heard) as link:
        await write(link)
        server.stop()
        await down(link)
        await asyncio.to_thread(server.start)
        await back(link)
        assert [event.state for event in heard.of(TierStateChanged)] == ["ok", "down", "ok"]


async def test_frozen_it_accepts_and_never_answers(server: RedisServer) -> None:
    async with link_to(server.url) as link:
        server.freeze()
        await down(link)
        began = asyncio.get_running_loop().time()
        for _ in range(100):
            with pytest.raises(RedisDown):
                await write(link)
        assert asyncio.get_running_loop().time() - began < SLOWEST_S  # no call waits while the circuit is open
        server.resume()
        await back(link)


async def test_frozen_before_the_start(server: RedisServer) -> None:
    server.freeze()
    async with asyncio.timeout(5.0):
        async with link_to(server.url) as link:
            assert not link.up
            server.resume()
            await back(link)


async def test_slow(server: RedisServer) -> None:
    async with link_to(server.url) as link:
        server.client().client_pause(3_000)
        await down(link)
        assert not link.up
        await back(link, within_s=3.0 + BACK_S)
        assert link.up


async def test_full(server: RedisServer) -> None:
    heard = Heard()
    async with link_to(server.url, heard) as link:
        server.client().config_set("maxmemory", "1")
        with pytest.raises(RedisDown, match="OutOfMemory"):
            await write(link)
        assert not link.up  # at once: it said so itself
        server.client().config_set("maxmemory", "0")
        await back(link)
        assert heard.of(TierFailed)[0].tier == "redis"


async def test_a_read_only_replica(server: RedisServer) -> None:
    async with link_to(server.url) as link:
        server.client().replicaof("127.0.0.1", free_port())
        with pytest.raises(RedisDown):
            await write(link)
        assert not link.up
        server.client().replicaof("NO", "ONE")
        await back(link)


async def test_a_wrong_password_is_reported_without_quoting_it() -> None:
    with running_redis("--requirepass", "right") as server:
        async with link_to(server.url.replace("//", "//:hidden-word@")) as link:
            assert not link.up
            assert "Authentication" in link.trouble
            assert "hidden-word" not in str(link.status())
            server.client("right").config_set("requirepass", "hidden-word")
            await back(link)


async def test_a_wrong_type_is_refused_alone(server: RedisServer) -> None:
    async with link_to(server.url) as link:
        server.client().lpush("mdcache:v2:list", "x")

        async def work(client: Any) -> None:
            await client.get("mdcache:v2:list")

        for _ in range(5):
            with pytest.raises(RedisRefused):
                await link.call(StoreOp.LOAD, work)
        assert link.up


async def test_a_cancelled_call_leaves_the_next_its_own_answer(server: RedisServer) -> None:
    async with link_to(server.url) as link:
        server.client().set("a", "1")
        server.client().set("b", "2")

        def get(key: str) -> Callable[[Any], Any]:
            return lambda client: client.get(key)

        for _ in range(50):
            task = asyncio.create_task(link.call(StoreOp.LOAD, get("a")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            assert await link.call(StoreOp.LOAD, get("b")) == b"2"


async def test_a_call_that_is_cancelled_while_it_connects_ends(server: RedisServer) -> None:
    """redis-py goes on as if nothing had been said."""

    async def work(client: Any) -> object:
        await client.connection_pool.disconnect()
        return await client.get("a")

    async with link_to(server.url) as link:
        cut = 0
        for turns in [*range(12)] * 5:
            task = asyncio.create_task(link.call(StoreOp.LOAD, work))
            for _ in range(turns):
                await asyncio.sleep(0)
            was_done = task.done()
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled() or was_done
            cut += not was_done
        assert cut > 30


async def test_a_connection_that_uvloop_closed_already_is_one_that_broke(server: RedisServer) -> None:
    """Its own word for it is no `OSError`; another `RuntimeError` is a fault of ours, and no news of Redis."""

    async def work(client: Any) -> None:
        words[:] = words[1:]
        raise RuntimeError(words[0])

    async with link_to(server.url) as link:
        words = ["", "unable to perform operation on <TCPTransport closed=True>; the handler is closed", "else"]
        with pytest.raises(RedisDown, match="closed already"):
            await link.call(StoreOp.PULL, work)
        with pytest.raises(RuntimeError, match="else"):
            await link.call(StoreOp.PULL, work)
        await write(link)


async def test_a_subscription_survives_a_restart(server: RedisServer) -> None:
    got: list[bytes] = []
    stands: list[bool] = []
    async with link_to(server.url) as link:
        link.subscribe("news", got.append, lambda: stands.append(True))

        async def told(text: str, times: int) -> None:
            await until(lambda: len(stands) >= times, 10.0)
            server.client().publish("news", text)
            await until(lambda: got[-1:] == [text.encode()], 10.0)

        await told("one", 1)
        server.stop()
        await asyncio.to_thread(server.start)
        await told("two", 2)
    assert got == [b"one", b"two"]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return key, cert


async def test_tls(certificate: tuple[Path, Path]) -> None:
    key, cert = certificate
    secure = free_port()
    options = ("--tls-port", str(secure), "--tls-cert-file", str(cert), "--tls-key-file", str(key))
    with running_redis(*options, "--tls-ca-cert-file", str(cert), "--tls-auth-clients", "no"):
        async with link_to(f"rediss://127.0.0.1:{secure}?ssl_ca_certs={cert}", timeout_s=1.0) as link:
            await back(link)
        async with link_to(f"rediss://127.0.0.1:{secure}") as link:
            assert not link.up  # no authority signed it


async def test_a_forced_failover_of_sentinel() -> None:
    with redis_sentinels() as ((master, replica), trio):
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in trio)
        async with link_to(f"redis+sentinel://{hosts}/main") as link:
            await back(link)
            trio[0].freeze()  # one Sentinel that hangs does not matter either
            assert await asyncio.to_thread(trio[1].client().execute_command, "SENTINEL", "FAILOVER", "main")
            await until(lambda: replica.client().info("replication")["role"] == "master")
            master.stop()

            def here() -> bool:
                return bool(replica.client().exists("mdcache:v2:{x}second"))

            async with asyncio.timeout(60.0):
                while not here():
                    await until(lambda: link.up)
                    with suppress(RedisDown):
                        await write(link, "{x}second")
            await back(link)
            trio[0].resume()


async def test_a_cluster() -> None:
    with redis_cluster() as servers:
        async with link_to(f"redis+cluster://127.0.0.1:{servers[0].port}") as link:
            await back(link, within_s=60.0)
            for number in range(20):

                def work(client: Any, number: int = number) -> Any:
                    return client.set(f"mdcache:v2:{{{number}}}", b"x")

                await link.call(StoreOp.WRITE, work)
            assert all(int(server.client().dbsize()) for server in servers)
            victim = max(servers, key=lambda server: server.port)
            victim.freeze()
            victim.resume()
            await back(link)
