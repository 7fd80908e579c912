"""Interpret a reply's status and the code in its body, as an error or a closure of the gate. Pure."""

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
from mdcache.exchange.rate_limits import banned_until_ms, refuses_location, whole_seconds
from mdcache.exchange.undecodable import UNDECODABLE
from mdcache.upstream.backoff import ClosureReason
from mdcache.upstream.reply_head import ReplyHead

# docs/binance.md#refusals. Everything else is an answer, a server's failure, or Binance's own refusal of the question,
# unless a body says otherwise.
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
    ClosureReason.OVERLOAD: "Binance is overloaded and says when to come back (503)",
    ClosureReason.FAILURES: "Binance fails again and again",
    ClosureReason.OPERATOR: "closed by the operator",
}


class _BinanceError(msgspec.Struct):
    code: int
    msg: str


_error = msgspec.json.Decoder(_BinanceError)
_TOO_MANY, _BUSY = -1003, -1008
_NO_CODE = 0  # of a 451
_NO_REASON = -1000  # Binance's own for "unknown"
_MAX_TEXT = 200
_MAX_ERROR_BYTES = 2_048  # of an error with status 200: an answer of this size is as quickly tried as passed on
_MAX_PAGE_BYTES = 16_384


def closure_reason(head: ReplyHead, body: bytes = b"") -> ClosureReason | None:
    """Return why this reply closes the gate; `None` if it does not. Its head alone may not say it all.

    A status may have been changed on the way, so the code and the text of a body count, too: docs/design.md#backoff.
    """
    if _is_relayed(head):
        return None
    by_status = GATE_STATUSES.get(head.status)
    code = _stated_code(head, body)
    if by_status is not ClosureReason.BAN and _refuses_location(head, body, code):
        return ClosureReason.REGION
    if code == _TOO_MANY and by_status in {None, ClosureReason.RATE, ClosureReason.WAF}:
        return ClosureReason.RATE if banned_until_ms(body) is None else ClosureReason.BAN
    if by_status is None and head.status >= HTTPStatus.INTERNAL_SERVER_ERROR and head.all("retry-after"):
        return ClosureReason.OVERLOAD
    return by_status


def body_tells_more(reason: ClosureReason, head: ReplyHead, body: bytes) -> bool:
    """Return whether the gate must be told again after the body: why it closes, or for how long."""
    unknown = reason is ClosureReason.BAN or reason is not closure_reason(head)
    return unknown or banned_until_ms(body) is not None


def failure(head: ReplyHead, body: bytes) -> MdcacheError:
    """Return the error for a status that is neither 200 nor the gate's.

    A 4xx is the question's fault, with or without a reason in its body: docs/design.md#errors.
    """
    if _is_relayed(head) and (passed := _relayed_refusal(head, body)) is not None:
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
    except UNDECODABLE:  # such as a path that this upstream does not have
        return Refusal(head.status, _NO_REASON, f"Binance answered {head.status} and gave no reason.")
    return Refusal(head.status, stated.code, stated.msg)


def _stated_code(head: ReplyHead, body: bytes) -> int | None:
    """Return the code of an error in Binance's form; `None` if the body is none, such as any longer one with a 200."""
    if head.status == HTTPStatus.OK and (body[:1] != b"{" or len(body) > _MAX_ERROR_BYTES):
        return None
    try:
        return _error.decode(body).code
    except UNDECODABLE:
        return None


def _refuses_location(head: ReplyHead, body: bytes, code: int | None) -> bool:
    if head.status == HTTPStatus.OK and code is None and looks_like_binance(body):
        return False
    return code in {None, _NO_CODE} and refuses_location(body[:_MAX_PAGE_BYTES])


def _is_relayed(head: ReplyHead) -> bool:
    """Return whether an mdcache upstream sent this 503: it has a gate of its own, and may have other answers."""
    return head.status == HTTPStatus.SERVICE_UNAVAILABLE and (head.header("proxy-status") or "").startswith("mdcache;")


def _relayed_refusal(head: ReplyHead, body: bytes) -> UpstreamUnavailable | None:
    """Return the error of an mdcache upstream as our own. Rule: docs/design.md#errors."""
    seconds = whole_seconds(head.header("retry-after"))
    if seconds is None:
        return None
    try:
        stated = _error.decode(body)
    except UNDECODABLE:
        return None
    cause = f"reported by upstream: {stated.msg[:_MAX_TEXT]}"
    if stated.code == _TOO_MANY:
        return GateClosed(seconds, cause)
    return Busy(seconds, cause) if stated.code == _BUSY else None


def may_try_again(error: BaseException) -> bool:
    """Return whether a retry may help: after transport faults, 5xx and invalid bodies, not after an unknown status."""
    return isinstance(error, UpstreamFailed) and error.reason is not Fault.STATUS


def looks_like_binance(body: bytes) -> bool:
    """Return whether a 200's body can be Binance's: a JSON object or list, not the HTML of something between."""
    return body[:1] in {b"{", b"["}


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
