"""Empty ranges: covered spans without a row, and when to check them again (docs/design.md#holes)."""

from collections.abc import Iterator
from dataclasses import dataclass

_DAY_MS = 86_400_000
_FINAL_AFTER_MS = 7 * _DAY_MS
_SHARE_OF_AGE = 10


def trusted_for_ms(age_ms: int, ttl_ms: int) -> int:
    """Return how long an empty range of this age is trusted: a tenth of its age, at least the TTL, at most a day."""
    return min(max(age_ms // _SHARE_OF_AGE, ttl_ms), _DAY_MS)


@dataclass(frozen=True, slots=True)
class EmptyRange:
    """A span [start_ms, end_ms) in which no row opens, as read at `checked_ms`.

    `hole`: there are rows on both sides. Other ranges lie before the first row, or after the last row of a window.
    """

    start_ms: int
    end_ms: int
    checked_ms: int
    hole: bool

    def due_ms(self, ttl_ms: int) -> int:
        """Return when it must be checked again: once a tenth of its age has passed since the last check."""
        tenth_ms = (self.checked_ms - self.start_ms) // (_SHARE_OF_AGE - 1)  # a ninth of its age at the last check
        return self.checked_ms + min(max(tenth_ms, ttl_ms), _DAY_MS)


class EmptyRanges:
    """The empty ranges of one series that may still fill. Holes over seven days old are final and not kept."""

    __slots__ = ("_by_start",)

    def __init__(self) -> None:
        self._by_start: dict[int, EmptyRange] = {}

    def __len__(self) -> int:
        return len(self._by_start)

    def __iter__(self) -> Iterator[EmptyRange]:
        return iter(self._by_start.values())

    def add(self, empty_range: EmptyRange) -> None:
        """Remember a range, unless it is a hole old enough to be final."""
        if not (empty_range.hole and empty_range.checked_ms - empty_range.start_ms > _FINAL_AFTER_MS):
            self._by_start[empty_range.start_ms] = empty_range

    def clear(self, start: int, end: int) -> None:
        """Forget the ranges that start in [start, end)."""
        if self._by_start:
            self._by_start = {t: each for t, each in self._by_start.items() if not start <= t < end}

    def spans(self) -> set[tuple[int, int, bool]]:
        """Return the ranges without the times at which they were checked."""
        return {(each.start_ms, each.end_ms, each.hole) for each in self._by_start.values()}

    def trusted_until_ms(self, lo: int, hi: int, ttl_ms: int) -> int | None:
        """Return when the first range that overlaps `lo`..`hi` (inclusive) is due; `None` if no range does."""
        return min((each.due_ms(ttl_ms) for each in self._touching(lo, hi)), default=None)

    def due(self, lo: int, hi: int, now_ms: int, ttl_ms: int) -> list[EmptyRange]:
        """Return the ranges that overlap `lo`..`hi` (inclusive) and are due for another check at `now_ms`."""
        return [each for each in self._touching(lo, hi) if each.due_ms(ttl_ms) <= now_ms]

    def _touching(self, lo: int, hi: int) -> Iterator[EmptyRange]:
        return (each for each in self._by_start.values() if each.start_ms <= hi and each.end_ms > lo)
