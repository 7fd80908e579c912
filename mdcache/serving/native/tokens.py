"""Tokens: what each series of an answer looked like, as a text that the client sends back as `since`. Pure.

A token holds after a restart of the daemon, and on its other replicas.

    <question>.<minute>.<digest of each series, 6 bytes each, in the order of the question, in base64>
"""

import base64
import binascii
import re
from collections.abc import Sequence

import xxhash

from mdcache.clock import Instant

DIGEST_BYTES = 6
_TEXT = re.compile(r"([0-9a-f]{16})\.([0-9a-f]{1,8})\.([\w-]*)", re.ASCII)
_MINUTE_MS = 60_000
_MAX_AGE_MINUTES = 24 * 60
_MAX_AHEAD_MINUTES = 2


class BadToken(ValueError):
    """The text is not a token, or not one for this question."""


def digest(tag: bytes, *, stale: bool) -> bytes:
    """Return the digest of a series whose rows have this tag; a series that becomes stale has changed."""
    return xxhash.xxh3_64_digest(tag + b"!" * stale)[:DIGEST_BYTES]


def write_token(name: str, now_ms: int, digests: Sequence[bytes]) -> str:
    """Return the token of an answer to the question called `name`."""
    packed = base64.urlsafe_b64encode(b"".join(digests)).decode()
    return f"{name}.{now_ms // _MINUTE_MS:x}.{packed}"


def read_token(text: str, name: str, series: int, now: Instant) -> list[bytes]:
    """Return the digests in a token; raise `BadToken`.

    Args:
        text: What the client sent back.
        name: The question's name.
        series: How many series it has.
        now: Exchange time now. While that is hardly known, just after a start, no token is too old.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise BadToken("it is not a token of mdcache's")
    if found[1] != name:
        raise BadToken("it belongs to another question, or to an mdcache with another upstream")
    minute = int(found[2], 16)
    if minute < now.early_ms // _MINUTE_MS - _MAX_AGE_MINUTES:
        raise BadToken("it is more than a day old")
    if minute > now.late_ms // _MINUTE_MS + _MAX_AHEAD_MINUTES:
        raise BadToken("it lies ahead")
    try:
        packed = base64.urlsafe_b64decode(found[3])
    except binascii.Error:
        packed = b""
    if len(packed) != series * DIGEST_BYTES:
        raise BadToken("it is cut off, or changed")
    return [packed[at : at + DIGEST_BYTES] for at in range(0, len(packed), DIGEST_BYTES)]
