"""A timer on the injected clock that can be set again."""

import asyncio
import math
from collections.abc import Callable

from mdcache.clock import Clock

_LEAST_S = 0.001  # decisions have a resolution of a millisecond: an earlier call would change nothing


class Timer:
    """A timer that calls `ring` once, at the time that was last `set`; `math.inf` stops it."""

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._at_s = math.inf
        self._task: asyncio.Task[None] | None = None

    def set(self, at_s: float) -> None:
        """Set the only time at which it rings: `at_s`, by the clock's `now()`."""
        if at_s == self._at_s:
            return
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._at_s = at_s
        if at_s < math.inf:
            self._task = asyncio.create_task(self._wait(at_s))

    async def _wait(self, at_s: float) -> None:
        await self._clock.sleep(max(_LEAST_S, at_s - self._clock.now()))
        self._task, self._at_s = None, math.inf
        self._callback()
