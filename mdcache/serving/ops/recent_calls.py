"""Count reads of Binance by some name (a reason, a client, a series) over the last seconds."""

from collections import Counter, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Reads of Binance. `failed`: no reply, a refusal to answer, a 5xx or an unreadable body, but no wrong question."""

    calls: int
    failed: int
    weight: int


class RecentCalls:
    """The reads of the last `span_s` seconds by name, in slots of one second.

    The weight limit bounds how many names there can be.
    """

    def __init__(self, span_s: int) -> None:
        self._span_s = span_s
        self._seconds: deque[tuple[int, Counter[tuple[str, str]]]] = deque()
        self._sums: Counter[tuple[str, str]] = Counter()

    def add(self, now_s: float, name: str, weight: int, *, failed: bool) -> None:
        """Count one read that ended at `now_s`."""
        self._prune(now_s)
        if not self._seconds or self._seconds[-1][0] != int(now_s):
            self._seconds.append((int(now_s), Counter()))
        for counted in (self._seconds[-1][1], self._sums):
            count_call(counted, name, weight, failed=failed)

    def counts(self, now_s: float) -> dict[str, CallCounts]:
        """Return the reads by name, the heaviest first."""
        self._prune(now_s)
        return counts_by_name(self._sums)

    def _prune(self, now_s: float) -> None:
        since = int(now_s) - self._span_s
        while self._seconds and self._seconds[0][0] <= since:
            _, gone = self._seconds.popleft()
            self._sums.subtract(gone)
            for key in gone:
                if not self._sums[key]:
                    del self._sums[key]


def count_call(counted: Counter[tuple[str, str]], name: str, weight: int, *, failed: bool) -> None:
    """Count one read in `counted`, which `counts_by_name` reads."""
    counted[name, "calls"] += 1
    counted[name, "failed"] += failed
    counted[name, "weight"] += weight


def counts_by_name(counted: Counter[tuple[str, str]]) -> dict[str, CallCounts]:
    """Return what was counted, the heaviest name first."""
    names = [name for name, what in counted if what == "calls"]
    names.sort(key=lambda name: (-counted[name, "weight"], name))
    return {name: CallCounts(*(counted[name, what] for what in ("calls", "failed", "weight"))) for name in names}
