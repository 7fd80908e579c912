"""A family's account: holds its budget, books what is spent and answered, and keeps it in step with the clock.

What may be spent is decided in `budget`, and by who asks.
"""

from collections.abc import Callable
from dataclasses import replace

from mdcache.clock import Clock
from mdcache.exchange.limits import UNKNOWN_LIMIT
from mdcache.upstream.budget import Budget, Charge, Granted, Minute, Moment, rebased, settle
from mdcache.upstream.familyclock import FamilyClock

_CLOCK_STEP_MS = 250  # a correction larger than this moves what was spent along; EDGE_MS covers the rest


class Account:
    """One family's weight. `budget` is how it stands; `limit_read`: whether Binance's limit was read here."""

    def __init__(self, time: FamilyClock, clock: Clock, share: float) -> None:
        self.time = time
        self.budget = Budget(limit=UNKNOWN_LIMIT, share=share)
        self.limit_read = False
        self._clock = clock
        self._believed: tuple[float, int] | None = None  # when we looked last, and what time it was then
        self._changed: Callable[[], None] = lambda: None

    def watch(self, changed: Callable[[], None]) -> None:
        """Have `changed` called in each step that spends or settles."""
        self._changed = changed

    def moment(self) -> Moment:
        """Now; carries what was spent along if the exchange's clock was corrected."""
        now_s, now = self._clock.now(), self.time.now()
        if self._believed is not None:
            believed_ms = self._believed[1] + int((now_s - self._believed[0]) * 1000)
            if abs(now.utc_ms - believed_ms) > _CLOCK_STEP_MS:
                self.budget = rebased(self.budget, believed_ms, now.utc_ms)
        self._believed = (now_s, now.utc_ms)
        return now

    def this_minute(self) -> Minute:
        """What was spent in the minute it most likely is."""
        number = self.moment().number  # first: it may move what was spent
        return self.budget.minute(number)

    def spend(self, granted: Granted) -> None:
        """Book a read that is about to be sent."""
        self.budget = granted.budget
        self._changed()

    def settle(self, charge: Charge, header: int | None) -> int | None:
        """Book the end of a read, with the usage header of its reply.

        Returns what its minute holds of that header: less, or `None`, where it may not be believed.
        """
        now = self.moment()  # first: it may move what was spent
        self.budget = settle(self.budget, charge, header, now)
        counted = self.budget.minute(charge.sent.number).header
        self._changed()
        return None if header is None or counted is None else min(header, counted)

    def learn_limit(self, limit: int) -> None:
        """Go by what Binance states as its limit, in weight a minute."""
        self.budget, self.limit_read = replace(self.budget, limit=limit), True

    def hear_limit(self, limit: int) -> bool:
        """Go by the limit that another replica read, until it is read here; whether that is another one."""
        if self.limit_read or limit == self.budget.limit:
            return False
        self.budget = replace(self.budget, limit=limit)
        return True
