"""Long work in slices, between which everything else has its turn: a thousand listeners may end in one moment."""

import asyncio
from collections import deque
from collections.abc import Iterator

from mdcache.clock import Clock

_SLICE_S = 0.002
_REST = 1.0  # times what a slice took, until the next one


class SlicedWork:
    """Does jobs in their order. A job is an iterator, each step of which is short."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: deque[Iterator[None]] = deque()
        self._handle: asyncio.TimerHandle | None = None
        self._running = False
        self._not_before_s = 0.0

    def add(self, job: Iterator[None]) -> None:
        """Do a job now, unless others are being done or were just done; the rest of it after this slice."""
        self._jobs.append(job)
        if not self._running and self._handle is None:
            if self._clock.now() >= self._not_before_s:
                self._run()
            else:
                self._schedule()

    def cancel(self) -> None:
        """Forget all jobs."""
        self._jobs.clear()
        if self._handle is not None:
            self._handle.cancel()

    def _schedule(self) -> None:
        delay_s = max(0.0, self._not_before_s - self._clock.now())
        self._handle = asyncio.get_running_loop().call_later(delay_s, self._run)

    def _run(self) -> None:
        self._handle, self._running = None, True
        began_s = self._clock.now()
        try:
            while self._jobs:
                if next(self._jobs[0], self) is self:
                    self._jobs.popleft()
                if self._clock.now() - began_s >= _SLICE_S:
                    break
        finally:  # a job that has failed has ended, and the next ones follow
            self._running = False
            now_s = self._clock.now()
            self._not_before_s = now_s + _REST * (now_s - began_s)
            if self._jobs:
                self._schedule()
