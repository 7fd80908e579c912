"""The last minutes' requests, from what the counters said when each second with a request began.

Hits cost nothing here: a second's first request keeps the sums, which a question about the last minutes subtracts.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from mdcache.results import Quantiles, RecentAnswers

MINUTE_S = 60
KEPT_S = 300
_ALL = "all"

Buckets = tuple[int, ...]


class RecentRequests:
    """Remembers the sums at the beginning of each of the last seconds that had a request.

    `begin` must be called before the first request of a second is counted: when the clock has reached `next_s`.

    Args:
        totals: Returns the number of requests so far, by result.
        seconds: Returns the buckets of how long they took, by result; `seconds_bounds`: these buckets' upper ends.
        ages: Returns the buckets of how old the tails were that they showed, by market; `age_bounds`: as above.
    """

    def __init__(
        self,
        totals: Callable[[], Mapping[str, int]],
        seconds: Callable[[], Mapping[str, Buckets]],
        seconds_bounds: Sequence[float],
        ages: Callable[[], Mapping[str, Buckets]],
        age_bounds: Sequence[float],
    ) -> None:
        self._totals = totals
        self._seconds, self._seconds_bounds = seconds, seconds_bounds
        self._ages, self._age_bounds = ages, age_bounds
        self._began: deque[tuple[int, Mapping[str, int]]] = deque(maxlen=KEPT_S + 1)
        self._histograms: deque[tuple[int, Mapping[str, Buckets], Mapping[str, Buckets]]] = deque(maxlen=MINUTE_S)
        self.next_s = 0.0

    def begin(self, now_s: float) -> None:
        """Begin the second of `now_s`."""
        second = int(now_s)
        self._began.append((second, self._totals()))
        self._histograms.append((second, self._seconds(), self._ages()))
        self.next_s = second + 1.0

    def minute(self, now_s: float) -> dict[str, int]:
        """Return the requests of the last sixty seconds, the current one among them, by result."""
        now = self._totals()
        before = next((totals for second, totals in self._began if second > int(now_s) - MINUTE_S), now)
        return {result: count - before.get(result, 0) for result, count in now.items()}

    def recent(self, now_s: float) -> RecentAnswers:
        """Return the requests of the last `KEPT_S` whole seconds, and the quantiles of the last sixty seconds."""
        seconds, ages = self._seconds(), self._ages()
        seconds_before, ages_before = next(
            ((took, old) for second, took, old in self._histograms if second > int(now_s) - MINUTE_S), (seconds, ages)
        )
        took = _difference(seconds, seconds_before)
        if took:
            took[_ALL] = tuple(map(sum, zip(*took.values(), strict=True)))
        old = _difference(ages, ages_before)
        return RecentAnswers(
            by_second=self._by_second(int(now_s)),
            seconds=_quantiles(took, self._seconds_bounds),
            tail_ages=_quantiles(old, self._age_bounds),
        )

    def _by_second(self, now: int) -> dict[str, list[int]]:
        """Return the requests of each whole second by result, without the results that there were none of."""
        found: dict[str, list[int]] = {}
        began = [*self._began, (now, self._totals())]
        for (second, before), (_, after) in pairwise(began):
            place = second - (now - KEPT_S)
            if 0 <= place < KEPT_S:
                for result, count in after.items():
                    if new := count - before.get(result, 0):
                        found.setdefault(result, [0] * KEPT_S)[place] += new
        return found


def quantile(buckets: Sequence[int], bounds: Sequence[float], part: float) -> float | None:
    """Return the upper end of the bucket in which the quantile lies: it is at most that; `None` without any.

    Beyond the last bound it is that bound.
    """
    wanted, running = part * sum(buckets), 0
    for count, bound in zip(buckets, (*bounds, bounds[-1]), strict=True):
        running += count
        if count and running >= wanted:
            return bound
    return None


def _difference(now: Mapping[str, Buckets], before: Mapping[str, Buckets]) -> dict[str, Buckets]:
    return {
        name: tuple(count - old for count, old in zip(buckets, before.get(name, (0,) * len(buckets)), strict=True))
        for name, buckets in now.items()
    }


def _quantiles(buckets: Mapping[str, Buckets], bounds: Sequence[float]) -> dict[str, Quantiles]:
    """Return the quantiles of those names that have any."""
    found: dict[str, Quantiles] = {}
    for name, each in buckets.items():
        p50, p99 = (quantile(each, bounds, part) for part in (0.5, 0.99))
        if p50 is not None and p99 is not None:
            found[name] = Quantiles(p50, p99)
    return found
