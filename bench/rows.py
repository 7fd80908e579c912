"""One row of `docs/performance.md`: what was measured, and whether the aim was met."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Aim:
    """What a figure should be: at least, or at most, so much."""

    limit: float
    at_most: bool = False
    unit: str = ""

    def met(self, measured: float) -> bool:
        return measured <= self.limit if self.at_most else measured >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}{self.unit}"


@dataclass(frozen=True)
class Row:
    """`what` was measured, against what; `said`: the figures behind it. Without an aim it is there to compare."""

    what: str
    measured: float
    aim: Aim | None
    said: str

    @property
    def verdict(self) -> str:
        """Whether the aim was met."""
        if self.aim is None:
            return ""
        return "met" if self.aim.met(self.measured) else "**missed**"

    @property
    def figure(self) -> str:
        """The measured figure with its unit."""
        unit = self.aim.unit if self.aim else ""
        return f"{self.measured:.3g}{unit}" if unit else f"{self.measured:.2f}"

    def line(self) -> str:
        """One line for a terminal."""
        aim = f" (aim {self.aim}: {self.verdict.strip('*')})" if self.aim else ""
        return f"{self.what}: {self.figure}{aim}; {self.said}"

    def markdown(self) -> str:
        """One row of the table."""
        return f"| {self.what} | {self.figure} | {self.aim or ''} | {self.verdict} | {self.said} |"


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """The median of the ratios of each round: what disturbs the machine for a round disturbs both sides of it."""
    return statistics.median(a / b for a, b in pairs)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
