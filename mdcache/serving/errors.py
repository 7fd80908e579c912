"""Map errors to HTTP responses, in one table. Never 418, and 429 only by our own limit; never a traceback.

Rule: docs/design.md#errors.

`TABLE` has an entry for every class of `errors.py` that can be raised; a test checks that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from mdcache.errors import (
    BudgetSpent,
    Busy,
    ClientLimited,
    DeadlinePassed,
    GateClosed,
    InvalidBody,
    LaneFull,
    MdcacheError,
    NotCached,
    Refusal,
    ServerFailed,
    TransportFailed,
    UpstreamFailed,
    UpstreamUnavailable,
)


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """The response to one cause: HTTP status, Binance's code, the text, and whether to send `Retry-After`."""

    status: int
    code: int
    text: Callable[[MdcacheError], str]
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error response: status, JSON body, and whole seconds for `Retry-After` if it has one."""

    status: int
    body: bytes
    retry_after_s: int | None = None


def _because(start: str) -> Callable[[MdcacheError], str]:
    return lambda error: f"{start}: {cause}." if (cause := _cause(error)) else f"{start}."


def _cause(error: MdcacheError) -> str:
    """Return the cause as one clause; of a failure only its reason, since the detail is for the log."""
    return error.reason if isinstance(error, UpstreamFailed) else str(error)


_UNAVAILABLE = ErrorShape(503, -1003, _because("Binance is not being asked now"), retry_after=True)
_BUSY = ErrorShape(503, -1008, _because("Binance can't be asked in time"), retry_after=True)
_FAILED = ErrorShape(502, -1006, _because("Binance was asked and gave no usable answer"))

CLIENT_LIMITED = (429, -1003)
CLIENT_LIMITED_TEXT = (
    "mdcache's own limit of requests for each client (MDCACHE_CLIENT_REQUESTS_PER_S) is reached. "
    "Binance was not asked, and this is no refusal of Binance."
)

TABLE: dict[type[MdcacheError], ErrorShape] = {
    GateClosed: _UNAVAILABLE,
    UpstreamUnavailable: _UNAVAILABLE,
    Busy: _BUSY,
    BudgetSpent: _BUSY,
    LaneFull: _BUSY,
    DeadlinePassed: _BUSY,
    UpstreamFailed: _FAILED,
    TransportFailed: _FAILED,
    ServerFailed: _FAILED,
    InvalidBody: _FAILED,
    ClientLimited: ErrorShape(*CLIENT_LIMITED, lambda _: CLIENT_LIMITED_TEXT, retry_after=True),
    NotCached: ErrorShape(504, -1007, lambda _: "The answer is not cached, and the request says only-if-cached."),
}

# Requests refused before they are parsed: status and code.
QUERY_TOO_LONG = (414, -1100)
NEEDS_KEY = (403, -2015)  # keyed paths, signatures, writes elsewhere
UNKNOWN_PATH = (404, -5000)  # as fapi says it
METHOD_NOT_ALLOWED = (405, -1020)
UPGRADE_REQUIRED = (426, -1020)  # streams, without a handshake
SBE_NOT_ENABLED = (406, -1155)
OPS_CODES = {400: -1102, 401: -2014, 403: -2015, 404: -5000, 405: -1020, 409: -1015, 413: -1100}  # the operators' paths

UNEXPECTED = ErrorShape(500, -1000, lambda _: "An unknown error occurred while processing the request.")


def error_response(error: Exception) -> ErrorResponse:
    """Return the response for `error`; any exception outside the tree is -1000, without details."""
    if isinstance(error, Refusal):
        return ErrorResponse(error.status, error_body(error.code, error.msg))
    if not isinstance(error, MdcacheError):
        error = MdcacheError()
    shape = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), UNEXPECTED)
    retry_after_s = None
    if shape.retry_after and isinstance(error, UpstreamUnavailable | ClientLimited):
        retry_after_s = retry_after_seconds(error.retry_after_s)
    return ErrorResponse(shape.status, error_body(shape.code, shape.text(error)), retry_after_s)


def retry_after_seconds(seconds: float) -> int:
    """Return seconds for `Retry-After`: rounded up, at least 1, at most a year."""
    return math.ceil(min(max(seconds, 1.0), 31_536_000.0))


def error_body(code: int, msg: str) -> bytes:
    """Return an error body in Binance's form."""
    return msgspec.json.encode({"code": code, "msg": msg})
