"""Run tasks that no request waits for; at shutdown they get a moment to finish."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress

from mdcache.background_work import cancel_all
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events
from mdcache.leases import SharedStoreDown

_CLOSE_TIMEOUT_S = 1.0
_RETRY_S = 0.5


class BackgroundTasks:
    """Hold the tasks. If the shared store is down, give up silently; emit other errors as `BackgroundTaskFailed`."""

    def __init__(self, clock: Clock, events: Events) -> None:
        self._clock = clock
        self._events = events
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Start `work`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def run_with_retry(self, call: Callable[[], Awaitable[None]], for_s: float = math.inf) -> None:
        """Make `call` now; if the shared store is down, retry in the background until it is up.

        Args:
            call: The call; raises `SharedStoreDown`.
            for_s: Seconds after which retrying is pointless.
        """
        try:
            await call()
        except SharedStoreDown:
            self.start(self._retry(call, self._clock.now() + for_s))

    async def aclose(self) -> None:
        """Wait at most a second for the tasks, then cancel those that are not done."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=_CLOSE_TIMEOUT_S)
        await cancel_all(*self._tasks)

    async def _retry(self, call: Callable[[], Awaitable[None]], until_s: float) -> None:
        while self._clock.now() < until_s:
            await self._clock.sleep(_RETRY_S)
            with suppress(SharedStoreDown):
                await call()
                return

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, SharedStoreDown):
            self._events.emit(BackgroundTaskFailed(BackgroundTask.SHARING, f"{type(error).__name__}: {error}"))
