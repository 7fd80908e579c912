"""Purging: a replica that has series forgotten has all others forget them, those that were away included."""

import secrets
from collections.abc import Awaitable, Callable
from functools import partial

from mdcache.cache.behind import Behind
from mdcache.cache.ledger import Ledgers
from mdcache.candles.atrest import Which
from mdcache.candles.commons import Commons
from mdcache.candles.series import Series

_MOST = 256
Forget = Callable[[Which], Awaitable[object]]


class Purging:
    """Purges that this replica took part in, by name. `forget` makes it forget series itself.

    `count` moves with each: what was asked of the commons before may have come from before it.
    """

    def __init__(self, commons: Commons, ledgers: Ledgers, behind: Behind) -> None:
        self.forget: Forget = _forget_nothing
        self.count = 0
        self._commons = commons
        self._ledgers = ledgers
        self._behind = behind
        self._names: dict[bytes, None] = {}  # oldest first

    async def purge(self, which: Which) -> None:
        """Have all others forget; tried again behind, where the commons can't be had now."""
        name = secrets.token_bytes(8)
        self._note(name)
        for key in self._ledgers:
            if which.takes(key):
                self._ledgers.forget(key, name)
        await self._behind.insist(partial(self._commons.purge, which, name))

    def hear(self, which: Which, name: bytes) -> None:
        """Somebody purged."""
        if name not in self._names:
            self._note(name)
            self._behind.start(self._follow(which, name))

    async def meet(self, series: Series, name: bytes) -> None:
        """The series was purged by somebody since we last looked."""
        key = series.key
        self._ledgers.forget(key, name)
        if name not in self._names and (len(series.coverage) or len(series.resting) or series.tail is not None):
            self.count += 1
            await self.forget(Which(key.market, key.subject, key.interval))

    async def _follow(self, which: Which, name: bytes) -> None:
        """Forget too, and have forgotten what we may have given in the meantime."""
        keys = [key for key in self._ledgers if which.takes(key)]
        for key in keys:
            self._ledgers.forget(key, name)
        await self.forget(which)
        for key in keys:
            await self._commons.purge_series(key, name)

    def _note(self, name: bytes) -> None:
        self.count += 1
        self._names[name] = None
        while len(self._names) > _MOST:
            del self._names[next(iter(self._names))]


async def _forget_nothing(_: Which) -> None:
    """Until somebody says how to forget."""
