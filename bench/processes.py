"""Those of `mdcache.replay.processes` pinned to a core, and nginx."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mdcache.replay import processes
from mdcache.replay.processes import Process, free_port, running
from tests.support.programs import find

__all__ = [
    "Process",
    "bare",
    "busy_exchange",
    "cpu_s",
    "daemon",
    "free_port",
    "nginx",
    "running",
    "sim",
    "watched_daemon",
]

_ROOT = Path(__file__).parents[1]

Served = tuple[str, Process]


@contextlib.contextmanager
def sim(*options: str, core: int | None = None) -> Iterator[str]:
    """Run the simulated exchange, on one core if given; yield its URL."""
    with processes.sim(*options, prefix=_pinned(core)) as url:
        yield url


@contextlib.contextmanager
def daemon(upstream: str, *, core: int | None = None, **settings: str) -> Iterator[Served]:
    """Run the daemon in front of `upstream`, on one core if given; yield its URL and process."""
    with processes.daemon(upstream, prefix=_pinned(core), **settings) as found:
        yield found


def _pinned(core: int | None) -> list[str]:
    return [find("taskset"), "-c", str(core)] if core is not None else []


@contextlib.contextmanager
def watched_daemon(upstream: str, held: Path, *, core: int, **settings: str) -> Iterator[Served]:
    """Run the daemon on one core by `bench.watched_daemon`, which fills the file `held` at its end."""
    command = [sys.executable, "-m", "bench.watched_daemon", str(held)]
    with processes.daemon(
        upstream, prefix=["env", f"PYTHONPATH={_ROOT}", *_pinned(core), *command], **settings
    ) as found:
        yield found


@contextlib.contextmanager
def busy_exchange(symbols: int, *, core: int, module: str = "bench.busy_exchange") -> Iterator[str]:
    """Run `bench.busy_exchange`, or another module like it, on one core; yield its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*_pinned(core), sys.executable, "-m", module, str(port), str(symbols)]
    with running(command, f"{url}/api/v3/ping", {"PYTHONPATH": str(_ROOT)}):
        yield url


def cpu_s(process: Process) -> float:
    """CPU seconds that a process and its children have used, to the nanosecond."""
    pids = [process.pid]
    for pid in pids:
        pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextlib.contextmanager
def bare(response: Path, *, core: int | None = None) -> Iterator[Served]:
    """Run `bench.bare` with the response in this file; yield its URL and process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [*_pinned(core), sys.executable, "-m", "bench.bare", str(port), str(response)]
    with running(command, url, {"PYTHONPATH": str(_ROOT)}) as process:
        yield url, process


@contextlib.contextmanager
def nginx(upstream: str, *, core: int | None = None, valid: str = "1h") -> Iterator[Served]:
    """Run nginx with `proxy_cache` in front of `upstream`, one worker, in a usual configuration; yield URL and process.

    `valid`: how long it keeps a 200, as nginx writes times.
    """
    program = find("nginx")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        config = Path(folder) / "nginx.conf"
        config.write_text(
            f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
user root;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  proxy_cache_path {folder}/cache keys_zone=candles:10m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {upstream}; proxy_cache candles; proxy_cache_valid 200 {valid}; proxy_cache_lock on;
      proxy_ignore_headers Cache-Control Expires Set-Cookie Vary; add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""
        )
        url = f"http://127.0.0.1:{port}"
        with running([*_pinned(core), program, "-c", str(config), "-p", folder], f"{url}/api/v3/ping") as process:
            yield url, process
