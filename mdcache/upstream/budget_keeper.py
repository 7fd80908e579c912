"""A family's account: holds its budget, books what is spent and answered, and keeps it in step with the clock.

What may be spent is decided in `budget`, and by who asks.
"""

from collections.abc import Callable
from dataclasses import replace

from mdcache.clock import Clock
from mdcache.exchange.rate_limits import INITIAL_LIMIT
from mdcache.upstream.budget import Budget, Granted, Minute, Moment, Reservation, rebase, settle
from mdcache.upstream.family_clock import FamilyClock

_CLOCK_STEP_MS = 250  # a correction larger than this moves what was spent along; EDGE_MS covers the rest


class BudgetKeeper:
    """One family's weight. `budget` is how it stands; `limit_read`: whether Binance's limit was read here."""

    def __init__(self, family_clock: FamilyClock, clock: Clock, share: float) -> None:
        self.family_clock = family_clock
        self.budget = Budget(limit=INITIAL_LIMIT, share=share)
        self.limit_read = False
        self._clock = clock
        self._last_reading: tuple[float, int] | None = None  # when we looked last, and what time it was then
        self._on_change: Callable[[], None] = lambda: None

    def watch(self, on_change: Callable[[], None]) -> None:
        """Have `changed` called in each step that spends or settles."""
        self._on_change = on_change

    def moment(self) -> Moment:
        """Now; carries what was spent along if the exchange's clock was corrected."""
        now_s, now = self._clock.now(), self.family_clock.now()
        if self._last_reading is not None:
            believed_ms = self._last_reading[1] + int((now_s - self._last_reading[0]) * 1000)
            if abs(now.utc_ms - believed_ms) > _CLOCK_STEP_MS:
                self.budget = rebase(self.budget, believed_ms, now.utc_ms)
        self._last_reading = (now_s, now.utc_ms)
        return now

    def this_minute(self) -> Minute:
        """What was spent in the minute it most likely is."""
        number = self.moment().number  # first: it may move what was spent
        return self.budget.minute(number)

    def spend(self, granted: Granted) -> None:
        """Book a read that is about to be sent."""
        self.budget = granted.budget
        self._on_change()

    def settle(self, charge: Reservation, header: int | None) -> int | None:
        """Book the end of a read, with the usage header of its reply.

        Returns what its minute holds of that header: less, or `None`, where it may not be believed.
        """
        now = self.moment()  # first: it may move what was spent
        self.budget = settle(self.budget, charge, header, now)
        counted = self.budget.minute(charge.sent_at.number).header
        self._on_change()
        return None if header is None or counted is None else min(header, counted)

    def set_limit(self, limit: int) -> None:
        """Go by what Binance states as its limit, in weight a minute."""
        self.budget, self.limit_read = replace(self.budget, limit=limit), True

    def hear_limit(self, limit: int) -> bool:
        """Go by the limit that another replica read, until it is read here; whether that is another one."""
        if self.limit_read or limit == self.budget.limit:
            return False
        self.budget = replace(self.budget, limit=limit)
        return True
