"""What can go wrong with the daemon's own process and machine."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.bench import FaultBench
from tests.faults.row import Row

_HOUR_S = 3_600.0


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
    with limited(bench, resource.RLIMIT_NOFILE, bench.daemon.descriptors()):
        yield


@contextmanager
def without_memory(bench: FaultBench) -> Iterator[None]:
    pages = int(Path(f"/proc/{bench.daemon.pid}/statm").read_text().split()[0])
    with limited(bench, resource.RLIMIT_AS, pages * resource.getpagesize()):
        yield


PROCESS = (
    Row("stopped (SIGSTOP)", stopped, late=True, long_s=90.0),
    Row("no descriptor left", without_descriptors),
    Row("no memory left (`RLIMIT_AS`)", without_memory),
)
