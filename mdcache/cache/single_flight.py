"""One call at a time, shared by all who ask while it is under way."""

import asyncio
import copy
from collections.abc import Awaitable, Callable


class Solo:
    """Runs `work` in a task of its own; callers shield it, so none of them can cancel it for the others."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Join the work under way, or begin it; its error is raised to everybody who waits."""
        task = self._task
        if task is None or task.done():
            task = self._task = asyncio.get_running_loop().create_task(self._call())
        await asyncio.wait({task})
        error = task.exception()
        if error is not None:
            raise copy.copy(error)

    async def _call(self) -> None:
        await self._work()

    async def aclose(self) -> None:
        """End the work under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
