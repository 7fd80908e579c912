"""Copies in Redis: one key for each, written with its time to live, and one round trip to take or to give.

    {…}c            a copy: its as-of, the body deflated, a checksum over the upstream, the name and both
    {…}d, {…}u      the lease to read it, and whether somebody waits

What can't be read is not there: it is counted, and written anew by who reads it from Binance next.
"""

import asyncio
import struct
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import msgspec
import xxhash

from mdcache.candles.commons import ERROR_TOLD_S, LEASE_S, CommonsDown, Hold, Lease
from mdcache.events import Events, TierFailed
from mdcache.exchange.markets import Market
from mdcache.stores.codec import Unreadable
from mdcache.stores.redis.form import glob_of, place_of
from mdcache.stores.redis.link import TIER, Link, RedisDown
from mdcache.stores.redis.news import News
from mdcache.stores.redis.scan import keys_like
from mdcache.stores.redis.scripts import Script, load
from mdcache.upstream.copies import MOST_BYTES, Copy, CopyFound, CopyNeed

_MOST_PACKED = 4 << 20  # bytes, to be had within a time-out; spot's exchangeInfo, 20 MB, takes a third of it
_LEVEL = 1  # 20 MB in a quarter of a second to a twelfth
_SMALL = 16 << 10  # so many are unpacked without a thread
_AHEAD_MS = 60_000
_AS_OF, _SUM = struct.Struct(">d"), struct.Struct(">Q")


class RedisCopies:
    """The port of `upstream/copies.py` over a link. Bodies are packed and unpacked in `thread`."""

    def __init__(self, link: Link, news: News, origins: Mapping[Market, str], thread: Executor, events: Events) -> None:
        self._link = link
        self._news = news
        self._origins = origins
        self._thread = thread
        self._events = events
        self._copy = load("leases", "copy")
        self._keep, self._renew, self._release = map(load, ("keep", "renew", "release"))

    def topic(self, market: Market, name: str) -> str:
        """The hash tag of its keys."""
        digest = xxhash.xxh3_128_hexdigest(name.encode())
        return f"{{{place_of(self._origins[market])}/{market.value}/~{digest}}}"

    def hear(self, told: Callable[[str], None]) -> None:
        """Have it called for what others tell."""
        self._news.hear_copies(told)

    async def aclose(self) -> None:
        """The link is its maker's to end."""
        self._thread.shutdown(wait=False)

    async def take(self, market: Market, name: str, held_ms: int, need: CopyNeed | None) -> CopyFound:
        """What is there and newer, and who may read."""
        args: list[bytes | str | int] = [held_ms, 0, "", 0, _ms(LEASE_S), ""]
        if need is not None:
            lease = need.lease
            args = [held_ms, need.floor_ms, lease.token, lease.rank, _ms(LEASE_S), "1" if need.takes else ""]
        raw, hold, error = await self._run("take", self._copy, self._keys(market, name), args)
        return CopyFound(await self._read(market, name, raw), Hold(hold.decode()), error.decode(errors="replace"))

    async def give(self, market: Market, name: str, copy: Copy, life_s: float, lease: Lease | None) -> None:
        """Put it there, if it is not too long."""
        raw = await self._in_thread(_packed, self._identity(market, name), copy)
        args: list[bytes | str | int] = [raw if len(raw) <= _MOST_PACKED else b"", max(1, _ms(life_s)), _value(lease)]
        args += [self._news.channel, self._news.copied(self.topic(market, name)), copy.as_of_ms + _AHEAD_MS]
        await self._run("give", self._keep, self._keys(market, name), args)

    async def renew(self, market: Market, name: str, lease: Lease) -> bool:
        """Another `LEASE_S`."""
        keys = self._keys(market, name)[1:2]
        return bool(await self._run("renew", self._renew, keys, [_value(lease), _ms(LEASE_S)]))

    async def release(self, market: Market, name: str, lease: Lease, error: str) -> None:
        """At once, with the error told for a second."""
        args: list[bytes | str | int] = [_value(lease), error, _ms(ERROR_TOLD_S)]
        args += [self._news.channel, self._news.copied(self.topic(market, name))]
        await self._run("release", self._release, self._keys(market, name)[1:], args)

    async def purge(self) -> None:
        """Of this daemon's upstreams only."""
        try:
            for origin in set(self._origins.values()):
                pattern = glob_of(f"{self._link.prefix}{{{place_of(origin)}/") + b"*/~*}c"
                async for key in keys_like(self._link, pattern):
                    await self._link.call("purge", _Gone(key))
        except RedisDown as error:
            raise CommonsDown(str(error)) from error

    # ------------------------------------------------------------------------------------ parts

    async def _read(self, market: Market, name: str, raw: bytes) -> Copy | None:
        if not raw:
            return None
        identity = self._identity(market, name)
        try:
            if len(raw) <= _SMALL:
                return _unpacked(identity, raw)
            found: Copy = await self._in_thread(_unpacked, identity, raw)
        except Unreadable as error:
            self._events.emit(TierFailed(TIER, "take", f"{name}: {error}", lost=True))
            return None
        return found

    def _keys(self, market: Market, name: str) -> list[str]:
        tag = self._link.prefix + self.topic(market, name)
        return [tag + part for part in "cdu"]

    def _identity(self, market: Market, name: str) -> bytes:
        return msgspec.json.encode([self._origins[market], market, name])

    async def _run(self, op: str, script: Script, keys: list[str], args: list[bytes | str | int]) -> Any:  # noqa: ANN401
        try:
            return await self._link.call(op, lambda client: script.run(client, keys, args))
        except RedisDown as error:
            raise CommonsDown(str(error)) from error

    async def _in_thread(self, work: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - as `work`
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


class _Gone:
    """The end of one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def __call__(self, client: Any) -> None:  # noqa: ANN401 - redis-py's own
        await client.unlink(self._key)


def _packed(identity: bytes, copy: Copy) -> bytes:
    head = _AS_OF.pack(copy.as_of_ms)
    deflated = zlib.compress(copy.body, _LEVEL)
    return head + deflated + _sum(identity, head, deflated)


def _unpacked(identity: bytes, raw: bytes) -> Copy:
    """`Unreadable` if it is not what `_packed` made for that name of that upstream."""
    head, deflated, checksum = raw[: _AS_OF.size], raw[_AS_OF.size : -_SUM.size], raw[-_SUM.size :]
    if len(raw) < _AS_OF.size + _SUM.size or checksum != _sum(identity, head, deflated):
        raise Unreadable("a copy's checksum")
    unpacker = zlib.decompressobj()
    body = unpacker.decompress(deflated, MOST_BYTES)
    if not unpacker.eof:
        raise Unreadable("too long")
    return Copy(body, int(_AS_OF.unpack(head)[0]))


def _sum(identity: bytes, head: bytes, deflated: bytes) -> bytes:
    whole = xxhash.xxh3_64(identity + head)
    whole.update(deflated)
    return _SUM.pack(whole.intdigest())


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _value(lease: Lease | None) -> str:
    """As the script of the taking wrote it."""
    return f"{lease.rank} {lease.token}" if lease is not None else ""
