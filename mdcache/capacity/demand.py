"""The demand: symbols x intervals, and how often and by how many programs they are asked for."""

import re
from dataclasses import dataclass

from mdcache.exchange.intervals import INTERVALS, SPOT_ONLY
from mdcache.exchange.markets import KLINE_ENDPOINTS, KlineEndpoint, Market
from mdcache.exchange.weights import klines_weight, tail_limit

# For a plan that gives only a number: those that bots use most come first.
COMMON_INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d", "30m", "2h", "3m", "12h", "6h", "8h", "1w", "3d", "1M")

_MINUTE_S = 60.0


class InvalidPlan(ValueError):
    """The plan can't be parsed; the text says what would be right."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The load: every series of `symbols` x `intervals`, `rows` newest rows each time.

    `consumers` programs ask for all of it every `every_s` seconds, spread evenly; 0: without a pause.
    """

    market: Market
    symbols: int
    intervals: tuple[str, ...]
    consumers: int = 0
    every_s: float = 5.0
    rows: int = 500

    @property
    def series(self) -> int:
        """Return the number of series."""
        return self.symbols * len(self.intervals)

    @property
    def spacing_s(self) -> float:
        """Return the seconds from one question for a series to the next; 0 if there is no pause."""
        return self.every_s / self.consumers if self.consumers else 0.0

    @property
    def questions(self) -> float | None:
        """Return the questions a minute for all series, `None` if they come without a pause."""
        return self.series * _MINUTE_S / self.spacing_s if self.consumers else None

    @property
    def rule(self) -> KlineEndpoint:
        """Return the rules of the path that is asked."""
        return KLINE_ENDPOINTS[f"{self.market.prefix}klines"]

    @property
    def tail_weight(self) -> int:
        """Return what one read of a tail weighs."""
        return klines_weight(self.rule, tail_limit(self.rule, 1))


def demand(text: str, market: Market, *, consumers: int = 0, every_s: float = 5.0, rows: int = 500) -> Demand:
    """Parse `20x6` (the six usual intervals) or `20x1m,5m,1h`; raise `InvalidPlan` for anything else."""
    found = re.fullmatch(r"(\d{1,6})[x*×](\S+)", text.strip())
    if found is None or int(found[1]) < 1:
        raise InvalidPlan(f"{text!r}: symbols x intervals, such as 20x6 or 20x1m,5m,1h")
    wanted = found[2]
    if wanted.isdecimal():
        if not 1 <= int(wanted) <= len(COMMON_INTERVALS):
            raise InvalidPlan(f"{wanted} intervals: 1 to {len(COMMON_INTERVALS)}, or their names")
        intervals = COMMON_INTERVALS[: int(wanted)]
    else:
        intervals = tuple(dict.fromkeys(wanted.split(",")))
    allowed = [name for name in INTERVALS if market is Market.SPOT or name not in SPOT_ONLY]
    strange = [name for name in intervals if name not in allowed]
    if strange:
        raise InvalidPlan(f"{', '.join(strange)}: the intervals of {market.value} are {', '.join(allowed)}")
    asked = Demand(market, int(found[1]), intervals, consumers, every_s, rows)
    most = asked.rule.max_limit
    if not 1 <= rows <= most:
        raise InvalidPlan(f"{rows} rows: 1 to {most} in one question on {market.value}; `mdcache warm` reads histories")
    return asked
