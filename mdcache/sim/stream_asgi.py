"""Serve one WebSocket of the simulated exchange: answer the handshake, then send frames when they are due."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mdcache.sim.api.replies import ExchangeReply
from mdcache.sim.asgi_scope import Receive, Scope, Send, break_connection, client_of, request_headers
from mdcache.sim.exchange import Exchange
from mdcache.sim.streams.session import Closing, StreamSession


async def serve_stream(
    exchange: Exchange, scope: Scope, receive: Receive, send: Send, sleep: Callable[[float], Awaitable[object]]
) -> None:
    """Serve a WebSocket until either side ends it."""
    await receive()  # websocket.connect
    path, query = scope["path"], scope["query_string"].decode("latin-1")
    await sleep(exchange.delay_before(path))
    opened = exchange.open_stream(path, query, client_of(scope, request_headers(scope)))
    if isinstance(opened, ExchangeReply):
        await _refuse(opened, scope, receive, send)
        return
    await send({"type": "websocket.accept"})
    try:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(_send_frames(exchange, opened, scope, send, sleep))
            await _take_messages(exchange, opened, scope, receive, send)
            sending.cancel()
    finally:
        exchange.end_stream(opened)


async def _refuse(reply: ExchangeReply, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the handshake with a reply in HTTP, with nothing, or by closing the connection."""
    if reply.fault is not None:
        if reply.fault == "drop":
            break_connection(scope)
        await receive()  # returns when the connection is gone
    else:
        headers = [(name.encode(), value.encode()) for name, value in reply.headers]
        await send({"type": "websocket.http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": reply.body})


async def _send_frames(
    exchange: Exchange, session: StreamSession, scope: Scope, send: Send, sleep: Callable[[float], Awaitable[object]]
) -> None:
    while not session.closed:
        await _send(session.due(exchange.now_ms()), scope, send)
        now = exchange.now_ms()
        await sleep((session.next_ms(now) - now) / 1000)


async def _take_messages(
    exchange: Exchange, session: StreamSession, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer the client's messages until the connection has ended."""
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if not session.closed:
            text = message.get("text") or (message.get("bytes") or b"").decode("utf-8", "replace")
            await _send(session.receive(text, exchange.now_ms()), scope, send)


async def _send(out: Sequence[str | Closing], scope: Scope, send: Send) -> None:
    for one in out:
        if isinstance(one, str):
            await send({"type": "websocket.send", "text": one})
        elif one.code is None:
            break_connection(scope)
        else:
            await send({"type": "websocket.close", "code": one.code, "reason": one.reason})
