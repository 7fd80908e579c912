"""Read the CSV file in a zip file: one file, no larger than its rows can make it, and whole. No network."""

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from mdcache.background_work import give_way
from mdcache.dumps.faults import DumpFileFault, DumpUnusable
from mdcache.dumps.files import DumpFile

_PIECE_BYTES = 1 << 17  # about a millisecond
_ENCRYPTED = 1  # a bit of a member's flags
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def sha256(stream: IO[bytes], max_bytes: int) -> str:
    """Return the digest of a stream from its start; raise `DumpUnusable` if it is larger than `max_bytes`."""
    stream.seek(0)
    digest, left = hashlib.sha256(), max_bytes
    while piece := stream.read(_PIECE_BYTES):
        left -= len(piece)
        if left < 0:
            raise DumpUnusable(DumpFileFault.TOO_LARGE, f"more than {max_bytes:,} bytes")
        digest.update(piece)
        give_way()
    return digest.hexdigest()


def check_zip(stream: IO[bytes], file: DumpFile) -> None:
    """Inflate it once without keeping anything; raise `DumpUnusable` if it is damaged, or larger than it can be."""
    for _ in _pieces(stream, file):
        give_way()


def read_lines(stream: IO[bytes], file: DumpFile) -> Iterator[bytes]:
    """Yield its text in pieces of whole lines, without the last line feed; raise `DumpUnusable` as `check_zip` does."""
    rest = b""
    for piece in _pieces(stream, file):
        head, feed, tail = (rest + piece).rpartition(b"\n")
        if feed:
            yield head
        rest = tail
        if len(rest) > _PIECE_BYTES:
            raise DumpUnusable(DumpFileFault.DAMAGED, "a line without an end")
    if rest:
        yield rest


def _pieces(stream: IO[bytes], file: DumpFile) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            wanted = file.name.removesuffix(".zip") + ".csv"
            if [member.filename for member in members] != [wanted]:
                raise DumpUnusable(DumpFileFault.DAMAGED, f"it should contain {wanted} only")
            if members[0].flag_bits & _ENCRYPTED or members[0].compress_type not in _METHODS:
                raise DumpUnusable(DumpFileFault.DAMAGED, "encrypted, or compressed in an unusual way")
            left = file.max_bytes
            with archive.open(members[0]) as text:
                while piece := text.read(_PIECE_BYTES):
                    left -= len(piece)
                    if left < 0:
                        raise DumpUnusable(DumpFileFault.TOO_LARGE, f"more than {file.max_bytes:,} bytes of text")
                    yield piece
    except _DAMAGE as error:
        raise DumpUnusable(DumpFileFault.DAMAGED, f"{type(error).__name__}: {error}") from error
