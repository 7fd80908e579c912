"""Wait until something of a question's series has changed (docs/design.md#native)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from mdcache.background_work import cancel_all
from mdcache.clock import Clock
from mdcache.errors import LaneFull
from mdcache.exchange.klines import SeriesKey
from mdcache.serving.listeners import ListenerKind, Listeners
from mdcache.serving.native.watchers import SeriesWatcher, SeriesWatchers
from mdcache.serving.responses import Receive, wait_until_gone

_GATHER_S = 0.05  # after the first change: many series close at once, and one answer tells of all
_FULL_RETRY_S = 5.0


class Waiter:
    """One question that waits; `ended`: its client is gone, or the daemon stops. It has no loop of its own.

    `since_s`: when it was first looked at, so that what has changed by now is not missed.
    """

    def __init__(
        self, keys: Sequence[SeriesKey], watchers: SeriesWatchers, *, closed_only: bool, since_s: float
    ) -> None:
        self.closed_only = closed_only
        self.ended = False
        self._watchers = watchers
        self._woken = asyncio.Event()
        self._joined = [watchers.join(key, self) for key in keys]
        if any(each.told_s >= since_s for each in self._joined):
            self._woken.set()

    def changed(self, watcher: SeriesWatcher) -> None:
        """Note that something of a series changed."""
        del watcher
        self._woken.set()

    def drain(self) -> None:
        """End the wait."""
        self.ended = True
        self._woken.set()

    async def wait(self, clock: Clock) -> None:
        """Wait until something changed since the last call, or it is ended."""
        await self._woken.wait()
        if not self.ended:
            await clock.sleep(_GATHER_S)
        self._woken.clear()

    async def aclose(self) -> None:
        """Stop listening to the series."""
        await self._watchers.leave(self._joined, self)


class Waits:
    """All questions that wait; they count as listeners."""

    def __init__(self, watchers: SeriesWatchers, listeners: Listeners) -> None:
        self._watchers = watchers
        self._listeners = listeners

    @asynccontextmanager
    async def waiter(
        self, keys: Sequence[SeriesKey], receive: Receive, *, closed_only: bool, since_s: float
    ) -> AsyncIterator[Waiter]:
        """Listen to series for as long as the client is there; raise `LaneFull` if too many listen already."""
        if (refusal := self._listeners.refusal()) is not None:
            raise LaneFull(_FULL_RETRY_S, refusal.removesuffix("."))
        waiter = Waiter(keys, self._watchers, closed_only=closed_only, since_s=since_s)
        self._listeners.add(waiter, keys[0].market, ListenerKind.WAIT)
        gone = asyncio.create_task(wait_until_gone(receive))
        gone.add_done_callback(lambda _: waiter.drain())
        try:
            yield waiter
        finally:
            self._listeners.remove(waiter)
            await cancel_all(gone)
            await waiter.aclose()
