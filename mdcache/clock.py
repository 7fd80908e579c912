"""Time as an object: the only module that uses `time.*` and `asyncio.sleep`.

All other code gets a `Clock`, so that daemon, exchange and clients can run in one process with a fake one. A clock
never steps and never stops: `now()` counts time in suspend, too (`CLOCK_BOOTTIME`), because a tail from before a night
in suspend must not look two seconds old.
"""

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # only on Linux; elsewhere the next best

_SLEEP_S = 10.0  # after a suspend, so much later at most than it should be


class Instant(NamedTuple):
    """A moment of exchange time with its possible error, both in milliseconds."""

    ms: int
    error_ms: int

    @property
    def early_ms(self) -> int:
        """Return the earliest it may be; used for closes."""
        return self.ms - self.error_ms

    @property
    def late_ms(self) -> int:
        """Return the latest it may be; used for expiry."""
        return self.ms + self.error_ms


def boot_id() -> str:
    """Return which boot of this machine `SystemClock.now` counts from; empty if the system doesn't say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


class Clock(Protocol):
    """Seconds that only go forward, the wall clock's milliseconds, and a way to wait."""

    def now(self) -> float:
        """Return seconds since an arbitrary moment; never goes back, counts time in suspend."""

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch by this machine's clock, which may step and be wrong."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`; at the next iteration of the event loop if that is not positive."""


class SystemClock:
    """The machine's own clock. `now` returns seconds since boot, suspend included."""

    now = staticmethod(partial(time.clock_gettime, _BOOTTIME))  # each hit calls it: a method costs twice as much

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch by this machine's clock."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running loop, whose own timers stop in suspend: a long sleep is made of short ones."""
        until_s = self.now() + seconds
        while (left_s := until_s - self.now()) > _SLEEP_S:  # noqa: ASYNC110 - no event tells that a machine was suspended
            await asyncio.sleep(_SLEEP_S)
        await asyncio.sleep(max(0.0, left_s))
