"""Single flight: at most one read in progress for the same thing, shared by all callers, and its error remembered.

A caller that gives up does not affect the others: a read runs in its own task, and each caller waits until its own
deadline. An error is remembered for a moment, so that a failing question costs one read, not one for each caller.
"""

import asyncio
import copy
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Generic, Protocol, TypeVar

from mdcache.background_work import cancel_all
from mdcache.clock import Clock
from mdcache.errors import DeadlinePassed, MdcacheError, Refusal, UpstreamFailed
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events
from mdcache.upstream.priority import Priority

_ERROR_MEMO_S = 1.0  # docs/design.md#shared-errors
_MAX_ERRORS = 4_096


class SharedRead(Protocol):
    """A read that any number of callers may wait for.

    `priority`: the best of its callers'. `task`: runs it; set when it starts.
    """

    priority: Priority
    task: "asyncio.Task[None] | None"


_K = TypeVar("_K", bound=Hashable)
_R = TypeVar("_R", bound=SharedRead)


class SingleFlight(Generic[_K, _R]):
    """Start reads, and let callers join those in progress. A read carries its own result.

    Args:
        task: The name of the tasks, and of failures reported as `BackgroundTaskFailed`.
        run: Performs a read.
        finished: Called in the same step as the read ends, with its error; `None` if it succeeded or was cancelled.
        error_key: The key under which the error of a read is remembered.
        error_memo_s: How long, in seconds.
    """

    def __init__(
        self,
        task: BackgroundTask,
        clock: Clock,
        events: Events,
        run: Callable[[_R], Awaitable[None]],
        finished: Callable[[_R, BaseException | None], None],
        error_key: Callable[[_R], Hashable],
        error_memo_s: float = _ERROR_MEMO_S,
    ) -> None:
        self._task = task
        self._clock = clock
        self._events = events
        self._run = run
        self._on_finished = finished
        self._error_key = error_key
        self._error_memo_s = error_memo_s
        self._under_way: dict[_K, list[_R]] = {}
        self._errors: OrderedDict[Hashable, tuple[float, MdcacheError]] = OrderedDict()  # oldest first

    def __len__(self) -> int:
        """Return how many reads are in progress."""
        return sum(map(len, self._under_way.values()))

    def join(
        self, key: _K, priority: Priority, satisfies: Callable[[_R], bool], new: Callable[[], _R]
    ) -> tuple[_R, bool]:
        """Join a read in progress, or start one.

        Args:
            key: Only reads with this key are considered.
            priority: The caller's; a read that is joined becomes at least as urgent.
            satisfies: Returns whether a read in progress will have what the caller wants.
            new: Makes a new read if none does.

        Returns:
            The read, and whether another caller started it.

        Raises:
            UpstreamFailed, Refusal: The error with which the same read failed less than `error_memo_s` ago.
        """
        for read in self._under_way.get(key, ()):
            if read.task is not None and not read.task.done() and satisfies(read):
                improve_priority(read.priority, priority)
                return read, True
        read = new()
        until_s, error = self._errors.get(self._error_key(read), (0.0, None))
        if error is not None and self._clock.now() < until_s:
            raise copy.copy(error)
        self._under_way.setdefault(key, []).append(read)
        read.task = asyncio.get_running_loop().create_task(self._do(read), name=f"{self._task} {key}")
        read.task.add_done_callback(partial(self._finished, key, read))
        return read, False

    async def wait(self, read: _R, deadline_s: float) -> None:
        """Wait for the end of `read` without ever cancelling it.

        Args:
            read: As `join` returned it.
            deadline_s: By the clock's `now()`.

        Raises:
            DeadlinePassed: It did not end in time, or the process is shutting down.
            MdcacheError: A copy of the error of `read`.
        """
        if read.task is None:
            return
        await asyncio.wait({read.task}, timeout=max(0.0, deadline_s - self._clock.now()))
        if not read.task.done():
            raise DeadlinePassed(1.0, "no answer from Binance in time")
        if read.task.cancelled():
            raise DeadlinePassed(1.0, "shutting down")
        error = read.task.exception()
        if error is not None:
            raise copy.copy(error)

    async def aclose(self) -> None:
        """Cancel the reads in progress."""
        tasks = [read.task for reads in self._under_way.values() for read in reads if read.task is not None]
        await cancel_all(*tasks)

    async def _do(self, read: _R) -> None:
        await self._run(read)

    def _finished(self, key: _K, read: _R, task: "asyncio.Task[None]") -> None:
        reads = self._under_way[key]
        reads.remove(read)
        if not reads:
            del self._under_way[key]
        error = None if task.cancelled() else task.exception()
        self._on_finished(read, error)
        if isinstance(error, UpstreamFailed | Refusal):
            self._remember(self._error_key(read), error)
        elif error is not None and not isinstance(error, MdcacheError):
            self._events.emit(BackgroundTaskFailed(self._task, f"{type(error).__name__}: {error}"))

    def _remember(self, key: Hashable, error: MdcacheError) -> None:
        now_s = self._clock.now()
        while self._errors and (len(self._errors) >= _MAX_ERRORS or next(iter(self._errors.values()))[0] <= now_s):
            self._errors.popitem(last=False)
        self._errors.pop(key, None)
        # a copy has no traceback, whose frames would keep the reply in memory
        self._errors[key] = now_s + self._error_memo_s, copy.copy(error)


def improve_priority(priority: Priority, by: Priority) -> None:
    """Raise a shared read to the better lane and the later deadline of one more caller."""
    priority.lane = min(priority.lane, by.lane, key=lambda lane: lane.rank)
    priority.deadline_s = max(priority.deadline_s, by.deadline_s)
    priority.close_passed = priority.close_passed or by.close_passed
    priority.paced = priority.paced and by.paced
