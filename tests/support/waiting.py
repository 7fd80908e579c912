"""Waiting for what other processes do: until it is so, with a deadline, instead of for a fixed time."""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable

PATIENCE_S = 60.0  # on a machine with other work
_PAUSE_S = 0.02


def strain() -> float:
    """Return how many processes wait for each processor, beyond one as in a run of all tests; at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1) - 1.0)


def allowed_s(within_s: float) -> float:
    """Return a bound for a machine with as much other work as this one has now."""
    return within_s * strain()


def eventually(true: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds; fail an assertion if it does not in time."""
    end_s = time.monotonic() + allowed_s(within_s)
    while not true():
        assert time.monotonic() < end_s, f"not so in {within_s:g} s: {inspect.getsource(true).strip()}"
        time.sleep(_PAUSE_S)


async def until(true: Callable[[], bool | Awaitable[bool]], within_s: float = PATIENCE_S) -> None:
    """Wait on a running loop until it is so; the wait ends in `TimeoutError`."""
    async with asyncio.timeout(allowed_s(within_s)):
        while not (await found if inspect.isawaitable(found := true()) else found):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(_PAUSE_S)
