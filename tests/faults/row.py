"""A row of the matrix: a fault, and what is excused under it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.faults.bench import FaultBench


@dataclass(frozen=True, slots=True)
class Row:
    """A fault: a block in which it lasts.

    `unnoticed`: it changes no answer. `stated_s`: each refusal says that nothing may be asked for so long. `late_s`: by
    so much answers may be late. `long`: it runs in `make faults` alone.
    """

    name: str
    fault: Callable[[FaultBench], AbstractContextManager[None]]
    unnoticed: bool = False
    stated_s: float = 0.0
    late_s: float = 0.0
    long: bool = False
