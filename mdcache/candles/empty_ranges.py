"""Voids: covered spans without a row, and how long such an emptiness is believed (docs/design.md#holes)."""

from collections.abc import Iterator
from dataclasses import dataclass

_DAY_MS = 86_400_000
_FINAL_AFTER_MS = 7 * _DAY_MS
_SHARE_OF_AGE = 10


def trusted_for_ms(age_ms: int, ttl_ms: int) -> int:
    """How long an emptiness of this age is believed: a tenth of it, at least the TTL, at most a day."""
    return min(max(age_ms // _SHARE_OF_AGE, ttl_ms), _DAY_MS)


@dataclass(frozen=True, slots=True)
class EmptyRange:
    """Nothing opens in [start_ms, end_ms), as read at `checked_ms`.

    `hole`: there are rows on both sides; else it lies before the first row, or after the last of a window.
    """

    start_ms: int
    end_ms: int
    checked_ms: int
    hole: bool


class EmptyRanges:
    """The voids of one series that may still fill; holes over seven days old are believed for ever and not kept."""

    __slots__ = ("_by_start",)

    def __init__(self) -> None:
        self._by_start: dict[int, EmptyRange] = {}

    def __len__(self) -> int:
        return len(self._by_start)

    def __iter__(self) -> Iterator[EmptyRange]:
        return iter(self._by_start.values())

    def add(self, empty_range: EmptyRange) -> None:
        """Remember `void`, unless it is a hole so old that it is believed for ever."""
        if not (empty_range.hole and empty_range.checked_ms - empty_range.start_ms > _FINAL_AFTER_MS):
            self._by_start[empty_range.start_ms] = empty_range

    def clear(self, start: int, end: int) -> None:
        """Forget voids that start in [start, end)."""
        if self._by_start:
            self._by_start = {t: void for t, void in self._by_start.items() if not start <= t < end}

    def spans(self) -> set[tuple[int, int, bool]]:
        """Which spans are empty and may still fill, whenever they were last read."""
        return {(void.start_ms, void.end_ms, void.hole) for void in self._by_start.values()}

    def touches(self, lo: int, hi: int) -> bool:
        """Whether any void that may still fill touches `lo`..`hi` (inclusive)."""
        return any(True for _ in self._touching(lo, hi))

    def trusted_until_ms(self, lo: int, hi: int, ttl_ms: int) -> int | None:
        """When the first of the voids that touch `lo`..`hi` (inclusive) is due; `None` if none does."""
        return min((_due_ms(void, ttl_ms) for void in self._touching(lo, hi)), default=None)

    def due(self, lo: int, hi: int, now_ms: int, ttl_ms: int) -> list[EmptyRange]:
        """Voids that touch `lo`..`hi` (inclusive) and are not believed any more at `now_ms`."""
        return [
            void
            for void in self._touching(lo, hi)
            if now_ms - void.checked_ms >= trusted_for_ms(now_ms - void.start_ms, ttl_ms)
        ]

    def _touching(self, lo: int, hi: int) -> Iterator[EmptyRange]:
        return (void for void in self._by_start.values() if void.start_ms <= hi and void.end_ms > lo)


def _due_ms(empty_range: EmptyRange, ttl_ms: int) -> int:
    """When `void` is a tenth of its age past its check: a ninth of what its age was then."""
    believed = max((empty_range.checked_ms - empty_range.start_ms) // (_SHARE_OF_AGE - 1), ttl_ms)
    return empty_range.checked_ms + min(believed, _DAY_MS)
