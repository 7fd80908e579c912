"""Counters and histograms as plain integers in dicts: what counting costs on the way of a request.

Label values come from closed sets; `ClosedSet` turns anything unforeseen into `other`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

OTHER = "other"


class ClosedSet:
    """A closed set of label values."""

    __slots__ = ("_values",)

    def __init__(self, values: Iterable[str]) -> None:
        self._values = frozenset(values) | {OTHER}

    def __call__(self, value: str) -> str:
        """`value`, or `other`."""
        return value if value in self._values else OTHER


class Counter:
    """A count for each combination of label values."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, labels: tuple[str, ...], count: int = 1) -> None:
        """Count `count` more; the values must be from closed sets already."""
        self._counts[labels] = self._counts.get(labels, 0) + count

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], int]]:
        return iter(self._counts.items())


class Histogram:
    """Observations in buckets for each combination of label values; `bounds` are upper ends, rising."""

    __slots__ = ("_cells", "bounds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._cells: dict[tuple[str, ...], Cell] = {}

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """One observation."""
        self.cell(labels).observe(value)

    def cell(self, labels: tuple[str, ...]) -> "Cell":
        """The observations of one combination."""
        cell = self._cells.get(labels)
        if cell is None:
            cell = self._cells[labels] = Cell(self.bounds)
        return cell

    def __iter__(self) -> Iterator[tuple[tuple[str, ...], "Cell"]]:
        return iter(self._cells.items())


class Cell:
    """Observations of one combination of label values."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """One observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Buckets as Prometheus wants them: upper end, and how many are at or below it."""
        running = 0
        listed: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            listed.append((bound, float(running)))
        return listed
