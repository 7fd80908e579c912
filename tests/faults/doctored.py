"""A daemon whose resolver, clocks and disk a test has in its hands: `python -m tests.faults.doctored FOLDER serve`.

Without root no process can step the machine's clock or take away its resolver; all else is the real thing.
"""

import json
import mmap
import socket
import sqlite3
import struct
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

OFFSETS = struct.Struct("dd")  # seconds that the wall clock, and the clock since boot, are ahead of the machine's
CLOCKS, NAMES, LOOKUPS, DISK = "clocks", "names", "lookups", "disk"  # files of the folder


class Levers:
    """A test's side: what the daemon of this folder is told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.step()
        self.resolve()
        self.slow_disk()
        (folder / LOOKUPS).touch()

    def step(self, wall_s: float = 0.0, boot_s: float = 0.0) -> None:
        """Put the clocks so much ahead; the clock since boot alone is what a suspended machine's timers lose."""
        with (self._folder / CLOCKS).open("r+b" if (self._folder / CLOCKS).exists() else "w+b") as file:
            file.write(OFFSETS.pack(wall_s, boot_s))

    def resolve(self, addresses: tuple[str, ...] = ("127.0.0.1",)) -> None:
        """Give names these addresses; none: they can't be resolved."""
        self._put(NAMES, json.dumps(addresses))

    def slow_disk(self, seconds: float = 0.0) -> None:
        """Let each statement of the row file take so much longer."""
        self._put(DISK, str(seconds))

    def _put(self, name: str, text: str) -> None:
        """Write a file which the daemon may be reading."""
        fresh = self._folder / f"{name}.new"
        fresh.write_text(text)
        fresh.replace(self._folder / name)

    def lookups(self) -> list[tuple[float, str]]:
        """When each connection began to be made, and to which name."""
        lines = (self._folder / LOOKUPS).read_text().splitlines()
        return [(float(at), name) for at, name in (line.split() for line in lines)]


def _take_clocks(folder: Path) -> None:
    file = (folder / CLOCKS).open("rb")
    shared = mmap.mmap(file.fileno(), OFFSETS.size, access=mmap.ACCESS_READ)
    real_time, real_time_ns, real_clock = time.time, time.time_ns, time.clock_gettime

    def clock_gettime(clock: int) -> float:
        return real_clock(clock) + (OFFSETS.unpack(shared)[1] if clock == time.CLOCK_BOOTTIME else 0.0)

    time.time = lambda: real_time() + OFFSETS.unpack(shared)[0]
    time.time_ns = lambda: real_time_ns() + int(OFFSETS.unpack(shared)[0] * 1e9)
    time.clock_gettime = clock_gettime


def _take_resolver(folder: Path) -> None:
    resolve, real_time = uvloop.Loop.getaddrinfo, time.time

    async def getaddrinfo(loop: uvloop.Loop, host: str, port: int, **named: Any) -> list[Any]:
        if not host.endswith(".test"):
            return await resolve(loop, host, port, **named)
        with (folder / LOOKUPS).open("a") as lookups:
            lookups.write(f"{real_time()} {host}\n")
        found = json.loads((folder / NAMES).read_text())
        if not found:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [address for each in found for address in await resolve(loop, each, port, **named)]

    setattr(uvloop.Loop, "getaddrinfo", getaddrinfo)  # noqa: B010 - mypy lets nobody assign a method


def _take_disk(folder: Path) -> None:
    connect = sqlite3.connect

    class Slow(sqlite3.Connection):
        def execute(self, *statement: Any) -> sqlite3.Cursor:
            time.sleep(float((folder / DISK).read_text()))
            return super().execute(*statement)

    def connect_slow(path: Path, **named: Any) -> sqlite3.Connection:
        return connect(path, factory=Slow, **named)

    setattr(sqlite3, "connect", connect_slow)  # noqa: B010 - likewise


if __name__ == "__main__":
    _folder = Path(sys.argv.pop(1))
    _take_resolver(_folder)
    _take_clocks(_folder)
    _take_disk(_folder)

    from mdcache.cli.app import main

    main()
