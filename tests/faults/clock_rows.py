"""Clocks that jump, and a machine that sleeps: rows with an exchange of their own, whose clock goes on."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.faults.bench import FaultBench
from tests.faults.row import Row
from tests.faults.status_rows import REGION, reply
from tests.faults.upstream_rows import broken, said

HOUR_S = 3_600.0
_BANNED = broken(said(reply(418, Retry_After="1800")))


def stepped(seconds: float) -> Callable[[FaultBench], AbstractContextManager[None]]:
    """The machine's wall clock alone jumps, and at the end jumps back."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        bench.step(wall_s=seconds)
        yield
        bench.step(wall_s=-seconds)

    return fault


@contextmanager
def suspended(bench: FaultBench) -> Iterator[None]:
    """For an hour, of which no timer knows."""
    bench.suspend(HOUR_S)
    yield


def suspended_while(
    refused: Callable[[FaultBench], AbstractContextManager[None]],
) -> Callable[[FaultBench], AbstractContextManager[None]]:
    """The exchange refuses for less than an hour, all of which the machine sleeps through."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        with refused(bench):
            yield
        bench.suspend(HOUR_S + 60.0)

    return fault


CLOCKS = (
    Row("wall clock an hour ahead, then back", stepped(HOUR_S), unnoticed=True),
    Row("wall clock an hour behind, then back", stepped(-HOUR_S), unnoticed=True),
    Row("the machine sleeps for an hour", suspended),
    Row("… in a ban of half an hour", suspended_while(_BANNED)),
    Row("… after a 451", suspended_while(REGION)),
)
