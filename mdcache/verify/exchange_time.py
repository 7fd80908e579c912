"""The exchange's time, as measured once by its `time` path: good to half a round trip, which is enough for a run."""

from mdcache.clock import Clock

MINUTE_MS = 60_000


class MeasuredTime:
    """Exchange time by a clock that never steps; this machine's own time until it is measured."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ms = clock.wall_ms() - clock.now() * 1000
        self.error_ms: float | None = None

    def now_ms(self) -> float:
        """Return milliseconds since the Unix epoch."""
        return self._clock.now() * 1000 + self._ahead_ms

    def measured(self, server_ms: int, sent_s: float, received_s: float) -> None:
        """Adopt what a reply says, if its round trip was the shortest so far.

        Args:
            server_ms: the exchange's own time in the reply.
            sent_s: when the question was sent, by the clock's `now()`.
            received_s: when the reply's head came.
        """
        error_ms = (received_s - sent_s) * 500 + 1
        if self.error_ms is None or error_ms < self.error_ms:
            self.error_ms = error_ms
            self._ahead_ms = server_ms - (sent_s + received_s) * 500

    async def sleep_until(self, ms: float) -> None:
        """Return when the exchange's time is `ms`."""
        while (left_ms := ms - self.now_ms()) > 0:
            await self._clock.sleep(left_ms / 1000)
