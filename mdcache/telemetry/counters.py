"""Fast counters for hits: plain integers, a microsecond per request. All other metrics use prometheus_client's."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

OTHER = "other"
_NO_AGE = -1


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


class BucketTally:
    """Hits alike: each adds to `count`, and the age of the tail it showed to `age_s`; folded in at a scrape."""

    __slots__ = ("age_s", "count")

    def __init__(self) -> None:
        self.count = 0
        self.age_s = 0.0


class RequestCell:
    """The requests of one market, endpoint, result and client, and their histograms of time and of tails' ages."""

    __slots__ = ("_tallies", "ages", "count", "seconds")

    def __init__(self, seconds: Cell, ages: Cell) -> None:
        self.count = 0
        self.seconds = seconds
        self.ages = ages
        self._tallies: dict[int, BucketTally] = {}

    def hit_tally(self, age_s: float | None) -> tuple[BucketTally, float]:
        """Return a counter for hits with tails about `age_s` old, and the age up to which it may be used."""
        bounds = self.ages.bounds
        bucket = _NO_AGE if age_s is None else bisect_left(bounds, age_s)
        tally = self._tallies.get(bucket)
        if tally is None:
            tally = self._tallies[bucket] = BucketTally()
        return tally, bounds[bucket] if 0 <= bucket < len(bounds) else math.inf

    def fold_hits(self) -> None:
        """Count what the tallies counted, and begin them anew.

        These hits were not timed. They took less than the first bound; `histogram_quantile` takes half of it, too.
        """
        for bucket, tally in self._tallies.items():
            self.count += tally.count
            self.seconds.counts[0] += tally.count
            self.seconds.total += tally.count * self.seconds.bounds[0] / 2
            if bucket != _NO_AGE:
                self.ages.counts[bucket] += tally.count
                self.ages.total += tally.age_s
            tally.count, tally.age_s = 0, 0.0


class CellCounts:
    """Counts the hits of one market, endpoint and client. `record`: records a request in a cell."""

    __slots__ = ("_cell", "_record", "tally")

    def __init__(self, cell: RequestCell, record: Callable[[RequestCell, float, float | None], None]) -> None:
        self._cell = cell
        self._record = record
        self.tally = cell.hit_tally

    def record(self, began_s: float, age_s: float | None) -> None:
        """Count a hit that arrived at `began_s` and is answered now; `age_s` is that of the tail it showed."""
        self._record(self._cell, began_s, age_s)
