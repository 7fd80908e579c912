"""The used weight that answers state in `X-MBX-USED-WEIGHT-1M` (docs/design.md#headers).

Hits share one reading for a tenth of a second, because asking the governor would cost more than the hit. Whatever was
stated last is the least that is stated for the rest of its minute, by hits, misses and refusals alike.
"""

from dataclasses import dataclass

from mdcache.clock import Instant
from mdcache.exchange.markets import Family, Market
from mdcache.upstream.governor import Governor

_UNREAD = -1
_READ_EVERY_MS = 100


@dataclass(slots=True)
class Stated:
    """What was stated for a family: in which minute, and the tenth of a second in which a hit last asked for it."""

    minute: int = 0
    weight: int | None = None
    tenth: int = _UNREAD


class UsedWeights:
    """The used weight of each family, as clients are told it."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._stated = {family: Stated() for family in Family}

    def stated(self, market: Market) -> Stated:
        """Return what was stated last, as it changes."""
        return self._stated[market.family]

    def newest(self, market: Market) -> int | None:
        """Return what Binance reported in this minute, or stated before if that was more; `None` if it did not."""
        stated = self._stated[market.family]
        minute, weight = self._governor.reported_usage(market)
        if stated.weight is None or minute not in {stated.minute, stated.minute - 1}:
            stated.minute, stated.weight = minute, weight
        elif minute == stated.minute and weight is not None:  # else a correction of the clock forgot it, or went back
            stated.weight = max(stated.weight, weight)
        return stated.weight

    def recent(self, market: Market, now: Instant) -> int | None:
        """Return the same, read at most a tenth of a second ago. `now`: by the market's clock.

        Minutes end at tenths of a second, so that this is never the previous minute's weight.
        """
        return self.reread(self._stated[market.family], market, now)

    def reread(self, stated: Stated, market: Market, now: Instant) -> int | None:
        """Return the same from what `stated` returned for `market`."""
        tenth = now.ms // _READ_EVERY_MS
        if tenth != stated.tenth:
            stated.tenth = tenth
            return self.newest(market)
        return stated.weight


def next_reading_ms(now_ms: int) -> int:
    """Return when hits will next read the used weight, by the market's clock."""
    return (now_ms // _READ_EVERY_MS + 1) * _READ_EVERY_MS
