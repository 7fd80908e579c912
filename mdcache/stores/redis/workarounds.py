"""Workarounds for redis-py and uvloop where they differ from asyncio."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


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
