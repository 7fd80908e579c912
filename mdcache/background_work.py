"""Work beside the loop: supervise tasks, and do long computations in threads, or in turns with what else there is."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any, ParamSpec, TypeVar

from mdcache.clock import Clock
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events

_PAUSE_S = 1.0
_MAX_PAUSE_S = 60.0
_CANCEL_AGAIN_S = 0.1
LONG_BYTES = 1 << 18  # to parse or compress so many takes about a millisecond
_NEVER = threading.Event()
_GIVE_WAY_S = 0.0002
_T = TypeVar("_T")
_P = ParamSpec("_P")


def supervise(
    task: BackgroundTask, work: Callable[[], Awaitable[None]], clock: Clock, events: Events
) -> asyncio.Task[None]:
    """Start `work` in the background; after an exception, report it, and start it again after a pause.

    The pause doubles with each exception up to a minute, until `work` went well for as long.

    Returns:
        A task that ends when `work` returns. The caller keeps it, and cancels it at shutdown.
    """
    return asyncio.create_task(_run(task, work, clock, events), name=task.value)


async def _run(task: BackgroundTask, work: Callable[[], Awaitable[None]], clock: Clock, events: Events) -> None:
    pause_s = _PAUSE_S
    while True:
        began_s = clock.now()
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - it must not end the task
            events.emit(BackgroundTaskFailed(task, f"{type(error).__name__}: {error}"))
        else:
            return
        pause_s = _PAUSE_S if clock.now() - began_s >= _MAX_PAUSE_S else pause_s
        await clock.sleep(pause_s)
        pause_s = min(2 * pause_s, _MAX_PAUSE_S)


async def compute(nbytes: int, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return the result of a pure computation over `nbytes`; a long one is done in a thread.

    The event loop goes on meanwhile: `daemon/lifecycle.py` has the interpreter change threads often.
    """
    if nbytes > LONG_BYTES:
        return await asyncio.to_thread(call, *args, **kwargs)
    return call(*args, **kwargs)


def give_way() -> None:
    """Let the event loop run, if this is a thread beside it; to be called about once a millisecond of computation.

    On a core that both share, the system would let the loop wait until the thread has had its 3 ms.
    """
    if threading.current_thread() is not threading.main_thread():
        _NEVER.wait(_GIVE_WAY_S)


async def in_turns(steps: Generator[None, None, _T], clock: Clock) -> _T:
    """Return what `steps` return; the event loop's other work has its turn between two of them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result
        await clock.sleep(0.0)


async def cancel_all(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel the tasks and wait until they have ended.

    They are cancelled repeatedly if needed: redis-py swallows a cancellation that arrives while it connects.
    """
    left = started = {task for task in tasks if task is not None}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*started, return_exceptions=True)
