"""Tidings: the error that one replica's read met, as the others are told of it. Pure."""

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

_FAILURES: dict[str, type[UpstreamFailed]] = {
    kind.__name__: kind for kind in (TransportFailed, ServerFailed, InvalidBody)
}
WindowBounds = tuple[int | None, int | None]
NO_BOUNDS: WindowBounds = None, None  # where there are no windows


def encode_error(error: BaseException | None, bounds: WindowBounds, *, waited_for_peer: bool) -> str:
    """What the others are told: errors that speak of Binance's answer to this very read; else nothing.

    What failed on the way may be this replica's own trouble: it is told where it had `waited` for another one's read.
    """
    if isinstance(error, Refusal):
        return msgspec.json.encode([bounds, "Refusal", error.status, error.code, error.msg]).decode()
    own = isinstance(error, TransportFailed) and not waited_for_peer
    if own or not isinstance(error, UpstreamFailed) or type(error).__name__ not in _FAILURES:
        return ""
    return msgspec.json.encode([bounds, type(error).__name__, error.reason, error.detail]).decode()


def decode_error(text: str, bounds: WindowBounds) -> MdcacheError | None:
    """The error that was told of a read with these edges; `None` if it was of others, or is none."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError:
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
    """Build the error; `None` for a reason of another release."""
    try:
        return kind(BodyFault(reason) if kind is InvalidBody else Fault(reason), detail)
    except ValueError:
        return None
