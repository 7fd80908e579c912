"""Bodies that replicas share, in Redis: one key each, with a time to live; a pull or push is one round trip.

    {…}c            a body: its as-of, the compressed body, and a checksum that includes the upstream and the name
    {…}d, {…}u      the lease to read it, and whether a replica waits

What can't be decoded counts as missing: it is reported, and replaced by the next read from Binance.
"""

import struct
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

import msgspec
import xxhash

from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import SnapshotBody
from mdcache.leases import LEASE_S, Lease, LeaseState, SharedStoreDown
from mdcache.store_events import StoreOp, TierFailed
from mdcache.stores.block_parts import add_checksum, check
from mdcache.stores.compression import Unreadable, compress, decompress
from mdcache.stores.redis.calls import Arguments, Calls, lease_value, milliseconds
from mdcache.stores.redis.channel import Channel
from mdcache.stores.redis.client import TIER, RedisClient, RedisDown
from mdcache.stores.redis.row_format import origin_tag
from mdcache.stores.redis.scripts import load
from mdcache.stores.redis.url import ForeignClient
from mdcache.upstream.replicas.shared_bodies import MOST_BYTES, BodyLeaseRequest, BodyPullResult

_MAX_COMPRESSED = 4 << 20  # bytes that fit a time-out; spot's exchangeInfo, 20 MB, takes a third of it
_SMALL = 16 << 10  # bytes that are decompressed on the event loop
_MAX_AHEAD_MS = 60_000
_AS_OF = struct.Struct(">d")
_BODY = 0  # the index in a body's checksum


class RedisBodyStore:
    """Implements the port of `upstream/replicas/shared_bodies.py`; (de)compresses bodies in `thread`."""

    def __init__(
        self, client: RedisClient, channel: Channel, origins: Mapping[Market, str], thread: Executor, events: Events
    ) -> None:
        self._client = client
        self._channel = channel
        self._calls = Calls(client, channel, thread)
        self._origins = origins
        self._events = events
        self._pull_script, self._push_script = load("leases", "pull_body"), load("push_body")

    def topic(self, market: Market, name: str) -> str:
        """Return the hash tag of its keys."""
        digest = xxhash.xxh3_128_hexdigest(name.encode())
        return f"{{{origin_tag(self._origins[market])}/{market.value}/~{digest}}}"

    def subscribe(self, on_message: Callable[[str], None]) -> None:
        """Call `on_message` with the topic of a body when a read of it ends that a replica waits for."""
        self._channel.on_body(on_message)

    async def aclose(self) -> None:
        """End the thread. The client is closed by its owner."""
        self._calls.end()

    async def pull(self, market: Market, name: str, held_ms: int, need: BodyLeaseRequest | None) -> BodyPullResult:
        """Return the stored body, if it is newer than `held_ms`, and which replica may read.

        Raises:
            SharedStoreDown: Redis can't be asked.
        """
        args: Arguments = [held_ms, 0, "", 0, milliseconds(LEASE_S), ""]
        if need is not None:
            args[1:4] = [need.min_as_of_ms, need.lease.holder, need.lease.rank]
            args[5] = "1" if need.may_take_lease else ""
        raw, state, error = await self._calls.run(StoreOp.PULL, self._pull_script, self._keys(market, name), args)
        body = await self._decode(market, name, raw)
        return BodyPullResult(body, LeaseState(state.decode()), error.decode(errors="replace"))

    async def push(self, market: Market, name: str, body: SnapshotBody, lifetime_s: float, lease: Lease | None) -> None:
        """Store the body for `lifetime_s`, unless it is too long or a newer one is stored; end the lease.

        Raises:
            SharedStoreDown: Redis can't be asked.
        """
        raw = await self._calls.in_thread(_encode, self._identity(market, name), body)
        args: Arguments = [raw if len(raw) <= _MAX_COMPRESSED else b"", max(1, milliseconds(lifetime_s))]
        args += [lease_value(lease), self._channel.name, self._message(market, name), body.as_of_ms + _MAX_AHEAD_MS]
        await self._calls.run(StoreOp.PUSH, self._push_script, self._keys(market, name), args)

    async def renew(self, market: Market, name: str, lease: Lease) -> bool:
        """Extend the lease by `LEASE_S`; return whether it was still ours."""
        return await self._calls.renew(self._keys(market, name)[1], lease)

    async def release(self, market: Market, name: str, lease: Lease, error: str) -> None:
        """End the lease at once; an `error` is shared for a second."""
        _, key, waiting_key = self._keys(market, name)
        await self._calls.release(key, waiting_key, lease, error, self._message(market, name))

    async def purge(self) -> None:
        """Delete all bodies of this daemon's upstreams."""
        try:
            for origin in set(self._origins.values()):
                beginning = f"{self._client.prefix}{{{origin_tag(origin)}/"
                async for key in self._client.scan(beginning, b"*/~*}c"):
                    await self._unlink(key)
        except RedisDown as error:
            raise SharedStoreDown(str(error)) from error

    # ------------------------------------------------------------------------------------ parts

    async def _unlink(self, key: bytes) -> None:
        async def work(client: ForeignClient) -> None:
            await client.unlink(key)

        await self._client.call(StoreOp.PURGE, work)

    async def _decode(self, market: Market, name: str, raw: bytes) -> SnapshotBody | None:
        if not raw:
            return None
        identity = self._identity(market, name)
        try:
            if len(raw) <= _SMALL:
                return _decode(identity, raw)
            return await self._calls.in_thread(_decode, identity, raw)
        except Unreadable as error:
            self._events.emit(TierFailed(TIER, StoreOp.PULL, f"{name}: {error}", lost=True))
            return None

    def _keys(self, market: Market, name: str) -> list[str]:
        tag = self._client.prefix + self.topic(market, name)
        return [tag + part for part in "cdu"]

    def _message(self, market: Market, name: str) -> bytes:
        return self._channel.body_message(self.topic(market, name))

    def _identity(self, market: Market, name: str) -> bytes:
        return msgspec.json.encode([self._origins[market], market, name])


def _encode(identity: bytes, body: SnapshotBody) -> bytes:
    return add_checksum(identity, _BODY, _AS_OF.pack(body.as_of_ms) + compress(body.body))


def _decode(identity: bytes, raw: bytes) -> SnapshotBody:
    """Decode what `_encode` made for this name and upstream; raise `Unreadable` if `raw` is anything else."""
    plain = check(identity, _BODY, raw)
    body = decompress(plain[_AS_OF.size :], MOST_BYTES)
    return SnapshotBody(body, int(_AS_OF.unpack_from(plain)[0]))
