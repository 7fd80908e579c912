"""Purges in Redis: each series stores the name of its last one, and a short log lists them all.

A replica that pulls a series sees its purge there. If Redis does not have a series, those that hold it see its purge in
the log, which is polled on each message and every other second. The purges already applied to the rows in a state
directory are saved beside them: a replica that restarts applies those it missed.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from mdcache.background_work import cancel_all, supervise
from mdcache.candles.persistence import SeriesFilter
from mdcache.clock import Clock
from mdcache.events import BackgroundTask, Events
from mdcache.exchange.markets import Market
from mdcache.exchange.undecodable import UNDECODABLE
from mdcache.store_events import StoreOp
from mdcache.stores.disk.state_dir import StateDir, replace_file
from mdcache.stores.redis import row_format
from mdcache.stores.redis.channel import Channel
from mdcache.stores.redis.client import RedisClient, RedisDown
from mdcache.stores.redis.scripts import load
from mdcache.stores.redis.url import ForeignClient

_POLL_S = 2.0
FILE = "purges"
MAX_ENTRIES = 256  # in the log
_LOG_S = 30 * 86_400.0  # a replica with rows on its disk that was down for longer misses purges
_TOMBSTONE_S = 3 * 86_400.0  # rows are kept this long


class _PurgeEntry(msgspec.Struct, frozen=True, array_like=True):
    name: bytes
    market: Market | None
    subject: str | None
    interval: str | None


class PurgeLog:
    """The purges of all replicas with one prefix."""

    def __init__(
        self, client: RedisClient, channel: Channel, clock: Clock, events: Events, state_dir: StateDir | None = None
    ) -> None:
        self._client = client
        self._channel = channel
        self._clock = clock
        self._events = events
        self._key = f"{client.prefix}purges"
        self._script = load("purge")
        self._on_purge: Callable[[SeriesFilter, bytes], None] = lambda _filter, _name: None
        self._state_dir = state_dir
        self._saved = _read_followed(state_dir)
        self._seen = self._saved
        self._poll_now = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    def subscribe(self, on_purge: Callable[[SeriesFilter, bytes], None]) -> None:
        """Call `on_purge` for each purge, our own included."""
        self._on_purge = on_purge
        self._channel.on_purge(self._poll_now.set)

    def start(self) -> None:
        """Start polling."""
        self._poller = supervise(BackgroundTask.PURGES, self._poll_forever, self._clock, self._events)

    async def poll(self) -> None:
        """Report the purges that are new since the last poll, if Redis can be asked."""
        with suppress(RedisDown):  # the client reported it; a later poll reports what is in the log
            self._report_new(await self._client.call(StoreOp.LIST_PURGES, self._entries))

    async def aclose(self) -> None:
        """Stop polling."""
        await cancel_all(self._poller)

    async def purge(self, series_filter: SeriesFilter, name: bytes, origins: Mapping[Market, str]) -> None:
        """Delete all matching series of these upstreams; raise `RedisDown` if some could not be deleted."""
        entry = msgspec.json.encode(
            _PurgeEntry(name, series_filter.market, series_filter.subject, series_filter.interval)
        )
        await self._client.call(StoreOp.PURGE, lambda client: self._append(client, entry))
        origin_tags = {row_format.origin_tag(origin) for origin in origins.values()}
        async for header in self._client.scan(self._client.prefix, row_format.HEADERS):
            series = row_format.parse_header_key(self._client.prefix, header)
            if series is not None and series.origin_tag in origin_tags and series_filter.matches(series.key):
                await self.purge_series(series.tag, name)

    async def purge_series(self, tag: str, name: bytes) -> None:
        """Delete one series and store the purge's name there, unless that was done already."""
        keys = [f"{tag}h", f"{tag}t"]
        args: list[bytes | str | int] = [
            name,
            secrets.token_bytes(row_format.STAMP_BYTES),
            round(_TOMBSTONE_S * 1000),
            tag,
        ]
        await self._client.call(StoreOp.PURGE, lambda client: self._script.run(client, keys, args))

    async def _append(self, client: ForeignClient, entry: bytes) -> None:
        await client.lpush(self._key, entry)
        await client.ltrim(self._key, 0, MAX_ENTRIES - 1)
        await client.pexpire(self._key, round(_LOG_S * 1000))
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
            if quiet and self._seen != self._saved:  # purges reported a poll ago have been applied
                self._saved = self._seen
                await asyncio.to_thread(_write_followed, self._state_dir, self._seen)

    async def _entries(self, client: ForeignClient) -> list[bytes]:
        found: list[bytes] = await client.lrange(self._key, 0, MAX_ENTRIES - 1)
        return found

    def _report_new(self, entries: list[bytes]) -> None:
        """Report purges since the last poll, or since the last poll of the process that used this directory before."""
        before, self._seen = self._seen, frozenset(entries)
        found = [(raw, entry) for raw in reversed(entries) if (entry := _decode_entry(raw)) is not None]
        if before and len(entries) >= MAX_ENTRIES and not before & self._seen:  # some were missed
            self._on_purge(SeriesFilter(), secrets.token_bytes(row_format.STAMP_BYTES))
        for raw, entry in found:
            if raw not in before:
                self._on_purge(SeriesFilter(entry.market, entry.subject, entry.interval), entry.name)


def _decode_entry(raw: bytes) -> _PurgeEntry | None:
    try:
        return msgspec.json.decode(raw, type=_PurgeEntry)
    except UNDECODABLE:
        return None


def _read_followed(state_dir: StateDir | None) -> frozenset[bytes]:
    """Return the entries that were applied; none if they can't be read: then all are applied again."""
    if state_dir is None:
        return frozenset()
    try:
        return frozenset(msgspec.msgpack.decode((state_dir.path / FILE).read_bytes(), type=list[bytes]))
    except (OSError, msgspec.MsgspecError):
        return frozenset()


def _write_followed(state_dir: StateDir | None, entries: frozenset[bytes]) -> None:
    """Save that these were applied; if that fails, they are applied again after the next start."""
    if state_dir is None or state_dir.lock < 0:
        return
    with suppress(OSError):  # the stores in this directory report that
        replace_file(state_dir.path / FILE, msgspec.msgpack.encode(sorted(entries)))
