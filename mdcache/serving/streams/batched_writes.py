"""Write frames to many listeners: those that came together at once, and never so much that the loop is held."""

import asyncio
from collections import deque
from typing import Protocol

from mdcache.clock import Clock

# A write is a call of the system, which costs more than all else that is done for a listener's frame. So frames that
# come in one step of the loop are one write. With many listeners, writing takes a while: then at least as long passes
# until the next writes, in which other clients are served and more frames come together.
_AT_ONCE = 100  # listeners in one step of the loop
_REST = 1.0  # times what the writes took
_MOST_REST_S = 0.02


class BatchWriter(Protocol):
    """A listener with frames to write."""

    def write_batch(self) -> None:
        """Write the frames."""


class BatchedWrites:
    """The listeners that have frames to write."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[BatchWriter] = deque()
        self._scheduled = False
        self._not_before_s = 0.0
        self._took_s = 0.0

    def add(self, writer: BatchWriter) -> None:
        """Write a listener's frames soon; those that are added until then go with them."""
        self._waiting.append(writer)
        if not self._scheduled:
            self._scheduled = True
            self._schedule(self._not_before_s - self._clock.now())

    def _schedule(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        if delay_s > 0:
            loop.call_later(delay_s, self._write)
        else:
            loop.call_soon(self._write)

    def _write(self) -> None:
        began_s = self._clock.now()
        try:
            for _ in range(min(_AT_ONCE, len(self._waiting))):
                self._waiting.popleft().write_batch()
        finally:  # whatever happens to one, the others are written
            self._wrote(began_s, self._clock.now())

    def _wrote(self, began_s: float, now_s: float) -> None:
        self._took_s += now_s - began_s
        if self._waiting:
            self._schedule(0.0)
            return
        self._scheduled = False
        self._not_before_s = now_s + min(_MOST_REST_S, _REST * self._took_s)
        self._took_s = 0.0
