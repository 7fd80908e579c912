"""A client that talks ASGI to an `App` in process."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mdcache.serving.app import App
from mdcache.serving.http.response_cycle import PARTS

KLINES = "/api/v3/klines"
QUERY = b"symbol=BTCUSDT&interval=1m"
REMOTE_PEER = ("192.0.2.7", 40_000)
LOOPBACK_PEER = ("127.0.0.1", 40_000)


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


def lifetime_s(reply: Response) -> int:
    """Return the lifetime that an answer states, in seconds from its as-of."""
    return int(reply.headers["cache-control"].removeprefix("max-age=").partition(",")[0])


async def ask(
    app: App,
    path: str = KLINES,
    query: bytes = QUERY,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    peer: tuple[str, int] | None = LOOPBACK_PEER,
    extensions: Mapping[str, Any] | None = None,
    http_version: str = "1.1",
    leaves: asyncio.Event | None = None,
) -> Response:
    """Send one request to `app` and wait for its whole answer. `leaves`: when the client closes its connection."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": http_version,
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "client": peer,
        "server": ("127.0.0.1", 8700),
        "extensions": dict(extensions or {}),
    }
    sent: list[Any] = []

    received = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        for message in received:
            return message
        await (leaves or asyncio.Event()).wait()  # it stays until it has its answer
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *rest = sent
    names = [name for name, _ in start["headers"]]
    assert len(names) == len(set(names)), "a header twice"
    return Response(
        start["status"],
        {name.decode(): value.decode("latin-1") for name, value in start["headers"]},
        b"".join(part for message in rest for part in (message.get("body", b""), *message.get(PARTS, ()))),
    )
