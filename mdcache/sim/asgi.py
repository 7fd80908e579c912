"""The exchange as an ASGI application, with delays, gzip and broken connections; WebSockets are in `stream_asgi.py`.

A connection can only be broken with the server's help: `server.py` puts an `abort` into the scope. Without
one (in-process transports) a broken connection is the exception `ConnectionBroken`, raised to the client.
"""

import gzip
from collections.abc import Awaitable, Callable
from dataclasses import replace

from mdcache.sim.api.replies import ExchangeReply
from mdcache.sim.asgi_scope import Receive, Scope, Send, break_connection, client_of, request_headers
from mdcache.sim.control import control_api
from mdcache.sim.dumps import dump_server
from mdcache.sim.exchange import Exchange
from mdcache.sim.stream_asgi import serve_stream

_GZIP_SIZES = range(1_024, 16_000_000)  # smaller: not worth it; larger: would block the event loop
_CHUNK = 1 << 18


class SimApp:
    """ASGI 3 application over one `Exchange`; `sleep(seconds)` is used for its latencies."""

    def __init__(self, exchange: Exchange, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._exchange = exchange
        self._sleep = sleep
        self._dumps = dump_server.DumpServer(exchange, sleep)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket; there are no other scopes (`server.py`)."""
        if scope["type"] == "websocket":
            await serve_stream(self._exchange, scope, receive, send, self._sleep)
            return
        method, path = scope["method"], scope["path"]
        query = scope["query_string"].decode("latin-1")
        headers = request_headers(scope)
        if path.startswith(control_api.PREFIX):
            reply = control_api.answer(self._exchange, method, path, query, await _body(receive))
            await self._send(reply, send)
            return
        before = self._exchange.delay_before(path)
        if before > 0:
            await self._sleep(before)
        if path.startswith(dump_server.PREFIX):
            reply = await self._dumps.reply(method, path, client_of(scope, headers))
        else:
            reply = self._exchange.respond(method, path, query, headers, client_of(scope, headers))
            reply = _compressed(reply, headers.get("accept-encoding", ""))
        if reply.delay_after_s > 0:
            await self._sleep(reply.delay_after_s)
        if reply.fault == "timeout":
            await _body(receive)
            await receive()  # returns when the client has disconnected
            return
        if reply.fault == "drop":
            break_connection(scope)
            return
        await self._send(reply, send)
        if reply.fault == "truncate":
            break_connection(scope)

    async def _send(self, reply: ExchangeReply, send: Send) -> None:
        """Send a reply, in chunks; if its fault is "truncate", only half of its `Content-Length`."""
        length, cut = len(reply.body), reply.fault == "truncate"
        headers = [(name.encode(), value.encode()) for name, value in reply.headers]
        headers.append((b"Content-Length", str(length).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        end, size = length // 2 if cut else length, min(_CHUNK, reply.bytes_s or _CHUNK)
        for start in range(0, end, size):
            piece = reply.body[start : min(end, start + size)]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if reply.bytes_s is not None:
                await self._sleep(len(piece) / reply.bytes_s)
        if not cut:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _body(receive: Receive) -> bytes:
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _compressed(reply: ExchangeReply, accepted: str) -> ExchangeReply:
    """Gzip the reply if that is accepted, worth it, and not done already."""
    coded = any(name == "Content-Encoding" for name, _ in reply.headers)
    if coded or "gzip" not in accepted or len(reply.body) not in _GZIP_SIZES:
        return reply
    headers = (*reply.headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
    return replace(reply, headers=headers, body=gzip.compress(reply.body, 1, mtime=0))
