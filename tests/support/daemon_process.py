"""The real daemon as a process that tests kill, stop and start again; and a wire to Redis that is slow on purpose."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.support.redis_servers import free_port
from tests.support.waiting import PATIENCE_S, eventually


class DaemonProcess:
    """`mdcache serve` in front of `exchange`, on one port and one folder through all its starts."""

    def __init__(self, exchange: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = tempfile.TemporaryDirectory(prefix="mdcache-daemon-")
        self.folder = self._folder.name
        self._log = Path(self.folder) / "log"
        names = ("SPOT_URL", "USDM_URL", "COINM_URL")
        self._env = {f"MDCACHE_{name}": exchange for name in names}
        self._env |= {"MDCACHE_PORT": str(self.port), "MDCACHE_STATE_DIR": f"{self.folder}/state"}
        self._env |= {"MDCACHE_EGRESS": "tests", "MDCACHE_SHUTDOWN_GRACE_S": "1"}
        self._env |= {f"MDCACHE_{name.upper()}": value for name, value in settings.items()}
        self._command = [sys.executable, "-m", "mdcache", "serve"]
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(base_url=self.url, timeout=20.0, trust_env=False)

    def start(self, *, wait: bool = True) -> None:
        """It runs; with `wait` it answers too."""
        env = dict(os.environ) | self._env
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=env, stdout=log, stderr=log, cwd=self.folder)
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        eventually(self._lives)

    def _lives(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        with suppress(httpx.TransportError):
            return self._client.get("/healthz").status_code == 200
        return False

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """With -9."""
        self.signal(signal.SIGKILL)
        self._ended()

    def _ended(self) -> None:
        if self._process is not None:
            self._process.wait(30.0)
            self._process = None

    def close(self) -> None:
        """In order; with it goes what it kept."""
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            self._ended()
        self._client.close()
        self._folder.cleanup()

    # ------------------------------------------------------------------------- what it shows

    def get(self, target: str, **headers: str) -> httpx.Response:
        """One answer, whatever its status."""
        return self._client.get(target, headers=headers)

    def post(self, target: str, body: object, headers: dict[str, str]) -> httpx.Response:
        """One order."""
        return self._client.post(target, json=body, headers=headers)

    def redis(self) -> dict[str, Any]:
        """What `/v1/status` says of Redis."""
        found: dict[str, Any] = self.get("/v1/status").json()["stores"]["redis"]
        return found

    def redis_is_up(self) -> bool:
        """Whether the circuit is closed."""
        return bool(self.redis()["state"] == "ok")

    def budget_modes(self) -> set[str]:
        """How the families' budgets are kept."""
        return {family["mode"] for family in self.redis()["families"].values()}

    def metric(self, line: str) -> float:
        """Return the value of the series with this text; 0 if there is none yet."""
        lines = self.get("/metrics").text.splitlines()
        return next((float(each.rpartition(" ")[2]) for each in lines if each.rpartition(" ")[0] == line), 0.0)

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """What it logged, or of it what was logged as `event`."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [line for line in lines if event in {"", line["event"]}]

    def redis_states(self) -> list[str]:
        """States of Redis, as logged."""
        return [line["state"] for line in self.lines("store_state") if line["tier"] == "redis"]


class SlowProxy:
    """A port that passes bytes on to 127.0.0.1:`port`, and what comes back `delay_s` later."""

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self._to = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._ends = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        self._door.settimeout(0.1)
        while not self._ends.is_set():
            try:
                inner, _ = self._door.accept()
            except TimeoutError:
                continue
            try:
                outer = socket.create_connection(("127.0.0.1", self._to))
            except OSError:  # nothing listens there
                inner.close()
            else:
                self._open += [inner, outer]
                for here, there, slow in ((inner, outer, False), (outer, inner, True)):
                    thread = threading.Thread(target=self._pass, args=(here, there), kwargs={"slow": slow}, daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, here: socket.socket, there: socket.socket, *, slow: bool) -> None:
        """Until either side ends."""
        with suppress(OSError):
            while not self._ends.is_set():
                if not select.select([here], [], [], 0.1)[0]:
                    continue
                data = here.recv(1 << 16)
                if not data:
                    break
                if slow:
                    self._ends.wait(self.delay_s)
                there.sendall(data)
        for each in (here, there):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all connections."""
        self._ends.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(PATIENCE_S)
        for each in (self._door, *self._open):
            each.close()


class ColdLoad:
    """A thread for each daemon that asks new questions, from its start until it is closed.

    `page`: the path and query of a question, whose `{start}` is filled in.
    """

    def __init__(self, daemons: list[DaemonProcess], page: str, *, step_ms: int, pause_s: float = 0.1) -> None:
        self.statuses: list[int] = []
        self._page = page
        self._step_ms = step_ms
        self._pause_s = pause_s
        self._from_ms = int(time.time()) // 60 * 60_000 - 2 * step_ms
        self._next = 0
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(each,), daemon=True) for each in daemons]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _ask(self, daemon: DaemonProcess) -> None:
        with httpx.Client(base_url=daemon.url, timeout=15.0, trust_env=False) as client:
            while not self._ends.is_set():
                with self._lock:
                    self._next += 1
                    start = self._from_ms - self._next * self._step_ms
                with suppress(httpx.TransportError):  # it was killed, or stopped for long
                    self.statuses.append(client.get(self._page.format(start=start)).status_code)
                self._ends.wait(self._pause_s)

    def close(self) -> None:
        self._ends.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(PATIENCE_S)
