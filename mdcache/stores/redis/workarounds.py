"""Workarounds for redis-py and uvloop where they differ from asyncio."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_CANCEL_AGAIN_S = 0.1


async def cancel_all(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel the tasks, repeatedly if needed: redis-py swallows a cancellation that arrives while it connects."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def cancellable() -> Iterator[None]:
    """Raise a cancellation that arrived in the block at its end, even if redis-py swallowed it."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


@contextmanager
def uvloop_understood() -> Iterator[None]:
    """Turn uvloop's `RuntimeError` for a closed connection into an `OSError`, as asyncio raises."""
    try:
        yield
    except RuntimeError as error:
        if "the handler is closed" not in str(error):
            raise
        raise ConnectionResetError("the connection was closed already") from error
