"""Emit a summary of each minute: what clients asked, and what was read from Binance."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mdcache.background_work import cancel_all, supervise
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, Events, Summary
from mdcache.results import shares
from mdcache.serving.ops.recent_calls import CallCounts

_EACH_S = 60.0


@dataclass(frozen=True, slots=True)
class _Totals:
    at_s: float
    requests: Mapping[str, int]
    calls: CallCounts


class Summaries:
    """Emits a `Summary` each minute, and one of the rest at the end.

    Args:
        clock: measures the minutes.
        events: get the summaries.
        requests: returns the number of clients' requests so far, by result.
        calls: returns the reads of Binance so far.
    """

    def __init__(
        self,
        clock: Clock,
        events: Events,
        requests: Callable[[], Mapping[str, int]],
        calls: Callable[[], CallCounts],
    ) -> None:
        self._clock = clock
        self._events = events
        self._requests = requests
        self._calls = calls
        self._before = self._totals()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the first minute."""
        self._before = self._totals()
        self._task = supervise(BackgroundTask.SUMMARIES, self._run, self._clock, self._events)

    async def aclose(self) -> None:
        """Stop, and emit a summary of the time since the last one."""
        if self._task is not None:
            await cancel_all(self._task)
            self._emit()

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_EACH_S)
            self._emit()

    def _totals(self) -> _Totals:
        return _Totals(self._clock.now(), dict(self._requests()), self._calls())

    def _emit(self) -> None:
        before, now = self._before, self._totals()
        self._before = now
        asked = {result: count - before.requests.get(result, 0) for result, count in now.requests.items()}
        self._events.emit(
            Summary(
                seconds=now.at_s - before.at_s,
                requests=shares(asked),
                reads=now.calls.calls - before.calls.calls,
                failed=now.calls.failed - before.calls.failed,
                weight=now.calls.weight - before.calls.weight,
            )
        )
