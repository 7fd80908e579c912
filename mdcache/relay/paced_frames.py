"""Send frames to all who listen, and where that takes too long, only the newest of each topic (docs/design.md#relay).

A thousand listeners to a thousand topics are more than a core can serve. Then frames of conflatable topics wait, each
replaced by the next one of its topic, so that what is sent is never old, and other work goes on.
"""

import asyncio
from collections.abc import Callable

from mdcache.clock import Clock
from mdcache.relay.frames import RelayedFrame
from mdcache.relay.outbox import Topic

_SHARE = 0.5  # of the time that sending such frames may take, bursts aside
_BURST_S = 0.02
_SLICE_S = 0.002  # in one step of the loop


class PacedFrames:
    """The frames that wait. `send`: sends one to all who listen to its topic."""

    def __init__(self, clock: Clock, send: Callable[[RelayedFrame], None]) -> None:
        self._clock = clock
        self._send = send
        self._waiting: dict[Topic, RelayedFrame] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._owed_s = 0.0  # of waiting, until sending has taken no more than its share
        self._at_s = clock.now()

    def send(self, key: Topic, frame: RelayedFrame) -> None:
        """Send a frame that must not be left out now, after the one of its topic that waits."""
        if (waiting := self._waiting.pop(key, None)) is not None:
            self._timed(waiting)
        self._timed(frame)

    def offer(self, key: Topic, frame: RelayedFrame) -> bool:
        """Send a frame, now or when there is time for it; return whether one is left out that waited."""
        if not self._waiting and self._wait_s() <= 0:
            self._timed(frame)
            return False
        replaces = key in self._waiting
        self._waiting[key] = frame
        self._schedule()
        return replaces

    def drop(self, key: Topic) -> None:
        """Forget the frame of a topic that waits."""
        self._waiting.pop(key, None)

    def cancel(self) -> None:
        """Forget all."""
        self._waiting.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _timed(self, frame: RelayedFrame) -> None:
        began_s = self._clock.now()
        self._send(frame)
        self._owed_s += (self._clock.now() - began_s) / _SHARE

    def _wait_s(self) -> float:
        """Return how long to wait until more may be sent."""
        now_s = self._clock.now()
        self._owed_s, self._at_s = max(0.0, self._owed_s - (now_s - self._at_s)), now_s
        return self._owed_s - _BURST_S

    def _schedule(self) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(max(0.0, self._wait_s()), self._flush)

    def _flush(self) -> None:
        self._handle = None
        until_s = self._clock.now() + _SLICE_S
        while self._waiting and self._wait_s() <= 0 and self._clock.now() < until_s:
            self._timed(self._waiting.pop(next(iter(self._waiting))))
        if self._waiting:
            self._schedule()
