"""Report that reads were refused because a limit was spent, once in each UTC minute."""

from mdcache.errors import BudgetSpent
from mdcache.events import BudgetShort, Events
from mdcache.exchange.markets import Family
from mdcache.upstream.priority import Lane

_NEVER = -2


class Shortage:
    """One family's record of refused reads.

    Those of the low lane are none: warm-up and backtests take what is left, and are meant to wait.
    """

    def __init__(self, family: Family, events: Events) -> None:
        self._family = family
        self._events = events
        self._minute = _NEVER

    def record(self, error: BudgetSpent, lane: Lane, minute: int) -> BudgetSpent:
        """Note that a read is refused with `error` in this UTC minute; return the error."""
        if lane is not Lane.LOW and minute != self._minute:
            self._minute = minute
            self._events.emit(BudgetShort(self._family.value, error.cause))
        return error

    def lately(self, minute: int) -> bool:
        """Return whether a read was refused in this UTC minute or the one before it."""
        return 0 <= minute - self._minute <= 1
