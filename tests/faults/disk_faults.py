"""What can go wrong with the folder in which the daemon keeps what it knows."""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.faults.bench import FaultBench
from tests.faults.case import Case, Fault

_SMALL = "mount -t tmpfs -o size=2m tmpfs {state}"
_READ_ONLY = "mount --bind {state} {state} && mount -o remount,bind,ro {state}"
_STATEMENT_S = 0.5


@contextmanager
def full(bench: FaultBench) -> Iterator[None]:
    daemon = bench.daemon
    daemon.kill()
    daemon.start(mount=_SMALL)
    ballast = daemon.seen(daemon.state) / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4_096)):
            pass
    assert not shutil.disk_usage(ballast).free
    yield
    ballast.unlink()


@contextmanager
def read_only(bench: FaultBench) -> Iterator[None]:
    bench.daemon.kill()
    bench.daemon.start(mount=_READ_ONLY)
    yield
    bench.daemon.kill()
    bench.daemon.start()


@contextmanager
def removed(bench: FaultBench) -> Iterator[None]:
    shutil.rmtree(bench.daemon.state)
    yield


def rewritten(change: Callable[[bytes], bytes]) -> Fault:
    """It was killed, and finds all of its files so."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        bench.daemon.kill()
        for path in [each for each in bench.daemon.state.rglob("*") if each.is_file()]:
            path.write_bytes(change(path.read_bytes()))
        bench.daemon.start()
        yield

    return fault


@contextmanager
def slow(bench: FaultBench) -> Iterator[None]:
    bench.levers.slow_disk(_STATEMENT_S)
    yield
    bench.levers.slow_disk()


def _halved(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _noise(data: bytes) -> bytes:
    return random.Random(len(data)).randbytes(len(data))


def _sprinkled(data: bytes) -> bytes:
    """Wrong in one byte of a thousand, but for the first page, by which the file is known."""
    rng, changed = random.Random(len(data)), bytearray(data)
    for at in range(4_096, len(data), 1_000):
        changed[at + rng.randrange(min(1_000, len(data) - at))] ^= 1 << rng.randrange(8)
    return bytes(changed)


DISK = (
    Case("Disk: full", full, down=True),
    Case("Disk: read-only at the start", read_only, down=True, long=True),
    Case("Disk: the folder removed", removed, unnoticed=True, long=True),
    Case("Disk: noise in every file at the start", rewritten(_noise), down=True, long=True),
    Case("Disk: half of every file at the start", rewritten(_halved), down=True, long=True),
    Case("Disk: wrong bits at the start", rewritten(_sprinkled), down=True, long=True),
    Case("Disk: each statement takes 0.5 s", slow, unnoticed=True, long=True),
)
