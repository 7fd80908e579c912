"""The stored form of a block, on disk and in Redis: a record, a base, and the rows appended since. Pure.

Rule: docs/design.md#blocks.

A row that settles each minute must not cause a thousand to be rewritten: up to `MAX_APPENDED_ROWS` are stored beside
the base. The record says what is known of the block's span and proves the rows by digests. Its checksum also covers the
identity of the series, so that a record is never used for another series.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

import msgspec
import xxhash

from mdcache.candles.block import Block
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.persistence import StoredBlock
from mdcache.candles.ranges import Span
from mdcache.stores.block_codec import decode, digest, encode
from mdcache.stores.compression import Unreadable

MAX_APPENDED_ROWS = 64  # 1.5 to 4 kB per minute are written for a series of one-minute rows
CHECKSUM_BYTES = 8
_OUTSIDE_BLOCKS = -2  # the index in checksums of what lies outside all blocks

_T = TypeVar("_T")


class BlockRecord(msgspec.Struct, frozen=True, array_like=True):
    """The metadata stored with a block's rows.

    `rows` and `digest` are those of the whole block; the base holds `base_rows` of them, from `base_first_ms` on.
    Earlier releases wrote no `from_dumps`, and ignore it.
    """

    coverage: tuple[Span, ...]
    revised_as_of: Mapping[int, int]
    rows: int
    digest: int
    base_first_ms: int
    base_rows: int
    base_digest: int
    from_dumps: tuple[Span, ...] = ()


class Parts(NamedTuple):
    """A block as it is written; `base` is `None` if the stored one is still right, `appended` may be empty."""

    record: BlockRecord
    base: bytes | None
    appended: bytes


def split(kept: StoredBlock, revised_as_of: Mapping[int, int], stored: BlockRecord | None) -> Parts | None:
    """Return the parts of a block that must be written.

    Args:
        kept: its rows as they are now, and what is known of its span.
        revised_as_of: by open time, the as-of of the read that found a row changed.
        stored: the stored record; `None` if there is none, or it can't be read.

    Returns:
        The parts; `None` if all of them are stored already.
    """
    block, spans, dumps = kept.block, kept.coverage, kept.from_dumps
    revised, now = dict(revised_as_of), digest(block)
    if stored is None or not _extends(block, stored):
        record = BlockRecord(spans, revised, len(block), now, block.open_times[0], len(block), now, dumps)
        return Parts(record, encode(block), b"")
    first, rows, base = stored.base_first_ms, stored.base_rows, stored.base_digest
    record = BlockRecord(spans, revised, len(block), now, first, rows, base, dumps)
    if record == stored:
        return None
    return Parts(record, None, encode(block.part(rows, len(block))) if len(block) > rows else b"")


def assemble(index: int, record: BlockRecord, base: object, appended: object) -> Block:
    """Return the block that is stored.

    Args:
        index: the block's.
        record: its record.
        base: as it was read, or a block in memory that should have the same rows.
        appended: as it was read.

    Raises:
        Unreadable: these are not the rows of the record.
    """
    if not isinstance(base, bytes | Block) or not isinstance(appended, bytes):
        raise Unreadable("its rows are missing")
    block = _base_of(base, record) if isinstance(base, Block) else decode(index, base)
    if appended:
        block = _joined(block, decode(index, appended))
    if len(block) != record.rows or digest(block) != record.digest:
        raise Unreadable("its rows fail the checksum")
    return block


def _extends(block: Block, stored: BlockRecord) -> bool:
    """Return whether the block begins with exactly the rows of the stored base, and has few others."""
    if not stored.base_rows <= len(block) <= stored.base_rows + MAX_APPENDED_ROWS:
        return False
    return digest(block.part(0, stored.base_rows)) == stored.base_digest


def _base_of(block: Block, record: BlockRecord) -> Block:
    first = bisect_left(block.open_times, record.base_first_ms)
    if first + record.base_rows > len(block):
        raise Unreadable("the block in memory has too few rows")
    return block.part(first, first + record.base_rows)


def _joined(base: Block, appended: Block) -> Block:
    shift = base.row_ends[-1] + 1
    row_ends = base.row_ends + array("I", [end + shift for end in appended.row_ends])
    return Block(base.index, base.open_times + appended.open_times, row_ends, base.text + b"," + appended.text)


# ------------------------------------------------------------------------------------------- as bytes


class _OutsideBlocks(msgspec.Struct, frozen=True, array_like=True):
    coverage: tuple[Span, ...]
    empty_ranges: list[tuple[int, int, int, bool]]


def encode_record(identity: bytes, index: int, record: BlockRecord) -> bytes:
    """Return the record of block `index` of the series that `identity` names, with its checksum."""
    return add_checksum(identity, index, msgspec.msgpack.encode(record))


def decode_record(identity: bytes, index: int, raw: object) -> BlockRecord:
    """Decode the result of `encode_record`; raise `Unreadable` if `raw` is anything else."""
    return unpack(check(identity, index, raw), BlockRecord)


def encode_outside(identity: bytes, coverage: Iterable[Span], empty_ranges: Iterable[EmptyRange]) -> bytes:
    """Return what is known of a series outside all blocks, and its empty ranges, with a checksum."""
    ranges = [(each.start_ms, each.end_ms, each.checked_ms, each.hole) for each in empty_ranges]
    return add_checksum(identity, _OUTSIDE_BLOCKS, msgspec.msgpack.encode(_OutsideBlocks(tuple(coverage), ranges)))


def decode_outside(identity: bytes, raw: object) -> tuple[tuple[Span, ...], tuple[EmptyRange, ...]]:
    """Decode the result of `encode_outside`; raise `Unreadable` if `raw` is anything else."""
    read = unpack(check(identity, _OUTSIDE_BLOCKS, raw), _OutsideBlocks)
    return read.coverage, tuple(EmptyRange(*each) for each in read.empty_ranges)


def add_checksum(identity: bytes, index: int, body: bytes) -> bytes:
    """Return `body` followed by an 8-byte checksum of it, the series and the index."""
    return body + _checksum(identity, index, body)


def check(identity: bytes, index: int, raw: object) -> bytes:
    """Check and remove the checksum of `add_checksum`; raise `Unreadable` if `raw` is anything else."""
    if not isinstance(raw, bytes) or raw[-CHECKSUM_BYTES:] != _checksum(identity, index, raw[:-CHECKSUM_BYTES]):
        raise Unreadable("the checksum fails")
    return raw[:-CHECKSUM_BYTES]


def unpack(body: bytes, kind: type[_T]) -> _T:
    """Decode MessagePack; raise `Unreadable` if it is not of this type."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Unreadable(str(error)) from error


def _checksum(identity: bytes, index: int, body: bytes) -> bytes:
    hasher = xxhash.xxh3_64(identity + struct.pack(">q", index))
    hasher.update(body)
    return hasher.digest()
