"""What the exchange, or whoever stands before it, answers instead of rows."""

import json
import time
from email.utils import formatdate

from tests.faults.case import Case
from tests.faults.upstream_faults import broken, said
from tests.faults.wire import Break, Call

WAIT_S = 4  # as stated
BLOCKED = b"<!DOCTYPE html><html><body><h1>Request blocked</h1></body></html>"
_LIMIT = b'{"code":-1003,"msg":"Too much request weight used; current limit is 6000 request weight per 1 MINUTE."}'
_REGION = b'{"code":0,"msg":"Service unavailable from a restricted location according to b. Eligibility."}'


def reply(status: int, body: bytes = _LIMIT, **headers: str) -> bytes:
    """A reply with this status."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    kind = "text/html" if body.startswith(b"<") else "application/json"
    lines += [f"Content-Type: {kind}\r\n", f"Content-Length: {len(body)}\r\n"]
    return f"HTTP/1.1 {status} Told\r\n{''.join(lines)}\r\n".encode() + body


def until(status: int) -> Break:
    """The body says until when."""

    async def answer(call: Call) -> None:
        moment_ms = int((time.time() + WAIT_S) * 1000)
        message = f"Way too much request weight used; IP banned until {moment_ms}. Please use WebSocket Streams."
        call.send(reply(status, json.dumps({"code": -1003, "msg": message}).encode()))

    return answer


def dated(status: int) -> Break:
    """`Retry-After` is a date, in whole seconds."""

    async def answer(call: Call) -> None:
        call.send(reply(status, Retry_After=formatdate(int(time.time()) + WAIT_S + 1, usegmt=True)))

    return answer


_RETRY = str(WAIT_S)

STATUSES = (
    Case("403: the firewall's page", broken(said(reply(403, BLOCKED)))),
    Case("403 with `Retry-After`", broken(said(reply(403, BLOCKED, Retry_After=_RETRY))), stated_s=WAIT_S, long=True),
    Case("418 with `Retry-After`", broken(said(reply(418, Retry_After=_RETRY))), stated_s=WAIT_S),
    Case("418 with a date", broken(dated(418)), stated_s=WAIT_S, long=True),
    Case('418 with "banned until"', broken(until(418)), stated_s=WAIT_S),
    Case("418 with nothing", broken(said(reply(418, b""))), stated_s=118.0, long=True),
    Case("429 with `Retry-After`", broken(said(reply(429, Retry_After=_RETRY))), stated_s=WAIT_S, long=True),
    Case("429 with a date", broken(dated(429)), stated_s=WAIT_S),
    Case("429 with nothing", broken(said(reply(429))), until_minute=True, long=True),
    Case('200 with "banned until"', broken(until(200)), stated_s=WAIT_S),
    Case("302 to another page", broken(said(reply(302, b"", Location="https://spot.test/login")))),
    Case("500", broken(said(reply(500, b'{"code":-1000,"msg":"An unknown error occurred."}')))),
    Case("502: a web page", broken(said(reply(502, BLOCKED))), long=True),
    Case("503", broken(said(reply(503, b""))), long=True),
    Case("503 with `Retry-After`", broken(said(reply(503, b"", Retry_After=_RETRY))), stated_s=WAIT_S),
    Case(
        "504",
        broken(said(reply(504, b'{"code":-1007,"msg":"Timeout waiting for response from backend server."}'))),
        long=True,
    ),
)
REGION = broken(said(reply(451, _REGION)))
