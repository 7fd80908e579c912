"""The end of tasks that talk to Redis: redis-py loses a cancellation that comes while it connects."""

import asyncio
from typing import Any

_AGAIN_S = 0.1


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel them, as often as it takes."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
