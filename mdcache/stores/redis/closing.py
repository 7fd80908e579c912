"""Cancellations that redis-py loses: one that comes while it connects is swallowed, and the work goes on."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN_S = 0.1


@contextmanager
def cancellable() -> Iterator[None]:
    """Whatever comes of what is inside, a cancellation that came meanwhile is raised at its end."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


async def cancel_all(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel them, as often as it takes."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
