"""What statuses, headers and bodies of replies mean."""

import pytest

from mdcache.errors import (
    BodyFault,
    Fault,
    GateClosed,
    InvalidBody,
    MdcacheError,
    Refusal,
    ServerFailed,
    TransportFailed,
)
from mdcache.upstream import reply_status
from mdcache.upstream.backoff import ClosureReason
from mdcache.upstream.reply_head import ReplyHead


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_means_something(status: int) -> None:
    reason = reply_status.closure_reason(ReplyHead(status, ()))
    if status in {403, 418, 429, 451}:
        assert reason is not None
        assert reason.value == str(status)
        assert str(status) in reply_status.CAUSES[reason]
        return
    assert reason is None
    error = reply_status.failure(ReplyHead(status, ()), b'{"code":-1,"msg":"m"}')
    if 400 <= status < 500 and status not in {407, 408}:
        assert isinstance(error, Refusal)
        assert (error.status, error.code, error.msg) == (status, -1, "m")
    else:
        assert isinstance(error, ServerFailed)
        assert error.reason in {"5xx", "backend-timeout", "status"}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"code":"x","msg":1}', b"\xff\xfe", b'{"msg":"no code"}'])
@pytest.mark.parametrize("status", [400, 401, 404, 405, 410, 414, 431])
def test_a_4xx_without_a_reason_is_the_questions_fault(status: int, body: bytes) -> None:
    error = reply_status.failure(ReplyHead(status, ()), body)
    assert isinstance(error, Refusal)
    assert (error.status, error.code) == (status, -1000)
    assert str(status) in error.msg


PAGE = b"<HTML>The Amazon CloudFront distribution is configured to block access from your country.</HTML>"
LOCATION = b'{"code":0,"msg":"Service unavailable from a restricted location according to \'b. Eligibility\'"}'
TOO_MANY = b'{"code":-1003,"msg":"Too many requests; current limit is 2400 requests per minute."}'
BANNED = b'{"code":-1003,"msg":"Way too many requests; IP(1.2.3.4) banned until 1783855317204."}'


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        *((status, PAGE, ClosureReason.REGION) for status in (403, 451, 400, 404, 200)),
        *((status, LOCATION, ClosureReason.REGION) for status in (403, 451, 400, 200)),
        *((status, TOO_MANY, ClosureReason.RATE) for status in (429, 403, 400, 404, 200, 500, 503)),
        *((status, BANNED, ClosureReason.BAN) for status in (418, 429, 403, 400, 404, 200, 500, 503)),
        (418, TOO_MANY, ClosureReason.BAN),
        (418, PAGE, ClosureReason.BAN),
        (403, b"<html>Request blocked.</html>", ClosureReason.WAF),
        (403, b"", ClosureReason.WAF),
        (403, b'{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}', ClosureReason.WAF),
        (400, b'{"code":-1121,"msg":"Invalid symbol."}', None),
        (400, b'{"code":-1121,"msg":"Not from your country."}', None),
        (200, b'{"symbol":"X","price":"1.0","msg":"restricted location"}', None),
        (200, b'{"code":200,"msg":"from your country"}', None),
        (200, b'[["restricted location"]]', None),
        (200, b'{"code":-1003,"msg":"' + b"x" * 5_000 + b'"}', None),
        (200, b'\xff{"code":-1003}', None),
        (503, b"", None),
        (502, b'{"code":-1000,"msg":"An unknown error occurred."}', None),
    ],
)
def test_a_status_changed_on_the_way_hides_no_refusal(status: int, body: bytes, expected: ClosureReason | None) -> None:
    assert reply_status.closure_reason(ReplyHead(status, ()), body) is expected


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520])
@pytest.mark.parametrize("value", ["30", "Wed, 30 Sep 2026 12:29:31 GMT"])
def test_a_server_that_says_when_to_come_back_closes_the_gate(status: int, value: str) -> None:
    head = ReplyHead(status, (("retry-after", value),))
    assert reply_status.closure_reason(head) is ClosureReason.OVERLOAD
    assert reply_status.closure_reason(head, b'{"code":-1008,"msg":"busy"}') is ClosureReason.OVERLOAD
    assert reply_status.closure_reason(head, BANNED) is ClosureReason.BAN


def test_an_mdcache_upstream_speaks_for_its_own_gate() -> None:
    head = ReplyHead(503, (("retry-after", "30"), ("proxy-status", "mdcache; error=destination_unavailable")))
    assert reply_status.closure_reason(head, TOO_MANY) is None
    error = reply_status.failure(head, TOO_MANY)
    assert isinstance(error, GateClosed)
    assert error.retry_after_s == 30


def test_every_reason_has_a_cause() -> None:
    assert set(reply_status.CAUSES) == set(ClosureReason)


@pytest.mark.parametrize(("value", "expected"), [("7", 7), ("-7", 0), ("x", 0)])
def test_ages(value: str, expected: int) -> None:
    assert reply_status.age_s(ReplyHead(200, (("age", value),))) == expected


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TransportFailed(Fault.CONNECT), True),
        (ServerFailed(Fault.SERVER_ERROR), True),
        (ServerFailed(Fault.BACKEND_TIMEOUT), True),
        (ServerFailed(Fault.STATUS), False),
        (InvalidBody(BodyFault.COLUMNS), True),
        (Refusal(400, -1121, "Invalid symbol."), False),
        (GateClosed(1.0, "banned"), False),
    ],
)
def test_what_is_tried_again(error: MdcacheError, *, again: bool) -> None:
    assert reply_status.may_try_again(error) is again
