"""A whole reply as a value, and how it is sent over ASGI. Header names are lower case."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from mdcache.serving.refusals import body_of, told

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, header fields and body; `Content-Length` is among the fields unless the status forbids it."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    async def send(self, send: Send, *, bodiless: bool = False) -> None:
        """Send it; `bodiless` for HEAD."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.fields})
        await send({"type": "http.response.body", "body": b"" if bodiless else self.body})


def plain(
    status: int, body: bytes, *extra: tuple[bytes, bytes], content_type: bytes = JSON, store: bool = False
) -> Reply:
    """A reply that is no cached answer: it may not be stored unless `store`."""
    fields = (
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        *(() if store else ((b"cache-control", b"no-store"),)),
        *extra,
    )
    return Reply(status, fields, body)


def refusal(status: int, code: int, msg: str, *extra: tuple[bytes, bytes]) -> Reply:
    """An error in Binance's form."""
    return plain(status, body_of(code, msg), *extra)


def refusal_of(error: Exception, *extra: tuple[bytes, bytes]) -> Reply:
    """What the table of `refusals.py` makes of `error`."""
    answer = told(error)
    if answer.retry_after_s is not None:
        extra = (*extra, (b"retry-after", b"%d" % answer.retry_after_s))
    return plain(answer.status, answer.body, *extra)
