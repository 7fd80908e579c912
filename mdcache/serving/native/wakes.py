"""Wake many tasks: in each turn of the event loop as many as hold it for about two milliseconds."""

import asyncio
from collections import deque
from collections.abc import Callable

from mdcache.clock import Clock

_SLICE_S = 0.002
_MOST = 32  # in one turn, however short those were that came before


class Wakes:
    """Tasks to wake, in order.

    What the tasks of a turn cost is known only once they have run, when the next turn begins.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: deque[Callable[[], None]] = deque()
        self._woken = 0  # in this turn; none if no turn goes on
        self._most = 1
        self._began_s = 0.0

    def add(self, wake: Callable[[], None]) -> None:
        """Call `wake`, which wakes a task, when it is its turn."""
        self._due.append(wake)
        if not self._woken:
            self._most = 1
            self._run()

    async def turn(self) -> None:
        """Wait until all those that were added before have been woken."""
        woken = asyncio.Event()
        self.add(woken.set)
        await woken.wait()

    def _next(self) -> None:
        """Wake the next ones, after those of the last turn have run."""
        took_s = self._clock.now() - self._began_s
        fit = self._woken * _SLICE_S / took_s if took_s > 0 else _MOST
        self._most = max(1, min(2 * self._woken, int(fit), _MOST))
        self._woken = 0
        if self._due:
            self._run()

    def _run(self) -> None:
        self._began_s = self._clock.now()
        while self._due and self._woken < self._most:
            self._woken += 1
            self._due.popleft()()
        asyncio.get_running_loop().call_soon(self._next)
