"""Questions that wait for the same thing: one looks for all of them, and they share its answer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import NamedTuple

from mdcache.background_work import cancel_all
from mdcache.clock import Clock
from mdcache.exchange.klines import SeriesKey
from mdcache.results import Result
from mdcache.serving.native.messages import NativeReply, Streamed, TooLong
from mdcache.serving.native.wakes import Wakes
from mdcache.serving.native.watchers import SeriesWatcher, SeriesWatchers

_GATHER_S = 0.05  # after the first change: many series close at once, and one answer tells of all
_SHARED_S = 0.05  # then what it says of its age is made anew
_SHARED_BYTES = 8_000_000  # a longer one is made for each, piece by piece
_AT_ONCE = 32
_FROM_MEMORY = frozenset({Result.HIT, Result.STALE})


@dataclass(frozen=True, slots=True)
class AwaitedQuestion:
    """A question that waits. `look` answers it; questions of equal `identity` have the same answer at one moment."""

    identity: Hashable
    keys: Sequence[SeriesKey]
    closed_only: bool
    look: Callable[[], Awaitable[NativeReply]]


class News(NamedTuple):
    """What a look found, and when it began. `trace`: of an error."""

    made: NativeReply | Exception
    looked_s: float
    trace: TracebackType | None = None


class Waiter:
    """One that waits; `woken` has the news, or `None` when it is over without any."""

    def __init__(self) -> None:
        self.woken: asyncio.Future[News | None] = asyncio.get_running_loop().create_future()
        self._news: News | None = None

    def offer(self, news: News) -> None:
        """Give it news, with which it ends, whatever ends it."""
        self._news = news

    def drain(self) -> None:
        """End the wait: its turn has come, its time is over, its client is gone, or the daemon stops."""
        if not self.woken.done():
            self.woken.set_result(self._news)


class WaitGroup:
    """All that wait with one question. `unchanged`: the last look that found nothing new."""

    def __init__(self, question: AwaitedQuestion, watchers: SeriesWatchers, wakes: Wakes, clock: Clock) -> None:
        self.closed_only = question.closed_only
        self.waiters: dict[Waiter, None] = {}
        self.unchanged: News | None = None
        self._question = question
        self._watchers = watchers
        self._wakes = wakes
        self._clock = clock
        self._changed = asyncio.Event()
        self._joined = [watchers.join(key, self) for key in question.keys]
        self._told_s = max(each.told_s for each in self._joined)
        self._task = asyncio.create_task(self._run())

    def add(self, waiter: Waiter, since_s: float) -> None:
        """Let another one wait. `since_s`: when it was first looked at, so that no change since is missed."""
        self.waiters[waiter] = None
        if self._told_s >= since_s:
            self._changed.set()

    def changed(self, watcher: SeriesWatcher) -> None:
        """Note that something of a series changed."""
        self._told_s = watcher.told_s
        self._changed.set()

    async def aclose(self) -> None:
        """Look no more, and stop listening to the series."""
        await cancel_all(self._task)
        await self._watchers.leave(self._joined, self)

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            if len(self._joined) > 1:
                await self._clock.sleep(_GATHER_S)
            self._changed.clear()
            await self._tell()

    async def _tell(self) -> None:
        """Look, and tell those that wait if anything is new."""
        waiting = list(self.waiters)
        shares = True
        while waiting := [each for each in waiting if not each.woken.done()]:
            await self._wakes.turn()
            looked_s = self._clock.now()
            try:
                made = await self._question.look()
                if made.unchanged:
                    self.unchanged = News(made, looked_s)
                    return
                if shares and len(waiting) > 1 and isinstance(made.reply, Streamed):
                    made = replace(made, reply=await made.reply.joined(_SHARED_BYTES))
            except TooLong:
                shares = False
            except Exception as error:  # noqa: BLE001 - of each that waits
                await self._give(News(error, looked_s, error.__traceback__), iter(waiting))
                return
            else:
                left = iter(waiting) if shares else iter(waiting[:1])
                if made.result in _FROM_MEMORY:
                    await self._give(News(made, looked_s), left, looked_s + _SHARED_S)
                else:  # to look again might be another read
                    await self._give(News(made, looked_s), islice(left, 1))
                    await self._give(News(made.collapsed(), looked_s), left)

    async def _give(self, news: News, waiting: Iterator[Waiter], until_s: float | None = None) -> None:
        """Wake some at a time, until it is too late."""
        while some := list(islice(waiting, _AT_ONCE)):
            for waiter in some:
                waiter.offer(news)
                self._wakes.add(waiter.drain)
            await self._wakes.turn()
            if until_s is not None and self._clock.now() > until_s:
                return
