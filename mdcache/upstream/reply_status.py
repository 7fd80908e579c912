"""The meaning of a reply's status: one table from statuses to errors and closures of the gate. Pure."""

import email.utils
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from mdcache.errors import (
    Busy,
    Fault,
    GateClosed,
    MdcacheError,
    Refusal,
    ServerFailed,
    UpstreamFailed,
    UpstreamUnavailable,
)
from mdcache.exchange.rate_limits import banned_until_ms, whole_seconds
from mdcache.upstream.backoff import ClosureReason

# docs/binance.md#refusals. Everything else is an answer, a server's failure, or Binance's own refusal of the question.
GATE_STATUSES: dict[int, ClosureReason] = {
    HTTPStatus.TOO_MANY_REQUESTS: ClosureReason.RATE,
    HTTPStatus.IM_A_TEAPOT: ClosureReason.BAN,
    HTTPStatus.FORBIDDEN: ClosureReason.WAF,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: ClosureReason.REGION,
}
CAUSES = {
    ClosureReason.NONE: "not closed",
    ClosureReason.RATE: "rate limited by Binance (429)",
    ClosureReason.BAN: "banned by Binance (418)",
    ClosureReason.WAF: "blocked by Binance's firewall (403)",
    ClosureReason.REGION: "Binance refuses this location (451)",
    ClosureReason.FAILURES: "Binance fails again and again",
    ClosureReason.OPERATOR: "closed by the operator",
}


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """A reply's status line and headers (names in lower case), as soon as they are read."""

    status: int
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next((value for key, value in self.headers if key == name), None)


class _BinanceError(msgspec.Struct):
    code: int
    msg: str


_error = msgspec.json.Decoder(_BinanceError)
_GATE_CLOSED, _BUSY = -1003, -1008
_NO_REASON = -1000  # Binance's own for "unknown"
_MAX_TEXT = 200


def closure_reason(status: int) -> ClosureReason | None:
    """Return why this status closes the gate; `None` if it does not."""
    return GATE_STATUSES.get(status)


def stated_wait_ms(head: ReplyHead, body: bytes, utc_ms: int) -> int | None:
    """Return the wait that a refusal states: the later of `Retry-After` and "banned until"; `None` if neither."""
    seconds = whole_seconds(head.header("retry-after"))
    until_ms = banned_until_ms(body)
    waits = [seconds * 1000] if seconds is not None else []
    waits += [until_ms - utc_ms] if until_ms is not None else []
    return max((wait for wait in waits if wait > 0), default=None)


def failure(head: ReplyHead, body: bytes) -> MdcacheError:
    """Return the error for a status that is neither 200 nor the gate's.

    A 4xx is the question's fault, with or without a reason in its body: docs/design.md#errors.
    """
    if head.status == HTTPStatus.SERVICE_UNAVAILABLE and (passed := _relayed_refusal(head, body)) is not None:
        return passed
    if head.status == HTTPStatus.REQUEST_TIMEOUT:  # fapi's backend time-out: docs/binance.md#refusals
        return ServerFailed(Fault.BACKEND_TIMEOUT, "408")
    if head.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:  # by our own proxy: Binance saw no question
        return ServerFailed(Fault.STATUS, "407")
    if head.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerFailed(Fault.SERVER_ERROR, str(head.status))
    if head.status < HTTPStatus.BAD_REQUEST:
        return ServerFailed(Fault.STATUS, str(head.status))
    try:
        stated = _error.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # such as a path that this upstream does not have
        return Refusal(head.status, _NO_REASON, f"Binance answered {head.status} and gave no reason.")
    return Refusal(head.status, stated.code, stated.msg)


def _relayed_refusal(head: ReplyHead, body: bytes) -> UpstreamUnavailable | None:
    """Return the error of an mdcache upstream as our own; Binance's 503s have no `Retry-After`.

    Rule: docs/design.md#errors.
    """
    seconds = whole_seconds(head.header("retry-after"))
    if seconds is None:
        return None
    try:
        stated = _error.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    cause = f"reported by upstream: {stated.msg[:_MAX_TEXT]}"
    if stated.code == _GATE_CLOSED:
        return GateClosed(seconds, cause)
    return Busy(seconds, cause) if stated.code == _BUSY else None


def may_try_again(error: BaseException) -> bool:
    """Return whether a retry may help: after transport faults, 5xx and invalid bodies, not after an unknown status."""
    return isinstance(error, UpstreamFailed) and error.reason is not Fault.STATUS


def looks_like_binance(body: bytes) -> bool:
    """Return whether a 200's body can be Binance's: a JSON object or list, not the HTML of something between."""
    return body[:1] in {b"{", b"["}


def date_ms(head: ReplyHead) -> int | None:
    """Return the reply's `Date`; `None` if it has none that can be parsed."""
    value = head.header("date")
    if value is None:
        return None
    try:
        return int(email.utils.parsedate_to_datetime(value).timestamp() * 1000)
    except (ValueError, OverflowError, TypeError):  # a year 0, 10000 or 10**400; a time zone without a date
        return None


def as_of_ms(head: ReplyHead, sent_ms: int) -> int:
    """Return the reply's as-of: its send less its `Age`, and no later than an mdcache upstream states.

    `Age` alone, in whole seconds, would make it seem up to a second newer.
    """
    stated_ms = whole_seconds(head.header("x-mdcache-as-of"))
    aged_ms = sent_ms - age_s(head) * 1000
    return aged_ms if stated_ms is None else min(aged_ms, stated_ms)


def age_s(head: ReplyHead) -> int:
    """Return the reply's `Age`, 0 if it has none."""
    return whole_seconds(head.header("age")) or 0
