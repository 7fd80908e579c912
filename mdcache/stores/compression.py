"""Compress stored bytes, and decompress them up to a bound. The only module that imports zstandard.

Both release the interpreter lock.
"""

import zstandard

_LEVEL = 1  # on rows and exchangeInfo, higher levels take two to ten times as long and save less than a tenth


class Unreadable(ValueError):
    """The bytes are damaged, or of another kind."""


def compress(data: bytes) -> bytes:
    """Compress `data` for `decompress`."""
    compressed = zstandard.ZstdCompressor(level=_LEVEL).compress(data)
    return bytes(memoryview(compressed))  # a copy of its own length: that of zstandard keeps room for the worst case


def decompress(data: bytes, max_bytes: int) -> bytes:
    """Decompress what `compress` returned.

    Raises:
        Unreadable: `data` is anything else, is truncated, or is longer than `max_bytes` when decompressed.
    """
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= max_bytes:
            raise Unreadable(f"{size} bytes, at most {max_bytes} are allowed")
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False) if size else b""
    except (zstandard.ZstdError, MemoryError) as error:
        raise Unreadable(str(error)) from error
