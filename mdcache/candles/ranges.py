"""Sets of disjoint, half-open ranges of open time in milliseconds, such as coverage."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

Span = tuple[int, int]  # [start, end)
FOREVER_MS = 1 << 62  # after any open time


class RangeSet:
    """A set of disjoint ranges [start, end); adjacent ranges are merged. `version` changes whenever the set does."""

    __slots__ = ("_ends", "_starts", "version")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.version = 0

    def __iter__(self) -> Iterator[Span]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        return len(self._starts)

    def at(self, t: int) -> Span | None:
        """Return the range that contains `t`."""
        i = bisect_right(self._starts, t) - 1
        return (self._starts[i], self._ends[i]) if i >= 0 and t < self._ends[i] else None

    def after(self, t: int) -> Span | None:
        """Return the first range that starts after `t`."""
        i = bisect_right(self._starts, t)
        return (self._starts[i], self._ends[i]) if i < len(self._starts) else None

    def before(self, t: int) -> Span | None:
        """Return the last range that ends at or before `t`."""
        i = bisect_right(self._ends, t) - 1
        return (self._starts[i], self._ends[i]) if i >= 0 else None

    def add(self, start: int, end: int) -> None:
        """Add [start, end)."""
        if start >= end:
            return
        i = bisect_left(self._ends, start)
        j = bisect_right(self._starts, end)
        if i < j:
            start = min(start, self._starts[i])
            end = max(end, self._ends[j - 1])
            if j - i == 1 and (start, end) == (self._starts[i], self._ends[i]):
                return
        self._starts[i:j] = [start]
        self._ends[i:j] = [end]
        self.version += 1

    def remove(self, start: int, end: int) -> None:
        """Remove [start, end)."""
        if start >= end:
            return
        i = bisect_right(self._ends, start)
        j = bisect_left(self._starts, end)
        if i >= j:
            return
        self.version += 1
        left, right = self._starts[i], self._ends[j - 1]
        kept = [(left, start)] if left < start else []
        kept += [(end, right)] if right > end else []
        self._starts[i:j] = [a for a, _ in kept]
        self._ends[i:j] = [b for _, b in kept]

    def intersection(self, start: int, end: int) -> list[Span]:
        """Return the parts of [start, end) that are in the set, in order."""
        i = bisect_right(self._ends, start)
        j = bisect_left(self._starts, end)
        return [(max(start, a), min(end, b)) for a, b in zip(self._starts[i:j], self._ends[i:j], strict=True)]

    def gaps(self, start: int, end: int) -> list[Span]:
        """Return the parts of [start, end) that are not in the set, in order."""
        found: list[Span] = []
        for a, b in self.intersection(start, end):
            if start < a:
                found.append((start, a))
            start = b
        if start < end:
            found.append((start, end))
        return found
