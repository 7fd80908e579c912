"""A read's priority in the queue: its lane, and its order there."""

from dataclasses import dataclass
from enum import StrEnum


class Lane(StrEnum):
    """The lanes, best first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 is the best."""
        return _RANK[self]


_RANK = {lane: rank for rank, lane in enumerate(Lane)}


@dataclass(slots=True)
class Priority:
    """A read's priority. Its flight may improve it until it is sent.

    `deadline_s`: when its last waiter gives up, by the clock's `now()`; `math.inf` is allowed. `close_passed`: it reads
    a tail whose candle has closed. `paced`: it refreshes a tail we hold (docs/design.md#pacing). `address`: by which a
    client without a name takes turns.
    """

    lane: Lane
    deadline_s: float
    client: str = ""
    close_passed: bool = False
    paced: bool = False
    address: str = ""
