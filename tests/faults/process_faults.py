"""What can go wrong with the daemon's own process and machine."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.bench import FaultBench
from tests.faults.case import Case

_DESCRIPTORS = 8  # fewer than it has
_SPARE_BYTES = 24_000_000


@contextmanager
def stopped(bench: FaultBench) -> Iterator[None]:
    bench.daemon.signal(signal.SIGSTOP)
    yield
    bench.daemon.signal(signal.SIGCONT)


@contextmanager
def limited(bench: FaultBench, what: int, value: int) -> Iterator[None]:
    """A limit of the process is lowered while it runs."""
    soft, hard = resource.prlimit(bench.daemon.pid, what)
    resource.prlimit(bench.daemon.pid, what, (value, hard))
    yield
    resource.prlimit(bench.daemon.pid, what, (soft, hard))


@contextmanager
def without_descriptors(bench: FaultBench) -> Iterator[None]:
    bench.wire.drop()
    with limited(bench, resource.RLIMIT_NOFILE, _DESCRIPTORS):
        yield


@contextmanager
def without_memory(bench: FaultBench) -> Iterator[None]:
    pages = int(Path(f"/proc/{bench.daemon.pid}/statm").read_text().split()[0])
    with limited(bench, resource.RLIMIT_AS, pages * resource.getpagesize() + _SPARE_BYTES):
        yield


@contextmanager
def killed(bench: FaultBench) -> Iterator[None]:
    """As when all memory is gone; somebody starts it again."""
    bench.daemon.kill()
    yield
    bench.daemon.start(wait=False)


PROCESS = (
    Case("stopped (SIGSTOP)", stopped, late=True, long_s=90.0),
    Case("no descriptor left", without_descriptors),
    Case("hardly any memory (`RLIMIT_AS`)", without_memory),
    Case("killed (SIGKILL), started again", killed, late=True, down=True),
)
