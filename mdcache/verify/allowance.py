"""The weight that one run may spend: a bound that it can't pass, and what of it is left for extra questions. Pure."""

from collections import defaultdict
from typing import NamedTuple

from mdcache.verify.findings import NotMeasured

MOST_WEIGHT = 199  # "in under 200 weight": docs/design.md#verify

_DEFAULT_LIMIT = 500  # docs/binance.md#kline-parameters


class WeightClass(NamedTuple):
    """Questions that weigh the same: those of one path with the same `limit`, as it was sent."""

    path: str
    limit: str

    @property
    def path_group(self) -> str:
        """The path, or for all kline paths what they have in common."""
        return "lines" if self.path.endswith("lines") else self.path

    @property
    def rows(self) -> int:
        """The `limit` as a number; without one, the default."""
        return int(self.limit) if self.limit.isdecimal() else _DEFAULT_LIMIT


class Allowance:
    """Counts what a run spends, over all markets.

    A question counts as its documented weight, or as the least charge that the exchange's header has shown for its
    class, if that is more: others who use the address make the header show too much, never too little. A class that has
    not been charged yet is assumed to exceed its documented weight as much as the nearest class that has: all kline
    paths are alike.

    Args:
        planned: what all measurements need if nothing is asked twice.
    """

    def __init__(self, planned: int) -> None:
        self._spare = MOST_WEIGHT - planned
        self._asked: defaultdict[WeightClass, int] = defaultdict(int)
        self._documented: dict[WeightClass, int] = {}
        self._shown: dict[WeightClass, int] = {}

    @property
    def spent(self) -> int:
        """The weight of all that was asked."""
        return sum(count * self._price(group) for group, count in self._asked.items())

    def take(self, group: WeightClass, weight: int, *, extra: bool = False) -> None:
        """Count a question that is about to be asked.

        Args:
            group: the class of the question.
            weight: the documented weight.
            extra: whether it is beyond those planned.

        Raises:
            NotMeasured: there is no weight left for it.
        """
        self._documented[group] = weight
        known = self._price(group)
        if self.spent + known > MOST_WEIGHT or (extra and known > self._spare):
            raise NotMeasured("the weight of this run is spent")
        self._asked[group] += 1
        if extra:
            self._spare -= known

    def learn(self, group: WeightClass, charged: int) -> None:
        """Record what the header has shown for a question of a class."""
        self._shown[group] = min(charged, self._shown.get(group, charged))

    def _price(self, group: WeightClass) -> int:
        if group in self._shown:
            return max(self._documented[group], self._shown[group])
        documented = self._documented[group]
        alike = [other for other in self._shown if other.path_group == group.path_group]
        if not alike:
            return documented
        nearest = min(alike, key=lambda other: abs(other.rows - group.rows))
        return documented + max(0, self._shown[nearest] - self._documented[nearest])
