"""A case of the matrix: a fault, and what is excused under it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.faults.bench import FaultBench

Fault = Callable[[FaultBench], AbstractContextManager[None]]  # a block in which it lasts


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and what is excused under it.

    `unnoticed`: it changes no answer. `stated_s`: each refusal says that nothing may be asked for so long;
    `until_minute`: until the next minute. `late`: while it lasts nothing is answered; `down`: and nobody listens.
    `lossy`: frames are lost of which nobody can know. `long`: it runs in `make faults` alone; `long_s`: how long it
    lasts there, if not as long as others.
    """

    name: str
    fault: Fault
    unnoticed: bool = False
    stated_s: float = 0.0
    until_minute: bool = False
    late: bool = False
    down: bool = False
    lossy: bool = False
    long: bool = False
    long_s: float | None = None
