"""The one table from what went wrong to what a client sees (DESIGN 2.3). Never 429 or 418, never a traceback.

`TABLE` has a line for every class of `errors.py` that can be raised; a test proves it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from mdcache.errors import (
    AskFailed,
    BrokenBody,
    BudgetSpent,
    Busy,
    CannotAsk,
    DeadlinePassed,
    GateClosed,
    LaneFull,
    MdcacheError,
    NotCached,
    Refusal,
    ServerFailed,
    TransportFailed,
)


@dataclass(frozen=True, slots=True)
class Shape:
    """How one cause looks: HTTP status, Binance's code, the text for people, and whether to say when to return."""

    status: int
    code: int
    text: Callable[[MdcacheError], str]
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a client is told: status, JSON body, and whole seconds for `Retry-After` where it is due."""

    status: int
    body: bytes
    retry_after_s: int | None = None


def _because(start: str) -> Callable[[MdcacheError], str]:
    return lambda error: f"{start}: {cause}." if (cause := _cause(error)) else f"{start}."


def _cause(error: MdcacheError) -> str:
    """One clause; of a failure its reason only: the detail may quote what is for the log, not for clients."""
    return error.reason if isinstance(error, AskFailed) else str(error)


_SHUT = Shape(503, -1003, _because("Binance is not being asked now"), retry_after=True)
_BUSY = Shape(503, -1008, _because("No room to ask Binance in time"), retry_after=True)
_FAILED = Shape(502, -1006, _because("Binance was asked and gave no usable answer"))

TABLE: dict[type[MdcacheError], Shape] = {
    GateClosed: _SHUT,
    CannotAsk: _SHUT,
    Busy: _BUSY,
    BudgetSpent: _BUSY,
    LaneFull: _BUSY,
    DeadlinePassed: _BUSY,
    AskFailed: _FAILED,
    TransportFailed: _FAILED,
    ServerFailed: _FAILED,
    BrokenBody: _FAILED,
    NotCached: Shape(504, -1007, lambda _: "Not cached, and only-if-cached was asked for."),
}

# What is refused before it is a question: status and code.
LONG = (414, -1100)
DIRECTLY = (403, -2015)  # keyed paths, signatures, methods that change something
UNKNOWN = (404, -5000)  # as fapi says it
METHOD = (405, -1020)
OPS_CODES = {400: -1102, 401: -2014, 403: -2015, 404: -5000, 405: -1020, 409: -1015, 413: -1100}  # the operators' paths

UNFORESEEN = Shape(500, -1000, lambda _: "An unknown error occurred while processing the request.")


def told(error: Exception) -> Told:
    """What a client is told about `error`; anything outside the tree is -1000, and says no more than that."""
    if isinstance(error, Refusal):
        return Told(error.status, body_of(error.code, error.msg))
    if not isinstance(error, MdcacheError):
        error = MdcacheError()
    shape = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), UNFORESEEN)
    retry_after_s = None
    if shape.retry_after and isinstance(error, CannotAsk):
        retry_after_s = whole_seconds(error.retry_after_s)
    return Told(shape.status, body_of(shape.code, shape.text(error)), retry_after_s)


def whole_seconds(seconds: float) -> int:
    """For `Retry-After`: rounded up, at least 1; no later than a year for what has no end."""
    return math.ceil(min(max(seconds, 1.0), 31_536_000.0))


def body_of(code: int, msg: str) -> bytes:
    """Binance's form of an error."""
    return msgspec.json.encode({"code": code, "msg": msg})
