"""Landing: how those who share a read wait for its end, each until a time of its own."""

import asyncio
import copy
from typing import TypeVar

from mdcache.errors import DeadlinePassed

_T = TypeVar("_T")


async def landed(task: "asyncio.Task[_T]", within_s: float) -> _T:
    """What `task` brings; it goes on whoever leaves. Raises a copy of its error, or `DeadlinePassed`."""
    await asyncio.wait({task}, timeout=max(0.0, within_s))
    if not task.done():
        raise DeadlinePassed(1.0, "no answer from Binance in time")
    if task.cancelled():
        raise DeadlinePassed(1.0, "shutting down")
    error = task.exception()
    if error is not None:
        raise copy.copy(error)
    return task.result()
