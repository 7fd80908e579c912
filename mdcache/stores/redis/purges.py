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

from mdcache.candles.persistence import SeriesFilter
from mdcache.clock import Clock
from mdcache.exchange.markets import Market
from mdcache.stores.disk.state_dir import StateDir
from mdcache.stores.redis import last_purge, row_format
from mdcache.stores.redis.channel import Channel
from mdcache.stores.redis.client import RedisClient, RedisDown
from mdcache.stores.redis.closing import cancel_all
from mdcache.stores.redis.scan import scan_keys
from mdcache.stores.redis.scripts import load
from mdcache.stores.redis.url import ForeignClient

_POLL_S = 2.0
_MAX_ENTRIES = last_purge.MAX_ENTRIES  # names in the list
_LIST_S = 30 * 86_400.0  # a replica that was away for longer, with rows on its disk, learns of none
_TOMBSTONE_S = 3 * 86_400.0  # as long as rows are kept


class _PurgeEntry(msgspec.Struct, frozen=True, array_like=True):
    name: bytes
    market: Market | None
    subject: str | None
    interval: str | None


class PurgeLog:
    """Purges of all replicas under one prefix."""

    def __init__(self, client: RedisClient, channel: Channel, clock: Clock, state_dir: StateDir | None = None) -> None:
        self._client = client
        self._channel = channel
        self._clock = clock
        self._key = f"{client.prefix}purges"
        self._script = load("purge")
        self._on_purge: Callable[[SeriesFilter, bytes], None] = lambda _which, _name: None
        self._state_dir = state_dir
        self._saved = last_purge.read(state_dir)
        self._seen = self._saved
        self._poll_now = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    def subscribe(self, on_purge: Callable[[SeriesFilter, bytes], None]) -> None:
        """Have `purged` called for each purge, one's own included."""
        self._on_purge = on_purge
        self._channel.on_purge(self._poll_now.set)

    def start(self) -> None:
        """Look from now on."""
        self._poller = asyncio.get_running_loop().create_task(self._poll_forever(), name="purges in redis")

    async def poll(self) -> None:
        """Tell of those that are new since the last look, if Redis can be asked."""
        with suppress(RedisDown):  # the link told; what is in the list by then is told when it is back
            self._report_new(await self._client.call("purges", self._entries))

    async def aclose(self) -> None:
        """Look no more."""
        if self._poller is not None:
            await cancel_all(self._poller)

    async def purge(self, series_filter: SeriesFilter, name: bytes, origins: Mapping[Market, str]) -> None:
        """Forget all series of these upstreams that match; raises `RedisDown` where not all could be."""
        entry = msgspec.json.encode(
            _PurgeEntry(name, series_filter.market, series_filter.subject, series_filter.interval)
        )
        await self._client.call("purge", lambda client: self._append(client, entry))
        places = {row_format.origin_tag(origin): market for market, origin in origins.items()}
        async for head in scan_keys(self._client, row_format.header_pattern(self._client.prefix)):
            series = row_format.parse_header_key(self._client.prefix, head)
            if series is not None and series.origin_tag in places and series_filter.matches(series.key):
                await self.purge_series(series.tag, name)

    async def purge_series(self, tag: str, name: bytes) -> None:
        """Forget one series and leave word of it, unless that purge did already."""
        keys = [f"{tag}h", f"{tag}t"]
        args: list[bytes | str | int] = [
            name,
            secrets.token_bytes(row_format.STAMP_BYTES),
            round(_TOMBSTONE_S * 1000),
            tag,
        ]
        await self._client.call("purge", lambda client: self._script.run(client, keys, args))

    async def _append(self, client: ForeignClient, entry: bytes) -> None:
        await client.lpush(self._key, entry)
        await client.ltrim(self._key, 0, _MAX_ENTRIES - 1)
        await client.pexpire(self._key, round(_LIST_S * 1000))
        await client.publish(self._channel.name, self._channel.purge_message)

    async def _poll_forever(self) -> None:
        while True:
            await self.poll()
            self._poll_now.clear()
            waiting = asyncio.ensure_future(self._poll_now.wait())
            sleeping = asyncio.ensure_future(self._clock.sleep(_POLL_S))
            try:
                await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                quiet = not sleeping.cancel()
            if quiet and self._seen != self._saved:  # what was told so long ago is followed
                self._saved = self._seen
                await asyncio.to_thread(last_purge.write, self._state_dir, self._seen)

    async def _entries(self, client: ForeignClient) -> list[bytes]:
        found: list[bytes] = await client.lrange(self._key, 0, _MAX_ENTRIES - 1)
        return found

    def _report_new(self, entries: list[bytes]) -> None:
        """Those that are new since the last look, or since the process that wrote this folder's rows looked."""
        before, self._seen = self._seen, frozenset(entries)
        found = [(raw, entry) for raw in reversed(entries) if (entry := _decode_entry(raw)) is not None]
        if before and len(entries) >= _MAX_ENTRIES and not before & self._seen:  # some came and went unseen
            self._on_purge(SeriesFilter(), secrets.token_bytes(row_format.STAMP_BYTES))
        for raw, entry in found:
            if raw not in before:
                self._on_purge(SeriesFilter(entry.market, entry.subject, entry.interval), entry.name)


def _decode_entry(raw: bytes) -> _PurgeEntry | None:
    try:
        return msgspec.json.decode(raw, type=_PurgeEntry)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
