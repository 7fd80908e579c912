"""How a series looks in Redis: its keys, and its parts as bytes with a checksum, and back. Pure.

    {…}h    hash: e epoch, r revisions so far, p name of the last purge, b emptiness, k<index> a block's card, g when
            cards without rows were last looked for (Unix seconds)
    {…}t    tail
    {…}b<index>, {…}y<index>    a block's rows: the base, written anew when rows changed or many were added, and the
                                young, which were added since
    {…}l<class>, {…}w           a lease, and whether somebody waits for it

What is between the braces is the same for all keys of a series, which keeps them on one node of a cluster. Every part
begins with a stamp of eight bytes, new with each write: who holds the stamp knows the part. Checksums cover
the upstream's base URL and the series, so that nothing is taken for another's.
"""

import re
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote, unquote

import msgspec
import xxhash

from mdcache.candles.block import Block
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.ranges import Span
from mdcache.candles.tail import Tail
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.exchange.rows import Row
from mdcache.stores.block_codec import Unreadable, decode, digest, encode

MAX_APPENDED_ROWS = 64  # more of them, and the base is written anew
STAMP_BYTES = 8
_VERSION_HEADER_BYTES = 3 * 8  # stamp, base's stamp, revision
_TAIL_HEADER_BYTES = 3 * 8  # stamp, as-of, close of the open candle
_SUM = struct.Struct(">Q")
_TIME, _TIMES = struct.Struct(">d"), struct.Struct(">2d")
_COMPRESS_FROM = 1_024  # bytes
_MAX_BYTES = 4 << 20
_GLOB = re.compile(r"[\\*?\[\]]")

_T = TypeVar("_T")


class _BlockVersion(msgspec.Struct, frozen=True, array_like=True):
    known: list[Span]
    revised: dict[int, int]
    rows: int
    digest: int
    base_first: int
    base_rows: int
    base_digest: int


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


class _EmptyRanges(msgspec.Struct, frozen=True, array_like=True):
    bare: list[Span]
    voids: list[tuple[int, int, int, bool]]


@dataclass(frozen=True, slots=True)
class SeriesKeys:
    """Where a series of one upstream is: the hash tag with what precedes it, and what its checksums cover."""

    tag: str
    identity: bytes

    def key(self, part: str) -> str:
        """Key of one of its parts."""
        return self.tag + part


def series_keys(prefix: str, origin: str, key: SeriesKey) -> SeriesKeys:
    """Of the series `key` of the upstream `origin`."""
    parts = (key.market.value, key.kind, key.subject, key.contract_type, key.interval, key.zone_minutes)
    name = "/".join([*(quote(str(part), safe="") for part in parts), "us" if key.micros else "ms"])
    return SeriesKeys(f"{prefix}{{{origin_tag(origin)}/{name}}}", msgspec.json.encode([origin, name]))


def origin_tag(origin: str) -> str:
    """What begins the tags of an upstream's series."""
    return xxhash.xxh3_64_hexdigest(origin.encode())


def header_pattern(prefix: str) -> bytes:
    """What `SCAN` finds the heads of all series by."""
    return escape_glob(prefix) + b"{*}h"


def escape_glob(text: str) -> bytes:
    """A pattern that matches just this text."""
    return _GLOB.sub(r"\\\g<0>", text).encode()


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """A series as the key of its head names it; `where`: its upstream, as `place_of` does."""

    tag: str
    origin_tag: str
    key: SeriesKey


def parse_header_key(prefix: str, head: bytes) -> StoredSeries | None:
    """The series whose head has this key; `None` if it is none of ours."""
    text = head.decode(errors="replace")
    parts = [unquote(part) for part in text.removeprefix(prefix)[1:-2].split("/")]
    try:
        where, market, kind, subject, contract_type, interval, zone, unit = parts
        key = SeriesKey(Market(market), kind, subject, contract_type, interval, int(zone), micros=unit == "us")
    except ValueError:
        return None
    return StoredSeries(text[:-1], where, key)


