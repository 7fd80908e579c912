"""What a soak runs on: the simulated exchange, Redis, three replicas and a balancer, all of which can be broken."""

import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from bench.processes import free_port, running, sim
from bench.stack import CONFIG, REPLICAS
from mdcache.replay.processes import stream_settings
from tests.support.daemon_process import DaemonProcess
from tests.support.programs import find
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.waiting import eventually

SHARE = 0.5
_ROOT = Path(__file__).parents[2]
_OBSERVER = {"x-sim-client": "soak"}  # our own requests are charged to another address
_WIRE = """defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen wire
    bind 127.0.0.1:{port}
    server exchange {to}
"""


class Wire:
    """A port before the exchange at `url`, which all daemons ask; it can be cut, and go still."""

    def __init__(self, url: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = tempfile.TemporaryDirectory(prefix="mdcache-wire-")
        self._config = Path(self._folder.name) / "haproxy.cfg"
        self._config.write_text(_WIRE.format(port=self.port, to=urlsplit(url).netloc))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        command = [find("haproxy"), "-db", "-f", str(self._config)]
        self._process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        eventually(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.cut()
        self._folder.cleanup()


class SimulatedExchange:
    """What the exchange is told by whom it does not count."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, headers=_OBSERVER, timeout=60.0, trust_env=False)

    def act(self, action: str, **body: object) -> None:
        """One order to it (docs/sim.md)."""
        self._client.post(f"/_sim/{action}", json=body).raise_for_status()

    def warm(self, path: str, query: str) -> None:
        """Let it compute what is to be asked."""
        self._client.get(f"{path}?{query}").raise_for_status()

    def close(self) -> None:
        self._client.close()


class Replica(DaemonProcess):
    """One daemon, with a count of its tasks."""

    def __init__(self, name: str, exchange: str, redis_url: str) -> None:
        shared = {"redis_url": redis_url, "replicas": str(REPLICAS), "weight_share": str(SHARE)}
        busy = {"redis_timeout_s": "1", "shutdown_grace_s": "5"}  # this machine may have other work
        super().__init__(exchange, **busy, **shared, **stream_settings(exchange))
        self.name = name
        self._tasks = Path(self.folder) / "tasks"
        self._command = [sys.executable, "-m", "bench.soak.counted_daemon", str(self._tasks)]
        self._env |= {"PYTHONPATH": str(_ROOT), "NO_PROXY": "127.0.0.1"}

    @property
    def log(self) -> Path:
        return self._log

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """In order, by SIGTERM."""
        self.signal(signal.SIGTERM)
        self._ended()

    def figures(self) -> dict[str, Any]:
        """What the system knows of it; empty if it does not run."""
        if not self.is_running():
            return {}
        assert self._process is not None
        pid = self._process.pid
        place = Path(f"/proc/{pid}")
        with suppress(OSError):
            pages = int((place / "statm").read_text().split()[1])
            status = dict(line.split(":\t", 1) for line in (place / "status").read_text().splitlines())
            used = (place / "stat").read_text().rpartition(")")[2].split()
            return {
                "pid": pid,
                "rss_mb": round(pages * resource.getpagesize() / 1e6, 2),
                "fds": len(list((place / "fd").iterdir())),
                "threads": int(status["Threads"]),
                "cpu_s": (int(used[11]) + int(used[12])) / 100,
                "tasks": int(self._tasks.read_text() or 0) if self._tasks.exists() else 0,  # 0: it is being written
            }
        return {}


class Parts:
    """All of it."""

    def __init__(
        self, exchange: SimulatedExchange, wire: Wire, redis: RedisServer, replicas: list[Replica], front: str
    ) -> None:
        self.exchange = exchange
        self.wire = wire
        self.redis = redis
        self.replicas = replicas
        self.front = front


@contextmanager
def running_parts() -> Iterator[Parts]:
    """Run everything."""
    with ExitStack() as stack:
        exchange = stack.enter_context(closing(SimulatedExchange(stack.enter_context(sim()))))
        wire = stack.enter_context(closing(Wire(exchange.url)))
        wire.start()
        redis = stack.enter_context(running_redis())
        names = [f"replica {n + 1}" for n in range(REPLICAS)]
        replicas = [stack.enter_context(closing(Replica(name, wire.url, redis.url))) for name in names]
        for each in replicas:
            each.start()
        bind = f"127.0.0.1:{free_port()}"
        env = {f"REPLICA_{n}": f"127.0.0.1:{each.port}" for n, each in enumerate(replicas, 1)}
        command = [find("haproxy"), "-db", "-f", str(CONFIG)]
        stack.enter_context(running(command, f"http://{bind}/healthz", env=env | {"BIND": bind}))
        yield Parts(exchange, wire, redis, replicas, f"http://{bind}")
