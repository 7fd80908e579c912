"""Run the simulated exchange and the daemon as processes on free loopback ports, and stop them at the end."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import httpx

from mdcache.clock import Clock, SystemClock
from mdcache.errors import MdcacheError

START_DEADLINE_S = 90.0  # on a busy machine
_POLL_S = 0.05
_STOP_TIMEOUT_S = 10.0
_CHILD = (sys.executable, "-m", "mdcache.cli.child")  # ends with this process, however that ends

Process = subprocess.Popen[bytes]


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str], url: str, env: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run `command` for the block, entered once `url` gives any answer; kill its children at the end, too.

    Its environment has no mdcache settings but `env`. Raises `MdcacheError` with its output if it exits, or does not
    answer in time.
    """
    clean = {name: value for name, value in os.environ.items() if not name.upper().startswith("MDCACHE_")}
    with (
        tempfile.TemporaryDirectory() as folder,
        (Path(folder) / "log").open("wb+") as log,
        subprocess.Popen(  # noqa: S603 - only our own commands
            command,
            env=clean | {"NO_PROXY": "127.0.0.1"} | dict(env or {}),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait(process, url, log, SystemClock())
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(process: Process, url: str, log: BinaryIO, clock: Clock) -> None:
    deadline_s = clock.now() + START_DEADLINE_S
    while clock.now() < deadline_s:
        with suppress(httpx.TransportError):
            httpx.get(url, timeout=2.0, trust_env=False)
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
            break
    log.seek(0)
    raise MdcacheError(f"{process.args!r} did not start:\n{log.read().decode(errors='replace')}")


@contextmanager
def sim(*options: str, prefix: Sequence[str] = ()) -> Iterator[str]:
    """Run the simulated exchange with these options; yield its URL. `prefix` comes before the command."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*prefix, *_CHILD, "sim", "--port", str(port), *options]
    with running(command, f"{url}/_sim/"):
        yield url


def stream_settings(exchange: str) -> dict[str, str]:
    """Return the settings by which a daemon uses the streams of the simulated exchange at this URL."""
    base = exchange.replace("http", "ws", 1)
    return {"spot_ws_url": base, "usdm_ws_url": f"{base}/usdm", "coinm_ws_url": f"{base}/coinm"}


@contextmanager
def daemon(upstream: str, *, prefix: Sequence[str] = (), **settings: str) -> Iterator[tuple[str, Process]]:
    """Run the daemon in front of `upstream`, by default with its own state directory; yield URL and process.

    It has no streams unless `settings` has those of `stream_settings`. `prefix` comes before the command.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    names = ("SPOT_URL", "USDM_URL", "COINM_URL")
    env = {f"MDCACHE_{name}": upstream for name in names}
    env |= {"MDCACHE_PORT": str(port), "MDCACHE_EGRESS": "bench", "MDCACHE_LOG_LEVEL": "warning"}
    env |= {f"MDCACHE_{name.upper()}": value for name, value in settings.items()}
    command = [*prefix, *_CHILD, "serve"]
    with (
        tempfile.TemporaryDirectory() as folder,
        running(command, f"{url}/healthz", {"MDCACHE_STATE_DIR": folder} | env) as process,
    ):
        yield url, process
