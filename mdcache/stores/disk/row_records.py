"""What the file's lines say, and the checksums that prove it. Pure.

A block rests as its base and its young rows; its line in `span`, the place, tells of both.
"""

import struct
from collections.abc import Iterable
from dataclasses import astuple, dataclass

import msgspec
import xxhash

from mdcache.candles.block import Block
from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.persistence import SeriesChange
from mdcache.candles.ranges import Span
from mdcache.stores.block_codec import Unreadable, decode, digest

MAX_APPENDED_ROWS = 64  # more of them, and the base is written anew: 1.5 to 4 kB a minute for a series of minutes
RECORD_COLUMNS = "id, known, base_rows, base_bytes, base_digest, young_rows, young_digest"


class _SeriesState(msgspec.Struct, frozen=True, array_like=True):
    bare: list[Span]
    voids: list[tuple[int, int, int, bool]]


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A block's line in `span`. What its checksum covers, but for the identity of series and block."""

    id: int
    known: bytes
    base_rows: int
    base_bytes: int
    base_digest: int
    young_rows: int
    young_digest: int


_state_decoder = msgspec.json.Decoder(_SeriesState)


def continues(block: Block, place: BlockRecord) -> bool:
    """Whether the block begins with just the rows that rest as its base, and has few others."""
    rows, nbytes = place.base_rows, place.base_bytes
    if not rows <= len(block) <= rows + MAX_APPENDED_ROWS or block.row_ends[rows - 1] != nbytes:
        return False
    return digest(block.open_times[:rows], block.text[:nbytes]) == place.base_digest


def after(block: Block, rows: int) -> Block:
    """The block without its first rows."""
    start = block.row_ends[rows - 1] + 1
    ends = block.row_ends[rows:]
    for n in range(len(ends)):
        ends[n] -= start
    return Block(block.index, block.open_times[rows:], ends, block.text[start:])


def pack_spans(spans: Iterable[Span]) -> bytes:
    """A place's `known`."""
    return b"".join(struct.pack("<2q", *span) for span in spans)


def unpack_spans(known: bytes) -> tuple[Span, ...]:
    """A place's `known`, unpacked."""
    return tuple(struct.iter_unpack("<2q", known))


def series_identity(columns: tuple[str | int, ...]) -> bytes:
    """Of a series, out of its columns from `origin` to `micros`: part of each checksum, so that none fits another."""
    return msgspec.json.encode(columns)


def checksum_of(identity: bytes, rest: bytes) -> int:
    """64 bits, as a signed number."""
    whole = xxhash.xxh3_64(identity)
    whole.update(rest)
    return whole.intdigest() - (1 << 63)


def encode_state(change: SeriesChange) -> bytes:
    """A series' bare spans and its voids, as they rest."""
    return msgspec.json.encode(
        _SeriesState(list(change.outside_blocks), [astuple(void) for void in change.empty_ranges])
    )


def decode_state(state: bytes) -> tuple[tuple[Span, ...], tuple[EmptyRange, ...]]:
    """A series' bare spans and its voids."""
    read = _state_decoder.decode(state)
    return tuple(read.bare), tuple(EmptyRange(*void) for void in read.voids)


def is_intact(identity: bytes, index: int, place: BlockRecord, checksum: int) -> bool:
    """Whether a line is as it was written; in a damaged file it may hold anything."""
    try:
        return checksum == record_checksum(identity, index, place)
    except (TypeError, struct.error):
        return False


def record_checksum(identity: bytes, index: int, place: BlockRecord) -> int:
    """The checksum of a line."""
    numbers = struct.pack("<6q", index, *astuple(place)[2:])
    return checksum_of(identity, numbers + place.known)


def assembled(index: int, place: BlockRecord, base_payload: bytes, young_payload: bytes) -> Block:
    """The block that rests in these payloads; `Unreadable` where they are not those that `place` tells of."""
    base = decode(index, base_payload)
    if (len(base), len(base.text), digest(base.open_times, base.text)) != (
        place.base_rows,
        place.base_bytes,
        place.base_digest,
    ):
        raise Unreadable("its rows fail the checksum")
    if not place.young_rows:
        return base
    young = decode(index, young_payload)
    if (len(young), digest(young.open_times, young.text)) != (place.young_rows, place.young_digest):
        raise Unreadable("its young rows fail the checksum")
    ends = base.row_ends[:]
    ends.extend([end + len(base.text) + 1 for end in young.row_ends])
    return Block(index, base.open_times + young.open_times, ends, base.text + b"," + young.text)
