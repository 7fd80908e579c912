"""Retries: which failures are retried, how often, and with what pauses. The only user of tenacity.

Only faults are retried: transport faults, 5xx, and an invalid body once. What the gate handles (403, 418, 429, 451) and
Binance's own refusals never are. Time is the injected clock's: tenacity's `stop_after_delay` uses the machine's.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from mdcache.clock import Clock
from mdcache.errors import BodyFault, Fault, InvalidBody, UpstreamFailed
from mdcache.upstream.reply_status import may_try_again

_T = TypeVar("_T")
_PART_OF_REMAINING = 0.25  # of the remaining time: the longest pause, so that attempts fit before the deadline


@dataclass(frozen=True, slots=True)
class Retries:
    """At most `attempts`; pauses of `initial_s`, twice that, … `max_s`, each shortened to no less than half."""

    attempts: int
    initial_s: float
    max_s: float
    clock: Clock
    rng: random.Random

    async def run(
        self,
        attempt: Callable[[], Awaitable[_T]],
        deadline_s: Callable[[], float],
        on_retry: Callable[[Fault | BodyFault], None],
    ) -> _T:
        """Return the first success of `attempt`, or raise its last error. No pause ends after `deadline_s()`."""
        try:
            return await attempt()
        except UpstreamFailed as error:
            if not may_try_again(error):
                raise
            first: UpstreamFailed | None = error
        broken = 0

        async def attempt_again() -> _T:
            """Raise the first error, then repeat: only reads that failed need tenacity, which takes 40 µs of CPU."""
            nonlocal first
            if first is not None:
                error, first = first, None
                raise error
            return await attempt()

        def again(error: BaseException) -> bool:
            nonlocal broken
            broken += isinstance(error, InvalidBody)
            return may_try_again(error) and broken <= 1

        def wait(state: tenacity.RetryCallState) -> float:
            rest_s = max(0.0, deadline_s() - self.clock.now())
            doubled_s = self.initial_s * (1 << min(40, state.attempt_number - 1))
            pause_s = min(doubled_s, self.max_s, rest_s * _PART_OF_REMAINING)
            return pause_s * (0.5 + 0.5 * self.rng.random())

        def stop(state: tenacity.RetryCallState) -> bool:
            late = self.clock.now() + state.upcoming_sleep >= deadline_s()
            return late or state.attempt_number >= self.attempts

        def before_sleep(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome is not None else None
            if isinstance(error, UpstreamFailed):
                on_retry(error.reason)

        retrying = tenacity.AsyncRetrying(
            sleep=self.clock.sleep,
            retry=tenacity.retry_if_exception(again),
            wait=wait,
            stop=stop,
            before_sleep=before_sleep,
            reraise=True,
        )
        return await retrying(attempt_again)
