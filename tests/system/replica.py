"""A whole daemon in this process, on a network, a disk and a Redis that fail: all parts of mdcache/daemon/build.py."""

import errno
import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, cast

from mdcache.cache.idle_blocks import IdleBlocks
from mdcache.stores import block_codec
from mdcache.stores.redis.setup import RedisParts
from tests.support.disk_row_store import SqliteFault
from tests.support.served_daemon import ServedDaemon
from tests.support.virtual_daemon import DaemonOptions, InlineExecutor
from tests.system.lives import Life
from tests.system.network import Network, WatchedStreams, WatchedTransport
from tests.system.shared_redis import SharedRedis
from tests.system.wire import Doors

_IN_USE_BYTES = 1_000_000
_MOST_TASKS = 1_000
SERVER_LOG = logging.getLogger("uvicorn.error")


class Disk:
    """A replica's folder. `full`: nothing can be written; it can still be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = SqliteFault("database or disk is full")

    @property
    def full(self) -> bool:
        return self.rows.times > 0

    def fill(self) -> None:
        self.rows.strike(0, 1 << 40)

    def empty(self) -> None:
        self.rows.strike(0, 0)


class _FileExecutor(InlineExecutor):
    """Writes small files, unless the disk is full."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        if not self._disk.full:
            return super().submit(fn, *args, **kwargs)
        future: Future[Any] = Future()
        future.set_exception(OSError(errno.ENOSPC, "No space left on device"))
        return future


class Replica(ServedDaemon):
    """One daemon: started, killed, stopped in order, and started again.

    `number`: of this replica, from 0 on. `started_s`: when its process started.
    """

    def __init__(
        self,
        number: int,
        options: DaemonOptions,
        network: Network,
        *,
        disk: Disk | None,
        shared: SharedRedis | None,
        **world: Any,
    ) -> None:
        self.number = number
        self.network = network
        self.disk = disk
        self.shared = shared
        self.life = Life()
        self.started_s = 0.0
        if disk is None:
            super().__init__(options=options, **world)
        else:
            super().__init__(options=options, folder=disk.folder, connect=disk.rows.connect, **world)

    def thread(self, name: str) -> Executor:
        return InlineExecutor() if self.disk is None or name == "rows" else _FileExecutor(self.disk)

    def restart(self) -> None:
        """Start a new process; what it is to do of its own accord, `start` has it do."""
        self.life = Life()
        self.life.run(self._restart)

    def _restart(self) -> None:
        self.events.clear()
        self.transport = WatchedTransport(self.exchange, self.clock, self.network, self.life)
        self.net = WatchedStreams(self.exchange, self.clock, self.network, self.life)
        if self.shared is not None:
            parts = self.shared.parts(self.number, self.life, returning=self.disk is not None)
            self.redis = cast("RedisParts", parts)  # as far as daemons look at it
            self.row_store, self.body_store = parts.rows, parts.bodies
        super().restart()
        self.idle_blocks = IdleBlocks(self.cache.registry, block_codec, InlineExecutor(), self.clock, self.bus)
        self.doors = Doors(self.app, self.handshakes, self.life)

    async def start(self) -> None:
        """Start what works of its own accord."""
        self.started_s = self.clock.now()
        await self.life.task(self.governor.start())
        self.life.run(self.cache.exchange_info.start)
        self.life.run(self.idle_blocks.start)

    async def kill(self) -> None:
        """End the process without a word: what was not written by now never is."""
        self.runs = False
        SERVER_LOG.disabled = True  # requests that end with the process are no news
        await self.life.end()
        SERVER_LOG.disabled = False
        self.doors.cut()
        if self.shared is not None:
            self.shared.forget(self.number)
        for connection in self.net.open:
            connection.ended_s = self.clock.now()
        if self.state.disk is not None:
            self.state.disk._file.close()

    async def aclose(self) -> None:
        """End in order, as after SIGTERM, with clients that have no more questions."""
        if self.runs:
            self.runs = False
            await self.life.task(self._aclose())
            SERVER_LOG.disabled = True
            await self.life.end()
            SERVER_LOG.disabled = False
            self.doors.cut()

    async def _aclose(self) -> None:
        self.app.drain(1.0)
        await self.clock.sleep(1.0)
        self.runs = True
        await self.idle_blocks.aclose()
        await super().aclose()

    def flaps(self, family: str) -> bool:
        """Return whether a family was refused again soon after it had reopened."""
        saved: Any = self.governor.saved_state("")[family]
        return int(saved["gate"]["flaps"]) > 1

    def memory(self) -> dict[str, float]:
        """Return what must stay bounded, each as a part of its bound."""
        memory = self.cache.registry.memory
        held = max(0, memory.held_bytes - _IN_USE_BYTES)  # what is being asked for is not dropped
        return {"bytes": held / memory.max_bytes, "tasks": len(self.life.tasks) / _MOST_TASKS}
