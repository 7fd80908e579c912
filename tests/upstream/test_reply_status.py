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
from mdcache.upstream.reply_status import ReplyHead


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_means_something(status: int) -> None:
    reason = reply_status.closure_reason(status)
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


def test_every_reason_has_a_cause() -> None:
    assert set(reply_status.CAUSES) == set(ClosureReason)


@pytest.mark.parametrize(
    ("retry_after", "body", "expected"),
    [
        ("10", b"", 10_000),
        ("10", b"banned until 1700000030000.", 30_000),
        ("60", b"banned until 1700000030000.", 60_000),
        ("x", b"banned until 1700000030000.", 30_000),
        (None, b"banned until 1600000000000.", None),
        ("0", b"", None),
        (None, b"", None),
    ],
)
def test_the_later_of_both_waits_counts(retry_after: str | None, body: bytes, expected: int | None) -> None:
    headers = () if retry_after is None else (("retry-after", retry_after),)
    assert reply_status.stated_wait_ms(ReplyHead(418, headers), body, 1_700_000_000_000) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Wed, 30 Sep 2026 12:29:31 GMT", 1_790_771_371_000),
        ("", None),
        ("soon", None),
        ("Wed, 99 Sep 2026 12:29:31 GMT", None),
        ("Wed, 30 Sep 99999999 12:29:31 GMT", None),
    ],
)
def test_dates(value: str, expected: int | None) -> None:
    assert reply_status.date_ms(ReplyHead(200, (("date", value),))) == expected
    assert reply_status.date_ms(ReplyHead(200, ())) is None


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
