"""Rows that replicas share, in Redis: a pull or push is one round trip, by a script on one series' keys.

What can't be decoded counts as missing: it is reported, and replaced by the next read from Binance. Rows are kept for
days after their last use, tails for minutes.
"""

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import NamedTuple, TypeVar

from mdcache.candles.block import Block
from mdcache.candles.persistence import SeriesFilter, StoredBlock
from mdcache.candles.ranges import Span
from mdcache.candles.replication import SeriesState, SharedBlock
from mdcache.candles.shared_rows import KnownVersions, LeaseRequest, PullResult, Push
from mdcache.clock import Clock
from mdcache.events import Events
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.leases import LEASE_S, Lease, LeaseState, SharedStoreDown
from mdcache.store_events import StoreOp, TierFailed
from mdcache.stores.block_parts import BlockRecord, assemble
from mdcache.stores.compression import Unreadable
from mdcache.stores.disk.state_dir import StateDir
from mdcache.stores.redis import row_format
from mdcache.stores.redis.calls import Arguments, Calls, lease_value, milliseconds
from mdcache.stores.redis.channel import Channel
from mdcache.stores.redis.client import TIER, RedisClient, RedisDown
from mdcache.stores.redis.purges import PurgeLog
from mdcache.stores.redis.row_format import STAMP_BYTES, EncodedBlock, SeriesKeys
from mdcache.stores.redis.scripts import load

TAIL_S, ROWS_S = 600.0, 3 * 86_400.0
_MAX_BYTES = 512 << 10  # of a tail or of a block's rows; 1,024 rows take 30 to 40 kB
_MAX_EMPTY_RANGES = 1_000

_T = TypeVar("_T")
_Part = tuple[bytes, bytes, bytes]  # of a block: version, base, appended rows, as the script returns them


