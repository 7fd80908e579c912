"""A response as a value, and how it is sent over ASGI. Header names are lower case."""

import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from mdcache.errors import ClientLimited
from mdcache.serving.binance.headers import HeaderFields
from mdcache.serving.errors import error_body, error_response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"
ALLOW = (b"allow", b"GET, HEAD, OPTIONS")
_UNAVAILABLE = (b"proxy-status", b"mdcache; error=destination_unavailable")  # RFC 9209; an mdcache before us reads it
_DENIED = (b"proxy-status", b"mdcache; error=http_request_denied")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Status, header fields and body; `Content-Length` is among the fields unless the status forbids it."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Send it; `bodiless` for HEAD."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.fields})
        await send({"type": "http.response.body", "body": b"" if head_only else self.body})


def answer_response(as_of_ms: int, fields: HeaderFields, body: bytes, *, not_modified: bool) -> HttpResponse:
    """Return a cached answer, or a 304 if the client's copy of it is current."""
    as_of = (b"x-mdcache-as-of", b"%d" % as_of_ms)
    return HttpResponse(304 if not_modified else 200, (as_of, *fields), body)


def uncached_response(
    status: int, body: bytes, *extra: tuple[bytes, bytes], content_type: bytes = JSON, may_store: bool = False
) -> HttpResponse:
    """Return a response that is not a cached answer; clients may not store it unless `may_store`."""
    fields = (
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        *(() if may_store else ((b"cache-control", b"no-store"),)),
        *extra,
    )
    return HttpResponse(status, fields, body)


def refusal_response(status: int, code: int, msg: str, *extra: tuple[bytes, bytes]) -> HttpResponse:
    """Return an error in Binance's form."""
    return uncached_response(status, error_body(code, msg), *extra)


def failure_response(error: Exception, *extra: tuple[bytes, bytes]) -> HttpResponse:
    """Return the response for `error` from the table of `errors.py`."""
    answer = error_response(error)
    if answer.retry_after_s is not None:
        proxy_status = _DENIED if isinstance(error, ClientLimited) else _UNAVAILABLE
        extra = (*extra, (b"retry-after", b"%d" % answer.retry_after_s), proxy_status)
    return uncached_response(answer.status, answer.body, *extra)


def describe_error(error: BaseException) -> str:
    """Return the exception's type and place, without its text, which may quote a request."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


async def wait_until_gone(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
