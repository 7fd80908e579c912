"""Count reads of Binance by some name (a reason, a client, a series) over the last seconds."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

CallSums = dict[str, list[int]]  # by name: calls, failed ones, weight


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Reads of Binance. `failed`: no reply, a refusal to answer, a 5xx or an unreadable body, but no wrong question."""

    calls: int
    failed: int
    weight: int


class RecentCalls:
    """The reads of the last `span_s` seconds by name, in slots of `slot_s`: up to so much longer.

    The weight limit bounds how many names there can be.
    """

    def __init__(self, span_s: int, slot_s: int = 1) -> None:
        self._span_s = span_s
        self._slot_s = slot_s
        self._slots: deque[tuple[int, CallSums]] = deque()
        self._sums: CallSums = {}

    def add(self, now_s: float, name: str, weight: int, *, failed: bool) -> None:
        """Count one read that ended at `now_s`."""
        self._prune(now_s)
        slot = int(now_s) // self._slot_s
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, {}))
        for counted in (self._slots[-1][1], self._sums):
            count_call(counted, name, weight, failed=failed)

    def counts(self, now_s: float) -> dict[str, CallCounts]:
        """Return the reads by name, the heaviest first."""
        self._prune(now_s)
        return counts_by_name(self._sums)

    def _prune(self, now_s: float) -> None:
        since_s = int(now_s) - self._span_s
        while self._slots and self._slots[0][0] * self._slot_s + self._slot_s - 1 <= since_s:
            _, gone = self._slots.popleft()
            for name, counts in gone.items():
                left = [all_ - part for all_, part in zip(self._sums[name], counts, strict=True)]
                if left[0]:
                    self._sums[name] = left
                else:
                    del self._sums[name]


def count_call(counted: CallSums, name: str, weight: int, *, failed: bool) -> None:
    """Count one read in `counted`."""
    sums = counted.setdefault(name, [0, 0, 0])
    sums[0] += 1
    sums[1] += failed
    sums[2] += weight


def counts_by_name(counted: Mapping[str, list[int]]) -> dict[str, CallCounts]:
    """Return what was counted, the heaviest name first."""
    return {name: CallCounts(*counted[name]) for name in sorted(counted, key=lambda name: (-counted[name][2], name))}