class RedisRowStore:
    """Implements the port of `candles/shared_rows.py`; rows are encoded and decoded in `thread`."""

    def __init__(
        self,
        client: RedisClient,
        origins: Mapping[Market, str],
        thread: Executor,
        clock: Clock,
        events: Events,
        state_dir: StateDir | None = None,
    ) -> None:
        self._client = client
        self._origins = origins
        self._events = events
        self.channel = Channel(client)
        self._calls = Calls(client, self.channel, thread)
        self._purges = PurgeLog(client, self.channel, clock, events, state_dir)
        self._pull_script, self._push_script = load("leases", "pull"), load("push")

    def start(self) -> None:
        """Start listening to the other replicas."""
        self.channel.start()
        self._purges.start()

    async def apply_missed_purges(self) -> None:
        """Report purges made while this replica was down."""
        await self._purges.poll()

    async def aclose(self) -> None:
        """Stop listening. The client is closed by its owner."""
        await self._purges.aclose()
        self._calls.end()

    def subscribe(
        self, on_lease_end: Callable[[SeriesKey], None], on_purge: Callable[[SeriesFilter, bytes], None]
    ) -> None:
        """Call `on_lease_end` when a read ends that a replica waits for, and `on_purge` after any replica's purge."""
        self.channel.on_series(on_lease_end)
        self._purges.subscribe(on_purge)

    # ------------------------------------------------------------------------------------ pulling

    async def pull(self, key: SeriesKey, known: KnownVersions, lease_request: LeaseRequest | None) -> PullResult:
        """Return what is stored and new to this replica, and which replica may read.

        Args:
            key: the series.
            known: what this replica has.
            lease_request: what a reader needs; `None` for a pull without a lease.

        Raises:
            SharedStoreDown: Redis can't be asked.
        """
        keys = self._keys(key)
        found = await self._pull_once(keys, known, lease_request)
        lost = [index for index in found.unreadable if known.blocks[index][0] and index in found.block_versions]
        if not lost:
            return found
        # only the end was sent, and our own copy of the rest does not match: pull all of it
        whole = dict.fromkeys(lost, (b"", None))
        again = await self._pull_once(keys, replace(known, blocks=whole), None)
        blocks = {**found.state.blocks, **again.state.blocks}
        return replace(
            found,
            state=replace(found.state, blocks=blocks),
            block_versions={**found.block_versions, **again.block_versions},
            unreadable=(found.unreadable - set(lost)) | again.unreadable,
        )

    async def _pull_once(self, keys: SeriesKeys, known: KnownVersions, request: LeaseRequest | None) -> PullResult:
        names = [keys.key("h"), keys.key("t"), keys.key(f"l{request.lease.name}" if request else "l"), keys.key("w")]
        args: Arguments = [known.epoch, known.revisions, known.tail_version[:STAMP_BYTES]]
        if request is None:
            args += ["", 0, "", 0]
        else:
            floor_ms = "" if request.min_as_of_ms is None else request.min_as_of_ms
            args += [floor_ms, request.now_ms, request.lease.holder, request.lease.rank]
        takes = request is not None and request.may_take_lease
        args += [milliseconds(LEASE_S), milliseconds(ROWS_S), "1" if takes else ""]
        for index, (version, mine) in known.blocks.items():
            names += [keys.key(f"b{index}"), keys.key(f"y{index}")]
            base_stamp = version[STAMP_BYTES : 2 * STAMP_BYTES] if mine is not None else b""
            args += [index, version[:STAMP_BYTES], base_stamp]
        reply = _Reply(*await self._calls.run(StoreOp.PULL, self._pull_script, names, args))
        faults: list[str] = []
        if any(part[0] not in {b"", b"="} for part in reply.parts):
            found = await self._calls.in_thread(_decode_pull, keys, known, reply, faults)
        else:
            found = _decode_pull(keys, known, reply, faults)
        for fault in faults:
            self._events.emit(TierFailed(TIER, StoreOp.PULL, fault, lost=True))
        return found

    # ------------------------------------------------------------------------------------ pushing

    async def push(self, key: SeriesKey, push: Push) -> PullResult:
        """Store all of it, or nothing if another replica has pushed since `push.known` was seen.

        Returns:
            The versions of what was stored; `pushed` is false if nothing was.

        Raises:
            SharedStoreDown: Redis can't be asked.
        """
        keys, known, lease = self._keys(key), push.known, push.lease
        tail, empty_ranges, blocks = await self._calls.in_thread(_encode_push, keys, push)
        names = [keys.key("h"), keys.key("t"), keys.key(f"l{lease.name}" if lease else "l"), keys.key("w")]
        args: Arguments = [known.epoch, _new_stamp(), lease_value(lease)]
        args += [self.channel.name, self.channel.series_message(key), milliseconds(TAIL_S), milliseconds(ROWS_S)]
        args += [tail, known.tail_version[:STAMP_BYTES], empty_ranges, known.empty_ranges_version]
        for index, block in blocks.items():
            names += [keys.key(f"b{index}"), keys.key(f"y{index}")]
            args += [index, known.blocks[index][0][:STAMP_BYTES], "1" if index in push.revised_blocks else ""]
            args += [block.version_start, block.version_rest]
            args += [b"=" if block.parts.base is None else block.parts.base, block.parts.appended]
        reply = await self._calls.run(StoreOp.PUSH, self._push_script, names, args)
        if reply[0] != b"pushed":
            return PullResult()
        tail_version = tail[:STAMP_BYTES] + row_format.as_of_bytes(tail) if tail else known.tail_version
        return PullResult(
            reply[1],
            int(reply[2]),
            reply[3],
            tail_version=tail_version,
            tail_as_of_ms=row_format.as_of_ms(tail_version),
            empty_ranges_version=empty_ranges[:STAMP_BYTES] or known.empty_ranges_version,
            block_versions={index: (each.version, each.parts.record.coverage) for index, each in blocks.items()},
            pushed=True,
        )

    # ------------------------------------------------------------------------------------ leases

    async def renew(self, key: SeriesKey, lease: Lease) -> bool:
        """Extend the lease by `LEASE_S`; return whether it was still ours."""
        return await self._calls.renew(self._keys(key).key(f"l{lease.name}"), lease)

    async def release(self, key: SeriesKey, lease: Lease, error: str) -> None:
        """End the lease at once; an `error` is shared for a second."""
        keys, message = self._keys(key), self.channel.series_message(key)
        await self._calls.release(keys.key(f"l{lease.name}"), keys.key("w"), lease, error, message)

    # ------------------------------------------------------------------------------------ purging

    async def purge(self, series_filter: SeriesFilter, name: bytes) -> None:
        """Delete the matching series of this daemon's upstreams, and publish the purge."""
        try:
            await self._purges.purge(series_filter, name, self._origins)
        except RedisDown as error:
            raise SharedStoreDown(str(error)) from error

    async def purge_series(self, key: SeriesKey, name: bytes) -> None:
        """Delete one series, unless the purge of that name has done so."""
        try:
            await self._purges.purge_series(self._keys(key).tag, name)
        except RedisDown as error:
            raise SharedStoreDown(str(error)) from error

    def _keys(self, key: SeriesKey) -> SeriesKeys:
        return row_format.series_keys(self._client.prefix, self._origins[key.market], key)


