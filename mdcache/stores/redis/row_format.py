"""The format of a series in Redis: its keys, and its parts, encoded with a checksum and decoded. Pure.

    {…}h    hash, the header: e epoch, r revisions so far, p name of the last purge, b what is known outside blocks,
            k<index> a block's version, g when versions without rows were last looked for (Unix seconds)
    {…}t    tail
    {…}b<index>, {…}y<index>    a block's base, and the rows appended since (`block_parts`)
    {…}l<class>, {…}w           a lease, and whether a replica waits for it

The hash tag between the braces is the same for all keys of a series, which keeps them on one node of a cluster. Every
part begins with an eight-byte stamp, new with each write: a replica that has the stamp has the part. Checksums cover
the upstream's base URL and the series, so that no part is used for another series.

A block's version is its stamp, its base's stamp, its revision (set by the script), and its record.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

import msgspec
import xxhash

from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.persistence import StoredBlock
from mdcache.candles.ranges import Span
from mdcache.candles.tail import Tail
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.rows import Row
from mdcache.stores import block_parts
from mdcache.stores.block_parts import CHECKSUM_BYTES, BlockRecord, Parts
from mdcache.stores.compression import Unreadable, compress, decompress

HEADERS = b"{*}h"  # the pattern of all headers' keys, after the prefix
STAMP_BYTES = 8
_VERSION_HEADER_BYTES = 3 * 8  # stamp, base's stamp, revision
_TIME, _TIMES = struct.Struct(">d"), struct.Struct(">2d")
_TAIL = -1  # the index in a tail's checksum
_MAX_BYTES = 4 << 20


class _Row(msgspec.Struct, frozen=True, array_like=True):
    open_ms: int
    close_ms: int
    trades: int
    raw: bytes


class _Tail(msgspec.Struct, frozen=True, array_like=True):
    start_ms: int
    as_of_ms: int
    error_ms: int
    since_ms: dict[int, int]
    rows: list[_Row]


@dataclass(frozen=True, slots=True)
class SeriesKeys:
    """Where a series of one upstream is stored: the hash tag with its prefix, and the identity that checksums cover."""

    tag: str
    identity: bytes

    def key(self, part: str) -> str:
        """Return the key of one of its parts."""
        return self.tag + part


def series_keys(prefix: str, origin: str, key: SeriesKey) -> SeriesKeys:
    """Return the keys of series `key` of the upstream `origin`."""
    parts = (key.market.value, key.kind, key.subject, key.contract_type, key.interval, key.zone_minutes)
    name = "/".join([*(quote(str(part), safe="") for part in parts), "us" if key.micros else "ms"])
    return SeriesKeys(f"{prefix}{{{origin_tag(origin)}/{name}}}", msgspec.json.encode([origin, name]))


def origin_tag(origin: str) -> str:
    """Return the start of the tags of an upstream's series."""
    return xxhash.xxh3_64_hexdigest(origin.encode())


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """A series as named by its header's key; `origin_tag` identifies its upstream."""

    tag: str
    origin_tag: str
    key: SeriesKey


def parse_header_key(prefix: str, key: bytes) -> StoredSeries | None:
    """Return the series whose header has this key; `None` if the key is not ours."""
    text = key.decode(errors="replace")
    parts = [unquote(part) for part in text.removeprefix(prefix)[1:-2].split("/")]
    try:
        where, market, kind, subject, contract_type, interval, zone, unit = parts
        series = SeriesKey(Market(market), kind, subject, contract_type, interval, int(zone), micros=unit == "us")
    except ValueError:
        return None
    return StoredSeries(text[:-1], where, series)


# ---------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """A block to be written: its version in two parts, between which Redis sets the revision, and its rows."""

    version_start: bytes
    version_rest: bytes
    parts: Parts

    @property
    def version(self) -> bytes:
        """Its version, as the replica that wrote it keeps it."""
        return self.version_start + bytes(8) + self.version_rest

    @property
    def nbytes(self) -> int:
        """The size of its rows in bytes."""
        return len(self.parts.base or b"") + len(self.parts.appended)