# ---------------------------------------------------------------------------------------- blocks


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """A block to be written: its card in two parts, its rows. `base` is `None` where the one that is there stays."""

    version_start: bytes
    version_rest: bytes
    base: bytes | None
    appended: bytes

    @property
    def version(self) -> bytes:
        """What who wrote it knows it by; the revision between is Redis's."""
        return self.version_start + bytes(8) + self.version_rest

    @property
    def nbytes(self) -> int:
        """Of its rows."""
        return len(self.base or b"") + len(self.appended)


def encode_block(
    keys: SeriesKeys,
    block: Block,
    known: Iterable[Span],
    revised: Mapping[int, int],
    version: bytes,
    stamps: tuple[bytes, bytes],
) -> EncodedBlock | None:
    """`block` against what is there by `mark`; `None` if that is the same. `stamps`: a new one, and one for a base."""
    before = _try_decode_version(keys, block.index, version)
    now = digest(block.open_times, block.text)
    spans = list(known)
    same = before is not None and (before.known, before.digest, before.rows) == (spans, now, len(block))
    if before is not None and same and before.revised == dict(revised):
        return None
    if before is not None and _continues(block, before):
        head = stamps[0] + version[STAMP_BYTES : 2 * STAMP_BYTES]
        base, young = None, _part(block, before.base_rows, len(block))
        first, rows, checksum = before.base_first, before.base_rows, before.base_digest
    else:
        head = stamps[0] + stamps[1]
        base, young = encode(block), None
        first, rows, checksum = block.open_times[0], len(block), now
    card = msgspec.msgpack.encode(_BlockVersion(spans, dict(revised), len(block), now, first, rows, checksum))
    rest = card + _checksum(keys, block.index, head[STAMP_BYTES:], card)
    return EncodedBlock(head, rest, base, encode(young, quick=True) if young is not None and len(young) else b"")


def known_ranges(keys: SeriesKeys, index: int, version: bytes) -> tuple[tuple[Span, ...], dict[int, int]]:
    """Known spans and revised rows of a card; `Unreadable` if it is not one."""
    read = _decode_version(keys, index, version)
    return tuple(read.known), read.revised


def decode_block(
    keys: SeriesKeys, index: int, version: bytes, base: bytes | None, appended: bytes, mine: Block | None
) -> Block:
    """The block a card tells of; `base` is `None` where our own form of it, `mine`, should hold those rows.

    `Unreadable` if that is not what the card tells of.
    """
    told = _decode_version(keys, index, version)
    if base is None:
        if mine is None:
            raise Unreadable("no rows of ours")
        first = bisect_left(mine.open_times, told.base_first)
        rows = _part(mine, first, first + told.base_rows)
    else:
        rows = decode(index, base)
    if appended:
        rows = _joined(rows, decode(index, appended))
    if len(rows) != told.rows or digest(rows.open_times, rows.text) != told.digest:
        raise Unreadable("other rows than the card tells of")
    return rows


def _try_decode_version(at: SeriesKeys, index: int, raw: bytes) -> _BlockVersion | None:
    try:
        return _decode_version(at, index, raw)
    except Unreadable:
        return None


def _decode_version(keys: SeriesKeys, index: int, raw: bytes) -> _BlockVersion:
    body, checksum = raw[_VERSION_HEADER_BYTES : -_SUM.size], raw[-_SUM.size :]
    if len(raw) < _VERSION_HEADER_BYTES + _SUM.size or checksum != _checksum(
        keys, index, raw[STAMP_BYTES : 2 * STAMP_BYTES], body
    ):
        raise Unreadable("a card's checksum")
    return _unpack(body, _BlockVersion)


def _continues(block: Block, card: _BlockVersion) -> bool:
    """Whether `block` is the base that is there, and a few rows after it."""
    if not card.base_rows <= len(block) <= card.base_rows + MAX_APPENDED_ROWS or block.open_times[0] != card.base_first:
        return False
    base = _part(block, 0, card.base_rows)
    return digest(base.open_times, base.text) == card.base_digest


def _part(block: Block, i: int, j: int) -> Block:
    """Rows i..j-1 as a block."""
    if j > len(block):
        raise Unreadable("too few rows of ours")
    if i >= j:
        return Block(block.index, array("q"), array("I"), b"")
    shift = block.row_ends[i - 1] + 1 if i else 0
    return Block(
        block.index, block.open_times[i:j], array("I", [e - shift for e in block.row_ends[i:j]]), block.piece(i, j)
    )


