"""What an assumption is: the parts that every one has."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from mdcache.exchange.facts import FACTS, Fact
from mdcache.exchange.markets import Market
from mdcache.verify.findings import Finding, NotMeasured, Seen, finding
from mdcache.verify.session import MarketSession

FUTURES = (Market.USDM, Market.COINM)
FREE: Mapping[Market, int] = dict.fromkeys(Market, 0)  # what replies to other questions show


class Assumption(ABC):
    """Something taken for granted about a market: one fact, or several that are measured together.

    `facts`: their names within the market, also of those that only other markets have. `left_out`: keys of facts that
    would weigh too much to measure. `assumed`, `how`, `follows`: what is taken for granted, how that is measured, and
    what follows if it is not so. `costs`: the most weight that it needs, by market; other markets are not measured.
    `at_end`: it evaluates what the whole run has recorded, and is measured last.
    """

    facts: ClassVar[tuple[str, ...]]
    assumed: ClassVar[str]
    how: ClassVar[str]
    follows: ClassVar[str]
    costs: ClassVar[Mapping[Market, int]]
    at_end: ClassVar[bool] = False
    left_out: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, market: Market) -> None:
        self.market = market

    @property
    def cost(self) -> int:
        """The most weight that it needs."""
        return self.costs[self.market]

    @property
    def known_facts(self) -> dict[str, Fact]:
        """Its facts that this market has, by name."""
        keys = {name: f"{self.market.value}.{name}" for name in self.facts}
        return {name: FACTS[key] for name, key in keys.items() if key in FACTS and key not in self.left_out}

    @abstractmethod
    async def measure(self, session: MarketSession) -> Seen:
        """Return what is seen of each fact; raise `NotMeasured` if none can be measured."""

    def findings(self, seen: Seen | NotMeasured) -> list[Finding]:
        """Return how what was seen compares with what is assumed."""
        missing = NotMeasured("not seen in this run")
        return [
            finding(fact, seen if isinstance(seen, NotMeasured) else seen.get(name, missing), self.follows)
            for name, fact in self.known_facts.items()
        ]
