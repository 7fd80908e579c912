"""Compress stored bytes with Zstandard, and decompress them up to a bound. The only module that imports it.

Both release the interpreter lock.
"""

import sys
from typing import cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_LEVEL = 1  # on rows and exchangeInfo, higher levels take two to ten times as long and save less than a tenth


class Unreadable(ValueError):
    """The bytes are damaged, or of another kind."""


def compress(data: bytes) -> bytes:
    """Compress `data` for `decompress`."""
    return zstd.compress(data, _LEVEL)


def decompress(data: bytes, max_bytes: int) -> bytes:
    """Decompress what `compress` returned.

    Raises:
        Unreadable: `data` is anything else, is truncated, or is longer than `max_bytes` when decompressed.
    """
    try:
        size = cast("int | None", zstd.get_frame_info(data).decompressed_size)  # its stub forgets frames without one
        if size is None or size > max_bytes:
            raise Unreadable(f"{size} bytes, at most {max_bytes} are allowed")
        decompressor = zstd.ZstdDecompressor()
        found = decompressor.decompress(data, size + 1)  # one more: a frame with more than it says is noticed here
    except (zstd.ZstdError, MemoryError) as error:
        raise Unreadable(str(error)) from error
    if not decompressor.eof or decompressor.unused_data:
        raise Unreadable(f"{len(data)} bytes are not one whole frame")
    return found