def _joined(a: Block, b: Block) -> Block:
    if not len(a) or not len(b):
        return a if len(a) else b
    shift = a.row_ends[-1] + 1
    ends = a.row_ends + array("I", [end + shift for end in b.row_ends])
    return Block(a.index, a.open_times + b.open_times, ends, a.text + b"," + b.text)


# ------------------------------------------------------------------------------ tail, emptiness


def encode_tail(keys: SeriesKeys, tail: Tail, stamp: bytes) -> bytes:
    """The tail; its times stand before it, for the script to read."""
    rows = [_Row(*row) for row in tail.rows]
    plain = msgspec.msgpack.encode(_Tail(tail.start_ms, tail.as_of_ms, tail.error_ms, tail.since_ms, rows))
    until_ms = -1 if tail.open_until_ms is None else tail.open_until_ms
    body = b"Z" + zlib.compress(plain) if len(plain) >= _COMPRESS_FROM else b"P" + plain
    times = _TIMES.pack(tail.as_of_ms, until_ms)
    return stamp + times + body + _checksum(keys, -1, times, body)


def decode_tail(keys: SeriesKeys, raw: bytes) -> Tail:
    """The tail; `Unreadable` if it is none."""
    times, body, checksum = raw[STAMP_BYTES:_TAIL_HEADER_BYTES], raw[_TAIL_HEADER_BYTES : -_SUM.size], raw[-_SUM.size :]
    if len(raw) < _TAIL_HEADER_BYTES + _SUM.size or checksum != _checksum(keys, -1, times, body):
        raise Unreadable("a tail's checksum")
    read = _unpack(_decompress(body), _Tail)
    rows = tuple(Row(row.open_ms, row.close_ms, row.trades, row.raw) for row in read.rows)
    return Tail(read.start_ms, rows, read.as_of_ms, read.since_ms, read.error_ms)


def as_of_bytes(tail: bytes) -> bytes:
    """The as-of that stands before a tail, for its mark: the stamp, and this."""
    return tail[STAMP_BYTES : 2 * STAMP_BYTES]


def as_of_ms(version: bytes) -> int:
    """The as-of in a tail's mark; -1 where there is none."""
    return -1 if len(version) < 2 * STAMP_BYTES else int(_TIME.unpack(version[STAMP_BYTES : 2 * STAMP_BYTES])[0])


def encode_empty_ranges(keys: SeriesKeys, bare: Iterable[Span], voids: Iterable[EmptyRange]) -> bytes:
    """Known spans outside of all blocks, and emptiness that may still fill; its stamp is that of the content."""
    told = [(void.start_ms, void.end_ms, void.checked_ms, void.hole) for void in voids]
    body = msgspec.msgpack.encode(_EmptyRanges(list(bare), told))
    checksum = _checksum(keys, -2, b"", body)
    return checksum + body + checksum


def decode_empty_ranges(keys: SeriesKeys, raw: bytes) -> tuple[tuple[Span, ...], tuple[EmptyRange, ...]]:
    """The same back; `Unreadable` if it is none."""
    body, checksum = raw[STAMP_BYTES : -_SUM.size], raw[-_SUM.size :]
    if len(raw) < STAMP_BYTES + _SUM.size or checksum != _checksum(keys, -2, b"", body):
        raise Unreadable("the checksum of emptiness")
    read = _unpack(body, _EmptyRanges)
    return tuple(read.bare), tuple(EmptyRange(*void) for void in read.voids)


def _decompress(body: bytes) -> bytes:
    if body[:1] == b"P":
        return body[1:]
    try:
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(body[1:], _MAX_BYTES)
    except zlib.error as error:
        raise Unreadable(str(error)) from error
    if not unpacker.eof:
        raise Unreadable("too long")
    return plain


def _unpack(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Unreadable(str(error)) from error


def _checksum(keys: SeriesKeys, index: int, more: bytes, body: bytes) -> bytes:
    whole = xxhash.xxh3_64(keys.identity + struct.pack(">q", index) + more)
    whole.update(body)
    return _SUM.pack(whole.intdigest())
