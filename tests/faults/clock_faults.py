"""Clocks that jump, and a machine that sleeps: faults with an exchange of their own, whose clock goes on."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.bench import FaultBench
from tests.faults.case import Case, Fault
from tests.faults.status_faults import REGION, reply
from tests.faults.upstream_faults import broken, said

HOUR_S = 3_600.0
_BANNED = broken(said(reply(418, Retry_After="1800")))


def stepped(seconds: float) -> Fault:
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
    refused: Fault,
) -> Fault:
    """The exchange refuses for less than an hour, all of which the machine sleeps through."""

    @contextmanager
    def fault(bench: FaultBench) -> Iterator[None]:
        with refused(bench):
            yield
        bench.suspend(HOUR_S + 60.0)

    return fault


CLOCKS = (
    Case("wall clock an hour ahead, then back", stepped(HOUR_S), unnoticed=True),
    Case("wall clock an hour behind, then back", stepped(-HOUR_S), unnoticed=True),
    Case("the machine sleeps for an hour", suspended),
    Case("… in a ban of half an hour", suspended_while(_BANNED)),
    Case("… after a 451", suspended_while(REGION)),
)
