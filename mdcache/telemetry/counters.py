"""Fast counters for hits: plain integers, a microsecond per request. All other metrics use prometheus_client's."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

OTHER = "other"


class ClosedSet:
    """A closed set of label values."""

    __slots__ = ("_values",)

    def __init__(self, values: Iterable[str]) -> None:
        self._values = frozenset(values) | {OTHER}

    def __call__(self, value: str) -> str:
        """Return `value`, or `other`."""
        return value if value in self._values else OTHER


class Cell:
    """One histogram: observations in buckets, whose `bounds` are upper ends, rising."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return Prometheus' buckets: each upper end, and the number of observations at or below it."""
        running = 0
        listed: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            running += count
            listed.append((bound, float(running)))
        return listed
