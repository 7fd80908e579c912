"""Count the last minute's requests by result, in slots of one second."""

from collections import deque
from collections.abc import Callable, Mapping

MINUTE_S = 60


class LastMinute:
    """Remembers how many requests there had been when each of the last sixty seconds with a request began.

    `totals`: returns the number of requests so far, by result. `begin` must be called before the first request of a
    second is counted: when the clock has reached `next_s`.
    """

    def __init__(self, totals: Callable[[], Mapping[str, int]]) -> None:
        self._totals = totals
        self._began: deque[tuple[int, Mapping[str, int]]] = deque(maxlen=MINUTE_S)
        self.next_s = 0.0

    def begin(self, now_s: float) -> None:
        """Begin the second of `now_s`."""
        self._began.append((int(now_s), self._totals()))
        self.next_s = int(now_s) + 1.0

    def counts(self, now_s: float) -> dict[str, int]:
        """Return the requests of the last sixty seconds, the current one among them."""
        now = self._totals()
        before = next((totals for second, totals in self._began if second > int(now_s) - MINUTE_S), now)
        return {result: count - before.get(result, 0) for result, count in now.items()}