def encode_block(
    keys: SeriesKeys,
    kept: StoredBlock,
    revised_as_of: Mapping[int, int],
    version: bytes,
    stamps: tuple[bytes, bytes],
) -> EncodedBlock | None:
    """Encode what Redis lacks of a block.

    Args:
        keys: of the series.
        kept: its rows as they are now, and what is known of its span.
        revised_as_of: by open time, the as-of of the read that found a row changed.
        version: the stored version; empty if there is none.
        stamps: new ones, for the block and for its base.

    Returns:
        What to write; `None` if it is stored already.
    """
    try:
        before = decode_version(keys, kept.block.index, version)
    except Unreadable:
        before = None
    parts = block_parts.split(kept, revised_as_of, before)
    if parts is None:
        return None
    base_stamp = stamps[1] if parts.base is not None else version[STAMP_BYTES : 2 * STAMP_BYTES]
    record = block_parts.encode_record(keys.identity + base_stamp, kept.block.index, parts.record)
    return EncodedBlock(stamps[0] + base_stamp, record, parts)


def decode_version(keys: SeriesKeys, index: int, version: bytes) -> BlockRecord:
    """Return the record in a block's version; raise `Unreadable` if there is none."""
    base_stamp = version[STAMP_BYTES : 2 * STAMP_BYTES]
    return block_parts.decode_record(keys.identity + base_stamp, index, version[_VERSION_HEADER_BYTES:])


# --------------------------------------------------------------------------- tail, empty ranges


def encode_tail(keys: SeriesKeys, tail: Tail, stamp: bytes) -> bytes:
    """Encode the tail, preceded by its times for the script to read."""
    rows = [_Row(*row) for row in tail.rows]
    body = msgspec.msgpack.encode(_Tail(tail.start_ms, tail.as_of_ms, tail.error_ms, tail.since_ms, rows))
    until_ms = -1 if tail.open_until_ms is None else tail.open_until_ms
    times = _TIMES.pack(tail.as_of_ms, until_ms)
    return stamp + block_parts.add_checksum(keys.identity, _TAIL, times + compress(body))


def decode_tail(keys: SeriesKeys, raw: bytes) -> Tail:
    """Decode what `encode_tail` returned; raise `Unreadable` if `raw` is anything else."""
    body = block_parts.check(keys.identity, _TAIL, raw[STAMP_BYTES:])[_TIMES.size :]
    read = block_parts.unpack(decompress(body, _MAX_BYTES), _Tail)
    rows = tuple(Row(row.open_ms, row.close_ms, row.trades, row.raw) for row in read.rows)
    return Tail(read.start_ms, rows, read.as_of_ms, read.since_ms, read.error_ms)


def as_of_bytes(tail: bytes) -> bytes:
    """Return the as-of that precedes a tail; its version is the stamp and this."""
    return tail[STAMP_BYTES : 2 * STAMP_BYTES]


def as_of_ms(version: bytes) -> int:
    """Return the as-of in a tail's version; -1 if there is none."""
    return -1 if len(version) < 2 * STAMP_BYTES else int(_TIME.unpack(version[STAMP_BYTES : 2 * STAMP_BYTES])[0])


def encode_empty_ranges(keys: SeriesKeys, outside_blocks: Iterable[Span], empty_ranges: Iterable[EmptyRange]) -> bytes:
    """Encode what is known outside all blocks, and the empty ranges; the stamp is derived from the content."""
    body = block_parts.encode_outside(keys.identity, outside_blocks, empty_ranges)
    return body[-CHECKSUM_BYTES:] + body


def decode_empty_ranges(keys: SeriesKeys, raw: bytes) -> tuple[tuple[Span, ...], tuple[EmptyRange, ...]]:
    """Decode what `encode_empty_ranges` returned; raise `Unreadable` if `raw` is anything else."""
    return block_parts.decode_outside(keys.identity, raw[STAMP_BYTES:])
