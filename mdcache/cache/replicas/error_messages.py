"""Encode the error of one replica's read as a message to the others, and decode it. Pure."""

import msgspec

from mdcache.errors import (
    BodyFault,
    Fault,
    InvalidBody,
    MdcacheError,
    Refusal,
    ServerFailed,
    TransportFailed,
    UpstreamFailed,
)
from mdcache.exchange.undecodable import UNDECODABLE

_FAILURES: dict[str, type[UpstreamFailed]] = {
    kind.__name__: kind for kind in (TransportFailed, ServerFailed, InvalidBody)
}
WindowBounds = tuple[int | None, int | None]
NO_BOUNDS: WindowBounds = None, None  # of reads that have no window


def encode_error(error: BaseException | None, bounds: WindowBounds, *, waited_for_peer: bool) -> str:
    """Encode an error with which Binance answered this read; any other error as an empty string.

    A transport error may be a problem of this replica alone: it is encoded only if another replica's read failed
    before.

    Args:
        error: The error of the read, if any.
        bounds: The bounds of its window.
        waited_for_peer: Whether it had waited for another replica's read.
    """
    if isinstance(error, Refusal):
        return msgspec.json.encode([bounds, "Refusal", error.status, error.code, error.msg]).decode()
    own = isinstance(error, TransportFailed) and not waited_for_peer
    if own or not isinstance(error, UpstreamFailed) or type(error).__name__ not in _FAILURES:
        return ""
    return msgspec.json.encode([bounds, type(error).__name__, error.reason, error.detail]).decode()


def decode_error(text: str, bounds: WindowBounds) -> MdcacheError | None:
    """Decode the error of a read with these bounds; `None` if it is of another read, or unreadable."""
    try:
        found = msgspec.json.decode(text)
    except UNDECODABLE:
        return None
    match found:
        case [[start, end], *_] if (start, end) != bounds:
            return None
        case [_, "Refusal", int(status), int(code), str(msg)]:
            return Refusal(status, code, msg)
        case [_, str(kind), str(reason), str(detail)] if kind in _FAILURES:
            return _failure(_FAILURES[kind], reason, detail)
    return None


def _failure(kind: type[UpstreamFailed], reason: str, detail: str) -> UpstreamFailed | None:
    """Build the error; `None` for a reason that only another release knows."""
    try:
        return kind(BodyFault(reason) if kind is InvalidBody else Fault(reason), detail)
    except ValueError:
        return None
