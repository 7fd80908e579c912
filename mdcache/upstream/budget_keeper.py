"""A family's budget keeper: holds its budget, records what is spent and answered, and follows clock corrections.

`budget` and the caller decide what may be spent.
"""

from collections.abc import Callable
from dataclasses import replace

from mdcache.exchange.rate_limits import INITIAL_LIMIT
from mdcache.upstream.budget import Budget, Granted, Moment, Reservation, booked, drawn, rebase, reported, settle

_CLOCK_STEP_MS = 250  # EDGE_MS covers a smaller correction


class BudgetKeeper:
    """One family's weight. `budget`: its current value; `limit_read`: whether Binance's limit was read here.

    `on_change` is called in each step that spends or settles.
    """

    def __init__(self, share: float, on_change: Callable[[], None]) -> None:
        self.budget = Budget(limit=INITIAL_LIMIT, share=share)
        self.limit_read = False
        self._on_change = on_change
        self._last: Moment | None = None

    def follow(self, now: Moment) -> None:
        """Move what was spent if the exchange's clock was corrected by more than the errors that it has stated.

        Within these each read was charged to every minute that it may have arrived in.
        """
        if self._last is not None:
            expected_ms = self._last.utc_ms + int((now.local_s - self._last.local_s) * 1000)
            if abs(now.utc_ms - expected_ms) > _CLOCK_STEP_MS + self._last.error_ms + now.error_ms:
                self.budget = rebase(self.budget, expected_ms, now.utc_ms)
        self._last = now

    def spend(self, granted: Granted) -> None:
        """Record a read that is about to be sent."""
        self.budget = granted.budget
        self._on_change()

    def settle(self, reservation: Reservation, header: int | None, now: Moment) -> None:
        """Record the end of a read, with the usage header of its reply."""
        self.budget = settle(self.budget, reservation, header, now)
        self._on_change()

    def add_spent(self, minute: int, weight: int) -> None:
        """Record the weight that another process with our id spent."""
        if weight > 0:
            self.budget = booked(self.budget, minute, weight)
            self._on_change()

    def record_drawn(self, minute: int, weight: int | None) -> None:
        """Record what was drawn for a minute in all from the budget that replicas share; `None`: nothing was."""
        before, self.budget = self.budget, drawn(self.budget, minute, weight)
        if self.budget is not before:
            self._on_change()

    def adopt_header(self, minute: int, header: int) -> None:
        """Use the usage of the address that another replica read, where it is larger."""
        self.budget = reported(self.budget, minute, header)

    def set_limit(self, limit: int) -> None:
        """Set the limit that Binance states, in weight per minute."""
        self.budget, self.limit_read = replace(self.budget, limit=limit), True

    def adopt_limit(self, limit: int) -> bool:
        """Use the limit that another replica read, until it is read here; return whether that changed it."""
        if self.limit_read or limit == self.budget.limit:
            return False
        self.budget = replace(self.budget, limit=limit)
        return True
