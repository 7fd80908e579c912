"""Real redis-servers on free ports of this machine, started, stopped, frozen and killed by tests."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import redis

from tests.support.programs import find
from tests.support.waiting import eventually

_numbers = itertools.count(os.getpid())


def free_port() -> int:
    """Return a free port whose cluster bus port, 10,000 above it, is free, too.

    Both lie below those that the system gives to clients, so that a server that stopped finds its port free again; each
    process of the suite has a thousand of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 11_000 + worker % 10 * 1_000 + next(_numbers) % 1_000
        with socket.socket() as first, socket.socket() as bus:
            try:
                first.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port


class RedisServer:
    """One redis-server, or one that speaks as it (`redis-sentinel`), in a folder of its own."""

    def __init__(self, *options: str, port: int | None = None, program: str = "redis-server", config: str = "") -> None:
        found = find(program)
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="mdcache-redis-"))
        self._program = found
        self._options = options
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self, password: str | None = None) -> Any:
        return redis.Redis(host="127.0.0.1", port=self.port, password=password, socket_timeout=5.0, protocol=2)

    def start(self) -> None:
        command = [self._program]
        if self._config:
            path = self.folder / "sentinel.conf"
            path.write_text(self._config)
            command.append(str(path))
        command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), *self._options]
        if not self._config:
            command += ["--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self.listens)

    def list_keys(self, pattern: str = "*") -> list[str]:
        """Return the keys that match."""
        with self.client() as client:
            return [key.decode() for key in client.scan_iter(pattern, count=1_000)]

    def holds(self, symbol: str, interval: str) -> bool:
        """Whether a series is here."""
        return any(key.endswith("h") and f"/{symbol}//{interval}/" in key for key in self.list_keys())

    def subscribers(self) -> int:
        """Return the number of connections that wait for messages."""
        with self.client() as client:
            return len(client.client_list(_type="pubsub"))

    def listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """At once, with nothing kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def running_redis(*options: str, **more: str) -> Iterator[RedisServer]:
    """A server that runs."""
    server = RedisServer(*options, **more)  # type: ignore[arg-type] # `program` and `config` only
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def redis_cluster(masters: int = 3, *, whole: bool = True) -> Iterator[list[RedisServer]]:
    """A small cluster whose every slot is served; `whole`: it serves none while one slot has no owner."""
    coverage = "yes" if whole else "no"
    options = (
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "2000",
        "--cluster-require-full-coverage",
        coverage,
    )
    with ExitStack() as stack:
        servers = [stack.enter_context(running_redis(*options)) for _ in range(masters)]
        step = 16_384 // masters + 1
        for index, server in enumerate(servers):
            first, last = index * step, min(16_383, (index + 1) * step - 1)
            with server.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        eventually(lambda: _met(servers))
        yield servers


def _met(servers: list[RedisServer]) -> bool:
    """Let each meet each, and see whether that made a cluster; on a busy machine a meeting may come to nothing."""
    for index, server in enumerate(servers):
        with server.client() as client:
            for other in servers[:index]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port)
    with suppress(AssertionError):
        eventually(lambda: all(_formed(server, len(servers)) for server in servers), 5.0)
        return True
    return False


def _formed(server: RedisServer, masters: int) -> bool:
    with server.client() as client:
        slots: Any = client.execute_command("CLUSTER", "SLOTS")
        state = str(client.execute_command("CLUSTER", "INFO"))  # its `cluster_slots_ok` says nothing
        return len(slots) == masters and ("cluster_state:ok" in state or "'cluster_state': 'ok'" in state)


@contextmanager
def redis_sentinels(service: str = "main") -> Iterator[tuple[list[RedisServer], list[RedisServer]]]:
    """(the primary and its replica, three Sentinels that agree on the primary)."""
    with ExitStack() as stack:
        master = stack.enter_context(running_redis())
        replica = stack.enter_context(running_redis("--replicaof", "127.0.0.1", str(master.port)))
        config = (
            f"sentinel monitor {service} 127.0.0.1 {master.port} 2\n"
            f"sentinel down-after-milliseconds {service} 1000\nsentinel failover-timeout {service} 5000\n"
        )
        trio = [stack.enter_context(running_redis(program="redis-sentinel", config=config)) for _ in range(3)]
        for server in trio:
            eventually(partial(_agrees, server, service))
        yield [master, replica], trio


def _agrees(server: RedisServer, service: str) -> bool:
    with server.client() as client:
        found: Any = client.sentinel_master(service)
        return bool(found["num-other-sentinels"] >= 2 and found["num-slaves"] >= 1)
