"""Tidings: the error that one replica's read met, as the others are told of it. Pure."""

import msgspec

from mdcache.errors import AskFailed, BrokenBody, MdcacheError, Refusal, ServerFailed, TransportFailed

_FAILURES: dict[str, type[AskFailed]] = {kind.__name__: kind for kind in (TransportFailed, ServerFailed, BrokenBody)}
Edges = tuple[int | None, int | None]
WHOLE: Edges = None, None  # where there are no windows


def told(error: BaseException | None, edges: Edges, *, waited: bool) -> str:
    """What the others are told: errors that speak of Binance's answer to this very read; else nothing.

    What failed on the way may be this replica's own trouble: it is told where it had `waited` for another one's read.
    """
    if isinstance(error, Refusal):
        return msgspec.json.encode([edges, "Refusal", error.status, error.code, error.msg]).decode()
    own = isinstance(error, TransportFailed) and not waited
    if own or not isinstance(error, AskFailed) or type(error).__name__ not in _FAILURES:
        return ""
    return msgspec.json.encode([edges, type(error).__name__, error.reason, error.detail]).decode()


def restored(text: str, edges: Edges) -> MdcacheError | None:
    """The error that was told of a read with these edges; `None` if it was of others, or is none."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return None
    match found:
        case [[start, end], *_] if (start, end) != edges:
            return None
        case [_, "Refusal", int(status), int(code), str(msg)]:
            return Refusal(status, code, msg)
        case [_, str(kind), str(reason), str(detail)] if kind in _FAILURES:
            return _FAILURES[kind](reason, detail)
    return None
