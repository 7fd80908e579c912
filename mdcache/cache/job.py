"""Jobs that an operator starts, one of a kind at a time: their states, and the task that runs one."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from mdcache.clock import Clock
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Events


class JobState(StrEnum):
    """The state of a job. `IDLE`: there was none yet; `STOPPED`: it ended early, and its detail says why."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    FAILED = "failed"


UNFINISHED_STATES = frozenset({JobState.RUNNING, JobState.WAITING})


@dataclass(slots=True, kw_only=True)
class Job:
    """What all jobs have. `detail`: what it waits for, or why it ended early; `errors`: by series."""

    began_s: float
    state: JobState = JobState.RUNNING
    detail: str = ""
    weight: int = 0
    ended_s: float | None = None
    errors: dict[str, str] = field(default_factory=dict)

    def set_state(self, state: JobState, detail: str = "") -> None:
        """Wait, go on, or end, as the job's own work says."""
        self.state, self.detail = state, detail

    def seconds(self, now_s: float) -> float:
        """Return how long it took, or has run so far."""
        return (now_s if self.ended_s is None else self.ended_s) - self.began_s


_J = TypeVar("_J", bound=Job)


class JobSlot(Generic[_J]):
    """The job that runs, or ran last.

    Args:
        kind: names the task.
        clock: tells when a job ended.
        events: receives failures that the job's work did not expect.
    """

    def __init__(self, kind: BackgroundTask, clock: Clock, events: Events) -> None:
        self.last: _J | None = None
        self._kind = kind
        self._clock = clock
        self._events = events
        self._task: asyncio.Task[None] | None = None

    @property
    def is_taken(self) -> bool:
        """Whether a job runs."""
        return self._task is not None

    def start(self, job: _J, work: Callable[[_J], Awaitable[None]]) -> None:
        """Start `work` of a job; to be called while none runs."""
        self.last = job
        self._task = asyncio.create_task(self._run(job, work), name=self._kind.value)
        self._task.add_done_callback(lambda task: self._ended(job, task))

    async def cancel(self) -> None:
        """Cancel the job; return once it has ended."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    @staticmethod
    async def _run(job: _J, work: Callable[[_J], Awaitable[None]]) -> None:
        await work(job)

    def _ended(self, job: _J, task: "asyncio.Task[None]") -> None:
        """Record how it ended, even if it was cancelled before its first step."""
        self._task = None
        job.ended_s = self._clock.now()
        if task.cancelled():
            job.set_state(JobState.CANCELLED)
        elif (error := task.exception()) is not None:
            job.set_state(JobState.FAILED, type(error).__name__)
            self._events.emit(BackgroundTaskFailed(self._kind, f"{type(error).__name__}: {error}"))
        elif job.state in UNFINISHED_STATES:
            job.set_state(JobState.DONE)
