"""The commons in Redis: one round trip to take, one to give, each a script that touches the keys of one series.

What can't be read is not there: it is counted, and written anew by who reads it from Binance next. Rows are kept
for days after they were last asked for, tails for minutes.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, TypeVar

from mdcache.candles.block import Block
from mdcache.candles.persistence import SeriesFilter, StoredBlock
from mdcache.candles.replication import SeriesState, SharedBlock
from mdcache.candles.shared_rows import KnownVersions, LeaseRequest, PullResult, Push
from mdcache.clock import Clock
from mdcache.events import Events, TierFailed
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.leases import ERROR_SHARED_S, LEASE_S, Lease, LeaseState, SharedStoreDown
from mdcache.stores.block_codec import Unreadable
from mdcache.stores.disk.state_dir import StateDir
from mdcache.stores.redis import row_format
from mdcache.stores.redis.channel import Channel
from mdcache.stores.redis.client import TIER, RedisClient, RedisDown
from mdcache.stores.redis.purges import PurgeLog
from mdcache.stores.redis.row_format import EncodedBlock, SeriesKeys
from mdcache.stores.redis.scripts import Script, load

TAIL_S, ROWS_S = 600.0, 3 * 86_400.0
_MAX_BYTES = 512 << 10  # of a tail or of a block's rows; 1,024 rows take 30 to 70 kB
_MAX_EMPTY_RANGES = 1_000

_T = TypeVar("_T")
_Parts = tuple[bytes, bytes, bytes]


class RedisRowStore:
    """The port of `candles/shared_rows.py` over a link. Rows are packed and unpacked in `thread`."""

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
        self._thread = thread
        self._events = events
        self.channel = Channel(client)
        self._purges = PurgeLog(client, self.channel, clock, state_dir)
        self._pull_script = load("leases", "take")
        self._push_script, self._renew_script, self._release_script = map(load, ("give", "renew", "release"))

    def start(self) -> None:
        """Listen to the others from now on."""
        self.channel.start()
        self._purges.start()

    async def apply_missed_purges(self) -> None:
        """Hear of what was purged while this replica was away."""
        await self._purges.poll()

    async def aclose(self) -> None:
        """Listen no more; the link is its maker's to end."""
        await self._purges.aclose()
        self._thread.shutdown(wait=False)

    def subscribe(
        self, on_lease_end: Callable[[SeriesKey], None], on_purge: Callable[[SeriesFilter, bytes], None]
    ) -> None:
        """Have them called for what others tell."""
        self.channel.on_series(on_lease_end)
        self._purges.subscribe(on_purge)

    # ------------------------------------------------------------------------------------ taking

    async def pull(self, key: SeriesKey, known: KnownVersions, lease_request: LeaseRequest | None) -> PullResult:
        """What is there and not here, and who may read."""
        at = self._keys(key)
        found = await self._pull_once(at, known, lease_request)
        lost = [index for index in found.unreadable if known.blocks[index][0] and index in found.block_versions]
        if not lost:
            return found
        # what differs is only its end, and our own form of the rest does not fit: once more, whole
        whole = dict.fromkeys(lost, (b"", None))
        again = await self._pull_once(at, replace(known, blocks=whole), None)
        blocks = {**found.state.blocks, **again.state.blocks}
        return replace(
            found,
            state=replace(found.state, blocks=blocks),
            block_versions={**found.block_versions, **again.block_versions},
            unreadable=(found.unreadable - set(lost)) | again.unreadable,
        )

    async def _pull_once(self, at: SeriesKeys, have: KnownVersions, need: LeaseRequest | None) -> PullResult:
        keys = [at.key("h"), at.key("t"), at.key(f"l{need.lease.name}" if need else "l"), at.key("w")]
        args: list[bytes | str | int] = [have.epoch, have.revisions, have.tail_version[: row_format.STAMP_BYTES]]
        if need is None:
            args += ["", 0, "", 0]
        else:
            args += [
                "" if need.min_as_of_ms is None else need.min_as_of_ms,
                need.now_ms,
                need.lease.holder,
                need.lease.rank,
            ]
        args += [_ms(LEASE_S), _ms(ROWS_S), "1" if need is not None and need.may_take_lease else ""]
        for index, (mark, mine) in have.blocks.items():
            keys += [at.key(f"b{index}"), at.key(f"y{index}")]
            args += [
                index,
                mark[: row_format.STAMP_BYTES],
                mark[row_format.STAMP_BYTES : 2 * row_format.STAMP_BYTES] if mine is not None else b"",
            ]
        reply = await self._run("take", self._pull_script, keys, args)
        faults: list[str] = []
        if any(part[0] not in {b"", b"="} for part in reply[-1]):
            found = await self._in_thread(_decode_pull, at, have, reply, faults)
        else:
            found = _decode_pull(at, have, reply, faults)
        for fault in faults:
            self._events.emit(TierFailed(TIER, "take", fault, lost=True))
        return found

    # ------------------------------------------------------------------------------------ giving

    async def push(self, key: SeriesKey, push: Push) -> PullResult:
        """All of it, or nothing where another gave since `gift.have` was seen."""
        at, have, shared = self._keys(key), push.known, push.state
        tail, emptiness, blocks = await self._in_thread(self._encode_push, at, push)
        lease = push.lease
        keys = [at.key("h"), at.key("t"), at.key(f"l{lease.name}" if lease else "l"), at.key("w")]
        args: list[bytes | str | int] = [have.epoch, _new_stamp(), _lease_value(lease)]
        args += [self.channel.name, self.channel.series_message(key), _ms(TAIL_S), _ms(ROWS_S)]
        args += [tail, have.tail_version[: row_format.STAMP_BYTES], emptiness, have.empty_ranges_version]
        for index, written in blocks.items():
            keys += [at.key(f"b{index}"), at.key(f"y{index}")]
            args += [
                index,
                have.blocks[index][0][: row_format.STAMP_BYTES],
                "1" if index in push.revised_blocks else "",
            ]
            args += [written.version_start, written.version_rest, b"=" if written.base is None else written.base]
            args.append(written.appended)
        reply = await self._run("give", self._push_script, keys, args)
        if reply[0] != b"given":
            return PullResult()
        tail_mark = tail[: row_format.STAMP_BYTES] + row_format.as_of_bytes(tail) if tail else have.tail_version
        return PullResult(
            reply[1],
            int(reply[2]),
            reply[3],
            tail_version=tail_mark,
            tail_as_of_ms=row_format.as_of_ms(tail_mark),
            empty_ranges_version=emptiness[: row_format.STAMP_BYTES] or have.empty_ranges_version,
            block_versions={
                index: (each.version, shared.blocks[index].stored.coverage) for index, each in blocks.items()
            },
            pushed=True,
        )

    def _encode_push(self, at: SeriesKeys, gift: Push) -> tuple[bytes, bytes, dict[int, EncodedBlock]]:
        """In the thread: the parts as bytes; those too long to be kept are left out."""
        shared = gift.state
        tail = row_format.encode_tail(at, shared.tail, _new_stamp()) if shared.tail is not None else b""
        emptiness = row_format.encode_empty_ranges(at, shared.outside_blocks, shared.empty_ranges)
        blocks: dict[int, EncodedBlock] = {}
        if len(shared.empty_ranges) <= _MAX_EMPTY_RANGES:
            for index, block in shared.blocks.items():
                mark = gift.known.blocks[index][0]
                kept, stamps = block.stored, (_new_stamp(), _new_stamp())
                written = row_format.encode_block(at, kept.block, kept.coverage, block.revised_as_of, mark, stamps)
                if written is not None and written.nbytes <= _MAX_BYTES:
                    blocks[index] = written
        fits = len(shared.empty_ranges) <= _MAX_EMPTY_RANGES and len(emptiness) <= _MAX_BYTES
        return (tail if len(tail) <= _MAX_BYTES else b""), (emptiness if fits else b""), (blocks if fits else {})

    # ------------------------------------------------------------------------------------ leases

    async def renew(self, key: SeriesKey, lease: Lease) -> bool:
        """Another `LEASE_S`."""
        keys: list[str] = [self._keys(key).key(f"l{lease.name}")]
        return bool(await self._run("renew", self._renew_script, keys, [_lease_value(lease), _ms(LEASE_S)]))

    async def release(self, key: SeriesKey, lease: Lease, error: str) -> None:
        """At once, with the error told for a second."""
        at = self._keys(key)
        args: list[bytes | str | int] = [_lease_value(lease), error, _ms(ERROR_SHARED_S)]
        args += [self.channel.name, self.channel.series_message(key)]
        await self._run("release", self._release_script, [at.key(f"l{lease.name}"), at.key("w")], args)

    # ------------------------------------------------------------------------------------ purging

    async def purge(self, series_filter: SeriesFilter, name: bytes) -> None:
        """Of this daemon's upstreams only."""
        try:
            await self._purges.purge(series_filter, name, self._origins)
        except RedisDown as error:
            raise SharedStoreDown(str(error)) from error

    async def purge_series(self, key: SeriesKey, name: bytes) -> None:
        """One of them."""
        try:
            await self._purges.purge_series(self._keys(key).tag, name)
        except RedisDown as error:
            raise SharedStoreDown(str(error)) from error

    # ------------------------------------------------------------------------------------ parts

    def _keys(self, key: SeriesKey) -> SeriesKeys:
        return row_format.series_keys(self._client.prefix, self._origins[key.market], key)

    async def _run(self, op: str, script: Script, keys: list[str], args: list[bytes | str | int]) -> Any:  # noqa: ANN401
        try:
            return await self._client.call(op, lambda client: script.run(client, keys, args))
        except RedisDown as error:
            raise SharedStoreDown(str(error)) from error

    async def _in_thread(self, work: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


def _decode_pull(at: SeriesKeys, have: KnownVersions, reply: list[Any], faults: list[str]) -> PullResult:
    """What the script returned; what is broken in it is told in `faults`, for this may run in the thread."""
    epoch, revisions, purge, raw_tail, raw_emptiness, hold, error, revised, parts = reply
    tail, tail_mark = None, have.tail_version
    if raw_tail != b"=":
        tail_mark = raw_tail[: row_format.STAMP_BYTES]
        tail = _try_decode(faults, row_format.decode_tail, at, raw_tail) if raw_tail else None
        if tail is not None:
            tail_mark += row_format.as_of_bytes(raw_tail)
    emptiness = _try_decode(faults, row_format.decode_empty_ranges, at, raw_emptiness) if raw_emptiness else None
    bare, voids = emptiness or ((), ())
    marks, blocks, lost = {}, {}, set()
    for (index, (mark, mine)), part in zip(have.blocks.items(), parts, strict=True):
        if not part[0]:
            continue
        card = mark if part[0] == b"=" else part[0]
        told = _try_decode(faults, row_format.known_ranges, at, index, card)
        rows = _decode_rows(faults, at, index, card, part, mine) if part[0] != b"=" and told is not None else None
        marks[index] = (card, told[0]) if told is not None else (card[: row_format.STAMP_BYTES], ())
        if told is None or (part[0] != b"=" and rows is None):
            marks[index] = (card[: row_format.STAMP_BYTES], ())
            lost.add(index)
        elif rows is not None:
            blocks[index] = SharedBlock(StoredBlock(rows, told[0]), told[1])
    if emptiness is None:  # emptiness among the rows may fill, and nobody knows where
        lost |= set(blocks)
        blocks = {}
    shared = SeriesState(tail, bare, voids, blocks)
    return PullResult(
        epoch,
        int(revisions) if revisions.isdigit() else 0,
        purge,
        shared,
        tail_mark,
        row_format.as_of_ms(tail_mark),
        raw_emptiness[: row_format.STAMP_BYTES],
        marks,
        frozenset(lost),
        tuple(int(index) for index in revised),
        LeaseState(hold.decode()),
        error.decode(errors="replace"),
    )


def _decode_rows(
    faults: list[str], at: SeriesKeys, index: int, card: bytes, part: _Parts, mine: Block | None
) -> Block | None:
    _, base, young = part
    if not base:
        return None  # Redis gave it up, or it ran out
    return _try_decode(faults, row_format.decode_block, at, index, card, None if base == b"=" else base, young, mine)


def _try_decode(faults: list[str], read: Callable[..., _T], *args: object) -> _T | None:
    try:
        return read(*args)
    except Unreadable as error:
        faults.append(str(error))
        return None


def _new_stamp() -> bytes:
    return secrets.token_bytes(row_format.STAMP_BYTES)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _lease_value(lease: Lease | None) -> str:
    """As the script of the taking wrote it."""
    return f"{lease.rank} {lease.holder}" if lease is not None else ""
