"""The adapter of `websockets`, over real sockets: what it reads, and how it says that there is nothing to read."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import pytest
from websockets import exceptions
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from mdcache.errors import Fault, TransportFailed
from mdcache.upstream.streams.limits import FRAME_BYTES
from mdcache.upstream.streams.ports import ConnectionEnded, HandshakeRefused
from mdcache.upstream.streams.websocket_client import FAULTS, WebSocketConnector

_connect = WebSocketConnector(timeout_s=5.0)


@asynccontextmanager
async def _server(handler: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/stream"


@asynccontextmanager
async def _listening(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]],
) -> AsyncIterator[int]:
    """Yield the port; the end waits for all connections."""
    tasks: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(handle(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            await asyncio.gather(*tasks)


@asynccontextmanager
async def _raw_server(answer: bytes | None) -> AsyncIterator[int]:
    """Anything but a WebSocket server: answers the first bytes with these, or waits for the end; yields its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(-1 if answer is None else 1)
            writer.write(answer or b"")
            await writer.drain()
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async with _listening(handle) as port:
        yield port


@asynccontextmanager
async def _proxy(target: int, asked: list[bytes]) -> AsyncIterator[int]:
    """A proxy that connects everybody to one port of this machine; yields its own."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        with suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0])
        further_reader, further_writer = await asyncio.open_connection("127.0.0.1", target)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pipe(reader, further_writer), pipe(further_reader, writer))

    async with _listening(handle) as port:
        yield port


async def test_messages_go_both_ways_and_pings_are_answered() -> None:
    seen: list[object] = []

    async def handler(connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        seen.extend([request.path, request.headers["User-Agent"], request.headers.get("Sec-WebSocket-Extensions")])
        seen.append(await connection.recv())
        async with asyncio.timeout(5):
            await (await connection.ping())
        await connection.send("an answer")
        await connection.close(1001, "going away")

    async with _server(handler) as url:
        connection = await _connect(url)
        await connection.send("a message")
        assert await connection.receive() == b"an answer"
        with pytest.raises(ConnectionEnded) as ended:
            await connection.receive()
        assert ended.value.code == 1001
        with pytest.raises(ConnectionEnded):
            await connection.send("too late")
        await connection.close()
    assert seen[0] == "/stream"
    assert str(seen[1]).startswith("mdcache/")
    assert seen[2] is None, "no compression is offered"


async def test_a_broken_connection_has_no_code() -> None:
    async def handler(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with _server(handler) as url:
        connection = await _connect(url)
        with pytest.raises(ConnectionEnded) as ended:
            await connection.receive()
        assert ended.value.code is None


async def test_a_message_that_is_too_long_ends_the_connection() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(b"x" * (FRAME_BYTES + 1))
        await connection.wait_closed()

    async with _server(handler) as url:
        connection = await _connect(url)
        with pytest.raises(ConnectionEnded):
            await connection.receive()


async def test_a_refusal_is_told_whole_and_redirects_are_not_followed() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.TOO_MANY_REQUESTS, '{"code":-1003,"msg":"banned until 1"}')
        response.headers["Retry-After"] = "7"
        return response

    def redirect(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.FOUND, "")
        response.headers["Location"] = "/elsewhere"
        return response

    async def handler(connection: ServerConnection) -> None:
        raise AssertionError("nobody gets in")

    async with _server(handler, process_request=refuse) as url:
        with pytest.raises(HandshakeRefused) as refused:
            await _connect(url)
    assert refused.value.head.status == 429
    assert refused.value.head.header("retry-after") == "7"
    assert b"banned until" in refused.value.body
    async with _server(handler, process_request=redirect) as url:
        with pytest.raises(HandshakeRefused) as refused:
            await _connect(url)
    assert refused.value.head.status == 302


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_what_never_answers_ends_by_its_time(scheme: str) -> None:
    async with _raw_server(None) as port:
        with pytest.raises(TransportFailed) as failed:
            await WebSocketConnector(timeout_s=0.2)(f"{scheme}://127.0.0.1:{port}/stream")
    assert failed.value.reason is Fault.TIMEOUT


async def test_who_speaks_no_http_and_who_is_not_there() -> None:
    async with _raw_server(b"\x00 not HTTP\r\n\r\n") as port:
        with pytest.raises(TransportFailed) as failed:
            await _connect(f"ws://127.0.0.1:{port}/stream")
    assert failed.value.reason is Fault.PROTOCOL
    with pytest.raises(TransportFailed) as failed:
        await _connect(f"ws://127.0.0.1:{port}/stream")
    assert failed.value.reason is Fault.CONNECT


async def test_streams_go_through_the_proxy_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def handler(connection: ServerConnection) -> None:
        await connection.send("through the proxy")
        await connection.wait_closed()

    async with _server(handler) as url, _proxy(int(url.split(":")[2].split("/")[0]), asked) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        connection = await _connect("ws://stream.test/stream")
        assert await connection.receive() == b"through the proxy"
        await connection.close()
    assert asked == [b"CONNECT stream.test:80 HTTP/1.1"]


async def test_a_proxy_that_refuses_is_not_binance(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _raw_server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        with pytest.raises(TransportFailed) as failed:
            await _connect("wss://stream.test/stream")
    assert failed.value.reason is Fault.PROXY


def test_every_exception_of_the_library_is_translated() -> None:
    """Those of a handshake; those of a connection are `ConnectionClosed`."""
    handled = tuple(kind for kind, _ in FAULTS)
    known = {kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    left_out = {kind for kind in known if not issubclass(kind, (*handled, exceptions.ConnectionClosed))}
    assert {kind.__name__ for kind in left_out} <= {
        "WebSocketException", "ConcurrencyError", "InvalidState", "PayloadTooBig", "ProtocolError", "TooManyFragments",
    }  # fmt: skip
    assert issubclass(ssl.SSLError, OSError)


async def test_a_proxys_password_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@127.0.0.1:3128/path")
    with pytest.raises(TransportFailed) as failed:
        await _connect("wss://stream.test/stream")
    assert failed.value.reason is Fault.PROXY
    assert "hunter2" not in str(failed.value)
    assert "path" in str(failed.value)
