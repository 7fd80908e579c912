"""Real processes on free loopback ports: the simulated exchange, the daemon, nginx; all gone at the end."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

START_DEADLINE_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def need(program: str, package: str) -> str:
    """The program's path, installing Debian's package where it is missing and we may."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            sys.exit(f"needs {program}: install Debian's package {package}")
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", package], check=True, stdout=subprocess.DEVNULL)
        found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        sys.exit(f"{package} brought no {program}")
    return found


@contextlib.contextmanager
def running(
    command: list[str], url: str, *, env: Mapping[str, str] | None = None, core: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`command`, once `url` answers with anything at all."""
    pinned = [need("taskset", "util-linux"), "-c", str(core), *command] if core is not None else command
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MDCACHE_")}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb+") as log:
        process = subprocess.Popen(
            pinned, env=clean | dict(env or {}), stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
        try:
            _wait(process, url, log)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str, log: object) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, timeout=2.0, trust_env=False)
            return
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)  # type: ignore[attr-defined]
            sys.exit(f"{process.args!r} did not start:\n{log.read().decode(errors='replace')}")  # type: ignore[attr-defined]
        time.sleep(0.05)


@contextlib.contextmanager
def sim(*options: str, core: int | None = None) -> Iterator[str]:
    """The simulated exchange; yields its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mdcache", "sim", "--port", str(port), *options]
    with running(command, f"{url}/_sim/", core=core):
        yield url


@contextlib.contextmanager
def daemon(
    upstream: str, *, core: int | None = None, **settings: str
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The daemon in front of `upstream`, with a folder of its own unless told; yields its URL and process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    names = ("SPOT_URL", "USDM_URL", "COINM_URL")
    env = {f"MDCACHE_{name}": upstream for name in names}
    env |= {"MDCACHE_PORT": str(port), "MDCACHE_EGRESS": "bench", "MDCACHE_LOG_LEVEL": "warning"}
    env |= {f"MDCACHE_{name.upper()}": value for name, value in settings.items()}
    with (
        tempfile.TemporaryDirectory() as folder,
        running(
            [sys.executable, "-m", "mdcache", "serve"],
            f"{url}/healthz",
            env={"MDCACHE_STATE_DIR": folder} | env,
            core=core,
        ) as process,
    ):
        yield url, process


@contextlib.contextmanager
def nginx(upstream: str, *, core: int | None = None, valid: str = "1h") -> Iterator[str]:
    """nginx with `proxy_cache` in front of `upstream`, one worker, as anybody would configure it; yields its URL.

    `valid`: how long it keeps a 200, as nginx writes times.
    """
    program = need("nginx", "nginx-light")
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
        with running([program, "-c", str(config), "-p", folder], f"{url}/api/v3/ping", core=core):
            yield url