# ------------------------------------------------------------------------------------ in the thread


class _Reply(NamedTuple):
    """The result of the pull script."""

    epoch: bytes
    revisions: bytes
    last_purge: bytes
    tail: bytes
    empty_ranges: bytes
    lease_state: bytes
    error: bytes
    revised_blocks: list[bytes]
    parts: list[_Part]


def _encode_push(keys: SeriesKeys, push: Push) -> tuple[bytes, bytes, dict[int, EncodedBlock]]:
    """Encode the tail, the empty ranges and the blocks, without those too long to store."""
    state = push.state
    tail = row_format.encode_tail(keys, state.tail, _new_stamp()) if state.tail is not None else b""
    empty_ranges = row_format.encode_empty_ranges(keys, state.outside_blocks, state.empty_ranges)
    if len(state.empty_ranges) > _MAX_EMPTY_RANGES or len(empty_ranges) > _MAX_BYTES:
        return (tail if len(tail) <= _MAX_BYTES else b""), b"", {}
    blocks: dict[int, EncodedBlock] = {}
    for index, shared in state.blocks.items():
        stored, version = shared.stored, push.known.blocks[index][0]
        stamps = (_new_stamp(), _new_stamp())
        encoded = row_format.encode_block(keys, stored, shared.revised_as_of, version, stamps)
        if encoded is not None and encoded.nbytes <= _MAX_BYTES:
            blocks[index] = encoded
    return (tail if len(tail) <= _MAX_BYTES else b""), empty_ranges, blocks


def _decode_pull(keys: SeriesKeys, known: KnownVersions, reply: _Reply, faults: list[str]) -> PullResult:
    """Decode what the script found; add the faults in it to `faults`."""
    tail, tail_version = None, known.tail_version
    if reply.tail != b"=":
        tail_version = reply.tail[:STAMP_BYTES]
        tail = _try_decode(faults, row_format.decode_tail, keys, reply.tail)
        if tail is not None:
            tail_version += row_format.as_of_bytes(reply.tail)
    outside = _try_decode(faults, row_format.decode_empty_ranges, keys, reply.empty_ranges)
    versions: dict[int, tuple[bytes, tuple[Span, ...]]] = {}
    blocks: dict[int, SharedBlock] = {}
    lost: set[int] = set()
    for (index, (version, mine)), part in zip(known.blocks.items(), reply.parts, strict=True):
        if not part[0]:
            continue
        now = version if part[0] == b"=" else part[0]
        try:
            record = row_format.decode_version(keys, index, now)
            if part[0] != b"=":
                rows = _rows(index, record, part, mine)
                blocks[index] = SharedBlock(StoredBlock(rows, record.coverage, record.from_dumps), record.revised_as_of)
            versions[index] = now, record.coverage
        except Unreadable as error:
            faults += [str(error)] if part[1] else []  # otherwise Redis evicted the rows, or they expired
            versions[index] = now[:STAMP_BYTES], ()
            lost.add(index)
    if outside is None:  # it is unknown which empty ranges may still fill
        lost |= set(blocks)
        blocks = {}
    return PullResult(
        reply.epoch,
        int(reply.revisions) if reply.revisions.isdigit() else 0,
        reply.last_purge,
        SeriesState(tail, *(outside or ((), ())), blocks),
        tail_version,
        row_format.as_of_ms(tail_version),
        reply.empty_ranges[:STAMP_BYTES],
        versions,
        frozenset(lost),
        tuple(int(index) for index in reply.revised_blocks),
        LeaseState(reply.lease_state.decode()),
        reply.error.decode(errors="replace"),
    )


def _rows(index: int, record: BlockRecord, part: _Part, mine: Block | None) -> Block:
    """Return the block of a part; if Redis did not send the base, it is in `mine`, our own copy of the block."""
    _, base, appended = part
    if base == b"=" and mine is not None:
        return assemble(index, record, mine, appended)
    return assemble(index, record, base, appended)


def _try_decode(
    faults: list[str], decode: Callable[[SeriesKeys, bytes], _T], keys: SeriesKeys, raw: bytes
) -> _T | None:
    try:
        return decode(keys, raw) if raw else None
    except Unreadable as error:
        faults.append(str(error))
        return None


def _new_stamp() -> bytes:
    return secrets.token_bytes(STAMP_BYTES)
