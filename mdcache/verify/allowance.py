"""The weight that one run may spend: a bound that it can't pass, and what of it is left for asking again. Pure."""

from collections import defaultdict

from mdcache.verify.findings import NotMeasured

MOST_WEIGHT = 199  # "in under 200 weight": docs/design.md#verify

Kind = tuple[str, str]  # questions that weigh the same: path, and what of the query counts


class Allowance:
    """Counts what a run spends, over all markets.

    A question counts as what is documented, or as the least that the exchange's header has shown for its kind, if that
    is more: others who use the address make it show too much, never too little.

    Args:
        planned: what all measurements need if nothing is asked twice.
    """

    def __init__(self, planned: int) -> None:
        self._spare = MOST_WEIGHT - planned
        self._asked: defaultdict[Kind, int] = defaultdict(int)
        self._documented: dict[Kind, int] = {}
        self._shown: dict[Kind, int] = {}

    @property
    def spent(self) -> int:
        """The weight of all that was asked."""
        return sum(count * self._price(kind) for kind, count in self._asked.items())

    def take(self, kind: Kind, weight: int, *, again: bool = False) -> None:
        """Count a question that is about to be asked.

        Args:
            kind: which questions weigh the same.
            weight: the documented weight.
            again: whether it is not one of those planned.

        Raises:
            NotMeasured: there is no weight left for it.
        """
        known = max(weight, self._shown.get(kind, 0))
        if self.spent + known > MOST_WEIGHT or (again and known > self._spare):
            raise NotMeasured("the weight of this run is spent")
        self._documented[kind] = weight
        self._asked[kind] += 1
        if again:
            self._spare -= known

    def learn(self, kind: Kind, charged: int) -> None:
        """Record what the header has shown for a question of a kind."""
        self._shown[kind] = min(charged, self._shown.get(kind, charged))

    def _price(self, kind: Kind) -> int:
        return max(self._documented[kind], self._shown.get(kind, 0))
