"""Wait until something of a question's series has changed (docs/design.md#native)."""

import asyncio
from collections.abc import Hashable

from mdcache.clock import Clock
from mdcache.errors import LaneFull
from mdcache.serving.listeners import ListenerKind, Listeners
from mdcache.serving.native.wait_group import AwaitedQuestion, News, Waiter, WaitGroup
from mdcache.serving.native.wakes import Wakes
from mdcache.serving.native.watchers import SeriesWatchers
from mdcache.serving.responses import Receive, wait_until_gone

_FULL_RETRY_S = 5.0


class Waits:
    """All questions that wait; they count as listeners, and have no loops of their own."""

    def __init__(self, watchers: SeriesWatchers, listeners: Listeners, clock: Clock) -> None:
        self._watchers = watchers
        self._listeners = listeners
        self._clock = clock
        self._wakes = Wakes(clock)
        self._groups: dict[Hashable, WaitGroup] = {}

    async def news(self, question: AwaitedQuestion, receive: Receive, wait_s: float, since_s: float) -> News | None:
        """Return what a look found after a change; if nothing changed in time, what the last look found, if any did.

        Args:
            question: What to look for.
            receive: Tells when the client is gone, which ends the wait; so does a shutdown.
            wait_s: For how long.
            since_s: When it was first looked at.

        Raises:
            LaneFull: Too many listen already.
        """
        if (refusal := self._listeners.refusal()) is not None:
            raise LaneFull(_FULL_RETRY_S, refusal.removesuffix("."))
        group = self._groups.get(question.identity)
        if group is None:
            group = self._groups[question.identity] = WaitGroup(question, self._watchers, self._wakes, self._clock)
        waiter, began_s = Waiter(), self._clock.now()
        self._listeners.add(waiter, question.keys[0].market, ListenerKind.WAIT)
        group.add(waiter, since_s)
        deadline = asyncio.get_running_loop().call_later(wait_s, waiter.drain)
        gone = asyncio.create_task(wait_until_gone(receive))
        gone.add_done_callback(lambda _: waiter.drain())
        try:
            news = await waiter.woken
        finally:
            deadline.cancel()
            gone.cancel()
            self._listeners.remove(waiter)
            del group.waiters[waiter]
            if not group.waiters:
                del self._groups[question.identity]
                await group.aclose()
        if news is None and group.unchanged is not None and group.unchanged.looked_s >= began_s:
            return group.unchanged
        return news
