"""Purges through Redis: each series keeps word of its last one, and a short list names them all.

Who looks at a series learns from its own word; who has series that Redis has not learns from the list, which is
looked at on each message and every other second. What a folder's rows know of rests with them: who comes back follows
what was purged while it was away.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from mdcache.candles.atrest import Which
from mdcache.clock import Clock
from mdcache.exchange.markets import Market
from mdcache.stores.folder import Folder
from mdcache.stores.redis import followed, form
from mdcache.stores.redis.address import Client
from mdcache.stores.redis.ending import end
from mdcache.stores.redis.link import Link, RedisDown
from mdcache.stores.redis.news import News
from mdcache.stores.redis.scan import keys_like
from mdcache.stores.redis.scripts import load

_LOOK_EACH_S = 2.0
_MOST = followed.MOST  # names in the list
_LIST_S = 30 * 86_400.0  # a replica that was away for longer, with rows on its disk, learns of none
_WORD_S = 3 * 86_400.0  # as long as rows are kept


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    name: bytes
    market: Market | None
    subject: str | None
    interval: str | None


class Purges:
    """Purges of all replicas under one prefix."""

    def __init__(self, link: Link, news: News, clock: Clock, folder: Folder | None = None) -> None:
        self._link = link
        self._news = news
        self._clock = clock
        self._key = f"{link.prefix}purges"
        self._script = load("purge")
        self._heard: Callable[[Which, bytes], None] = lambda _which, _name: None
        self._folder = folder
        self._resting = followed.read(folder)
        self._seen = self._resting
        self._again = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def hear(self, purged: Callable[[Which, bytes], None]) -> None:
        """Have `purged` called for each purge, one's own included."""
        self._heard = purged
        self._news.hear_purges(self._again.set)

    def start(self) -> None:
        """Look from now on."""
        self._looking = asyncio.get_running_loop().create_task(self._look_for_ever(), name="purges in redis")

    async def look(self) -> None:
        """Tell of those that are new since the last look, if Redis can be asked."""
        with suppress(RedisDown):  # the link told; what is in the list by then is told when it is back
            self._tell(await self._link.call("purges", self._entries))

    async def aclose(self) -> None:
        """Look no more."""
        if self._looking is not None:
            await end(self._looking)

    async def purge(self, which: Which, name: bytes, origins: Mapping[Market, str]) -> None:
        """Forget all series of these upstreams that match; raises `RedisDown` where not all could be."""
        entry = msgspec.json.encode(_Entry(name, which.market, which.subject, which.interval))
        await self._link.call("purge", lambda client: self._note(client, entry))
        places = {form.place_of(origin): market for market, origin in origins.items()}
        async for head in keys_like(self._link, form.heads_pattern(self._link.prefix)):
            series = form.of_head(self._link.prefix, head)
            if series is not None and series.where in places and which.takes(series.key):
                await self.purge_series(series.tag, name)

    async def purge_series(self, tag: str, name: bytes) -> None:
        """Forget one series and leave word of it, unless that purge did already."""
        keys = [f"{tag}h", f"{tag}t"]
        args: list[bytes | str | int] = [name, secrets.token_bytes(form.STAMP), round(_WORD_S * 1000), tag]
        await self._link.call("purge", lambda client: self._script.run(client, keys, args))

    async def _note(self, client: Client, entry: bytes) -> None:
        await client.lpush(self._key, entry)
        await client.ltrim(self._key, 0, _MOST - 1)
        await client.pexpire(self._key, round(_LIST_S * 1000))
        await client.publish(self._news.channel, self._news.purged)

    async def _look_for_ever(self) -> None:
        while True:
            await self.look()
            self._again.clear()
            waiting = asyncio.ensure_future(self._again.wait())
            sleeping = asyncio.ensure_future(self._clock.sleep(_LOOK_EACH_S))
            try:
                await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                quiet = not sleeping.cancel()
            if quiet and self._seen != self._resting:  # what was told so long ago is followed
                self._resting = self._seen
                await asyncio.to_thread(followed.write, self._folder, self._seen)

    async def _entries(self, client: Client) -> list[bytes]:
        found: list[bytes] = await client.lrange(self._key, 0, _MOST - 1)
        return found

    def _tell(self, entries: list[bytes]) -> None:
        """Those that are new since the last look, or since the process that wrote this folder's rows looked."""
        before, self._seen = self._seen, frozenset(entries)
        found = [(raw, entry) for raw in reversed(entries) if (entry := _entry(raw)) is not None]
        if before and len(entries) >= _MOST and not before & self._seen:  # some came and went unseen
            self._heard(Which(), secrets.token_bytes(form.STAMP))
        for raw, entry in found:
            if raw not in before:
                self._heard(Which(entry.market, entry.subject, entry.interval), entry.name)


def _entry(raw: bytes) -> _Entry | None:
    try:
        return msgspec.json.decode(raw, type=_Entry)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
