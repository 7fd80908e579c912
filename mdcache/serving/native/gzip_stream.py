"""A body in gzip, joined of parts that were compressed once and others that are not worth it. Pure.

Each part begins without the history of what came before it, so that it fits after anything; short texts are stored as
they are.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from isal import isal_zlib

_LEVEL, _RAW = 1, -15
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK = b"\x01\x00\x00\xff\xff"
_STORED = struct.Struct("<BHH")
_MAX_STORED = 1_024


class Deflated(NamedTuple):
    """A part in deflate, which ends at a byte; `crc` and `size`: of what it was made from."""

    data: bytes
    crc: int
    size: int


class Part(Protocol):
    """A part of a body that may be sent more than once."""

    content: bytes

    @property
    def is_deflated(self) -> bool:
        """Return whether `deflated` costs nothing."""

    def deflated(self) -> Deflated:
        """Return it compressed."""


def deflate(body: bytes) -> Deflated:
    """Compress a part."""
    coder = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW)
    data = coder.compress(body) + coder.flush(isal_zlib.Z_FULL_FLUSH)
    return Deflated(data, isal_zlib.crc32(body), len(body))


def gzip_stream(pieces: Iterable[bytes | Part]) -> Iterator[bytes]:
    """Return the pieces as one member of gzip."""
    yield _HEADER
    crc = size = 0
    for piece in pieces:
        if isinstance(piece, bytes) and len(piece) <= _MAX_STORED:
            yield _STORED.pack(0, len(piece), len(piece) ^ 0xFFFF) + piece
            crc, size = isal_zlib.crc32(piece, crc), size + len(piece)
        else:
            part = deflate(piece) if isinstance(piece, bytes) else piece.deflated()
            yield part.data
            crc, size = isal_zlib.crc32_combine(crc, part.crc, part.size), size + part.size
    yield _LAST_BLOCK + struct.pack("<II", crc, size & 0xFFFF_FFFF)
