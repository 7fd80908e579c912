"""The weight that one run may spend: a bound that it can't pass, and what of it is left for asking again. Pure."""

from collections import defaultdict

from mdcache.verify.findings import NotMeasured

MOST_WEIGHT = 199  # "in under 200 weight": docs/design.md#verify

_DEFAULT_LIMIT = 500  # docs/binance.md#kline-parameters
Kind = tuple[str, str]  # questions that weigh the same: path, and what of the query counts


class Allowance:
    """Counts what a run spends, over all markets.

    A question counts as what is documented, or as the least that the exchange's header has shown for its kind, if that
    is more: others who use the address make it show too much, never too little. A kind whose charge was not shown
    counts as much more than documented as the nearest kind that was: all kline paths are alike.

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
        self._documented[kind] = weight
        known = self._price(kind)
        if self.spent + known > MOST_WEIGHT or (again and known > self._spare):
            raise NotMeasured("the weight of this run is spent")
        self._asked[kind] += 1
        if again:
            self._spare -= known

    def learn(self, kind: Kind, charged: int) -> None:
        """Record what the header has shown for a question of a kind."""
        self._shown[kind] = min(charged, self._shown.get(kind, charged))

    def _price(self, kind: Kind) -> int:
        if kind in self._shown:
            return max(self._documented[kind], self._shown[kind])
        documented = self._documented[kind]
        alike = [other for other in self._shown if _group(other) == _group(kind)]
        if not alike:
            return documented
        nearest = min(alike, key=lambda other: abs(_number(other) - _number(kind)))
        return documented + max(0, self._shown[nearest] - self._documented[nearest])


def _group(kind: Kind) -> str:
    """Return the path, or for kline paths what all of them have in common."""
    return "lines" if kind[0].endswith("lines") else kind[0]


def _number(kind: Kind) -> int:
    """Return the `limit` of a kind as a number; without one, the default."""
    return int(kind[1]) if kind[1].isdecimal() else _DEFAULT_LIMIT
