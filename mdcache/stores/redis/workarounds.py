"""Where redis-py and uvloop behave otherwise than asyncio does."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_CANCEL_AGAIN_S = 0.1


async def cancel_all(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel the tasks, as often as it takes: redis-py swallows a cancellation that comes while it connects."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def cancellable() -> Iterator[None]:
    """Raise at the end a cancellation that came meanwhile, whether or not redis-py swallowed it."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


@contextmanager
def uvloop_understood() -> Iterator[None]:
    """Turn uvloop's bare `RuntimeError` for a connection that is closed already into the `OSError` of asyncio's."""
    try:
        yield
    except RuntimeError as error:
        if "the handler is closed" not in str(error):
            raise
        raise ConnectionResetError("the connection was closed already") from error
