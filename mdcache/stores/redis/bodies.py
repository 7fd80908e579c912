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

from mdcache.events import Events, TierFailed
from mdcache.exchange.markets import Market
from mdcache.leases import ERROR_SHARED_S, LEASE_S, Lease, LeaseState, SharedStoreDown
from mdcache.stores.block_codec import Unreadable
from mdcache.stores.redis.channel import Channel
from mdcache.stores.redis.client import TIER, RedisClient, RedisDown
from mdcache.stores.redis.row_format import escape_glob, origin_tag
from mdcache.stores.redis.scan import scan_keys
from mdcache.stores.redis.scripts import Script, load
from mdcache.upstream.replicas.shared_bodies import MOST_BYTES, BodyLeaseRequest, BodyPullResult, SharedBody

_MAX_COMPRESSED = 4 << 20  # bytes, to be had within a time-out; spot's exchangeInfo, 20 MB, takes a third of it
_LEVEL = 1  # 20 MB in a quarter of a second to a twelfth
_SMALL = 16 << 10  # so many are unpacked without a thread
_MAX_AHEAD_MS = 60_000
_AS_OF, _SUM = struct.Struct(">d"), struct.Struct(">Q")


class RedisBodyStore:
    """The port of `upstream/replicas/shared_bodies.py` over a link. Bodies are packed and unpacked in `thread`."""

    def __init__(
        self, client: RedisClient, channel: Channel, origins: Mapping[Market, str], thread: Executor, events: Events
    ) -> None:
        self._client = client
        self._channel = channel
        self._origins = origins
        self._thread = thread
        self._events = events
        self._pull_script = load("leases", "copy")
        self._push_script, self._renew_script, self._release_script = map(load, ("keep", "renew", "release"))

    def topic(self, market: Market, name: str) -> str:
        """The hash tag of its keys."""
        digest = xxhash.xxh3_128_hexdigest(name.encode())
        return f"{{{origin_tag(self._origins[market])}/{market.value}/~{digest}}}"

    def subscribe(self, on_message: Callable[[str], None]) -> None:
        """Have it called for what others tell."""
        self._channel.on_body(on_message)

    async def aclose(self) -> None:
        """The link is its maker's to end."""
        self._thread.shutdown(wait=False)

    async def pull(self, market: Market, name: str, held_ms: int, need: BodyLeaseRequest | None) -> BodyPullResult:
        """What is there and newer, and who may read."""
        args: list[bytes | str | int] = [held_ms, 0, "", 0, _ms(LEASE_S), ""]
        if need is not None:
            lease = need.lease
            args = [
                held_ms,
                need.min_as_of_ms,
                lease.holder,
                lease.rank,
                _ms(LEASE_S),
                "1" if need.may_take_lease else "",
            ]
        raw, hold, error = await self._run("take", self._pull_script, self._keys(market, name), args)
        return BodyPullResult(
            await self._decode(market, name, raw), LeaseState(hold.decode()), error.decode(errors="replace")
        )

    async def push(self, market: Market, name: str, body: SharedBody, lifetime_s: float, lease: Lease | None) -> None:
        """Put it there, if it is not too long."""
        raw = await self._in_thread(_compress, self._identity(market, name), body)
        args: list[bytes | str | int] = [
            raw if len(raw) <= _MAX_COMPRESSED else b"",
            max(1, _ms(lifetime_s)),
            _lease_value(lease),
        ]
        args += [
            self._channel.name,
            self._channel.body_message(self.topic(market, name)),
            body.as_of_ms + _MAX_AHEAD_MS,
        ]
        await self._run("give", self._push_script, self._keys(market, name), args)

    async def renew(self, market: Market, name: str, lease: Lease) -> bool:
        """Another `LEASE_S`."""
        keys = self._keys(market, name)[1:2]
        return bool(await self._run("renew", self._renew_script, keys, [_lease_value(lease), _ms(LEASE_S)]))

    async def release(self, market: Market, name: str, lease: Lease, error: str) -> None:
        """At once, with the error told for a second."""
        args: list[bytes | str | int] = [_lease_value(lease), error, _ms(ERROR_SHARED_S)]
        args += [self._channel.name, self._channel.body_message(self.topic(market, name))]
        await self._run("release", self._release_script, self._keys(market, name)[1:], args)

    async def purge(self) -> None:
        """Of this daemon's upstreams only."""
        try:
            for origin in set(self._origins.values()):
                pattern = escape_glob(f"{self._client.prefix}{{{origin_tag(origin)}/") + b"*/~*}c"
                async for key in scan_keys(self._client, pattern):
                    await self._client.call("purge", _Unlink(key))
        except RedisDown as error:
            raise SharedStoreDown(str(error)) from error

    # ------------------------------------------------------------------------------------ parts

    async def _decode(self, market: Market, name: str, raw: bytes) -> SharedBody | None:
        if not raw:
            return None
        identity = self._identity(market, name)
        try:
            if len(raw) <= _SMALL:
                return _decompress(identity, raw)
            found: SharedBody = await self._in_thread(_decompress, identity, raw)
        except Unreadable as error:
            self._events.emit(TierFailed(TIER, "take", f"{name}: {error}", lost=True))
            return None
        return found

    def _keys(self, market: Market, name: str) -> list[str]:
        tag = self._client.prefix + self.topic(market, name)
        return [tag + part for part in "cdu"]

    def _identity(self, market: Market, name: str) -> bytes:
        return msgspec.json.encode([self._origins[market], market, name])

    async def _run(self, op: str, script: Script, keys: list[str], args: list[bytes | str | int]) -> Any:  # noqa: ANN401
        try:
            return await self._client.call(op, lambda client: script.run(client, keys, args))
        except RedisDown as error:
            raise SharedStoreDown(str(error)) from error

    async def _in_thread(self, work: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - as `work`
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


class _Unlink:
    """The end of one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def __call__(self, client: Any) -> None:  # noqa: ANN401 - redis-py's own
        await client.unlink(self._key)


def _compress(identity: bytes, copy: SharedBody) -> bytes:
    head = _AS_OF.pack(copy.as_of_ms)
    deflated = zlib.compress(copy.body, _LEVEL)
    return head + deflated + _checksum(identity, head, deflated)


def _decompress(identity: bytes, raw: bytes) -> SharedBody:
    """`Unreadable` if it is not what `_packed` made for that name of that upstream."""
    head, deflated, checksum = raw[: _AS_OF.size], raw[_AS_OF.size : -_SUM.size], raw[-_SUM.size :]
    if len(raw) < _AS_OF.size + _SUM.size or checksum != _checksum(identity, head, deflated):
        raise Unreadable("a copy's checksum")
    unpacker = zlib.decompressobj()
    body = unpacker.decompress(deflated, MOST_BYTES)
    if not unpacker.eof:
        raise Unreadable("too long")
    return SharedBody(body, int(_AS_OF.unpack(head)[0]))


def _checksum(identity: bytes, head: bytes, deflated: bytes) -> bytes:
    whole = xxhash.xxh3_64(identity + head)
    whole.update(deflated)
    return _SUM.pack(whole.intdigest())


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _lease_value(lease: Lease | None) -> str:
    """As the script of the taking wrote it."""
    return f"{lease.rank} {lease.holder}" if lease is not None else ""
