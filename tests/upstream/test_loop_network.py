"""Our connections under httpcore's pool, over real sockets, as the daemon runs them: on uvloop."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from mdcache.errors import TransportFailed
from mdcache.upstream import loop_network
from mdcache.upstream.http_client import MarketClient
from mdcache.upstream.models import UpstreamRequest
from tests.support.programs import find

WIRE = UpstreamRequest("/x", "", (), 1, 10_000_000)
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Server:
    """Answers what it is told to; knows its connections, and which of them the client has ended."""

    def __init__(self, answer: Callable[[asyncio.StreamWriter, int], Awaitable[None]]) -> None:
        self._answer = answer
        self.asked = 0
        self.connections: list[Streams] = []
        self.ended = asyncio.Semaphore(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append((reader, writer))
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.asked += 1
                await self._answer(writer, self.asked)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.release()
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    answer: Callable[[asyncio.StreamWriter, int], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "",
    timeout_s: float = 2.0,
) -> AsyncIterator[tuple[Server, MarketClient]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    base = f"{'https' if tls else 'http'}://{host or '127.0.0.1'}:{port}"
    client = MarketClient(base, timeout_s=timeout_s, concurrency=2, trust_env=False)
    try:
        yield server, client
    finally:
        await client.aclose()
        listening.close()
        for _, writer in server.connections:
            writer.close()


async def get(client: MarketClient) -> bytes:
    return (await client.get(WIRE, lambda _head: None))[1]


async def well(writer: asyncio.StreamWriter, _: int) -> None:
    writer.write(REPLY)


def on_uvloop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(main(), 20.0))


def test_a_connection_is_used_again_and_closed_at_the_end() -> None:
    async def main() -> None:
        async with serving(well) as (server, client):
            assert [await get(client) for _ in range(3)] == [b"[]"] * 3
            assert len(server.connections) == 1
            await client.aclose()
            await server.ended.acquire()

    on_uvloop(main)


@pytest.mark.parametrize("end", ["close", "half-close", "reset", "more than was asked for"])
def test_a_connection_that_the_other_side_ended_while_idle_is_not_used_again(end: str) -> None:
    async def main() -> None:
        async with serving(well) as (server, client):
            assert await get(client) == b"[]"
            _, writer = server.connections[0]
            match end:
                case "close":
                    writer.close()
                case "half-close":
                    writer.write_eof()
                case "reset":
                    writer.transport.abort()
                case _:
                    writer.write(REPLY.replace(b"[]", b"{}"))  # it would pass for the next answer
            await asyncio.sleep(0.05)
            assert await get(client) == b"[]"
            assert len(server.connections) == 2

    on_uvloop(main)


def test_a_reply_that_ends_with_its_connection() -> None:
    async def answer(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[")
        await writer.drain()
        writer.write(b"]")
        writer.close()

    async def main() -> None:
        async with serving(answer) as (server, client):
            assert [await get(client) for _ in range(2)] == [b"[]"] * 2
            assert len(server.connections) == 2

    on_uvloop(main)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(b"", "protocol"), (b"HTTP/1.1 2", "protocol"), (REPLY[:-1], "protocol"), (b"who is there?\r\n\r\n", "protocol")],
)
def test_a_reply_that_is_cut_or_none(sent: bytes, reason: str) -> None:
    async def answer(writer: asyncio.StreamWriter, asked: int) -> None:
        writer.write(REPLY if asked > 1 else sent)
        if asked == 1:
            writer.close()

    async def main() -> None:
        async with serving(answer) as (_, client):
            with pytest.raises(TransportFailed) as caught:
                await get(client)
            assert caught.value.reason == reason
            assert await get(client) == b"[]"

    on_uvloop(main)


def test_a_connection_that_is_reset_midway() -> None:
    async def answer(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(REPLY[:-1])
        await asyncio.sleep(0.05)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, *bytes(7))))
        writer.transport.abort()

    async def main() -> None:
        async with serving(answer) as (_, client):
            with pytest.raises(TransportFailed) as caught:
                await get(client)
            assert caught.value.reason in {"read", "protocol"}

    on_uvloop(main)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_request_that_is_given_up_ends_its_connection(cancelled: bool) -> None:
    async def answer(writer: asyncio.StreamWriter, asked: int) -> None:
        writer.write(REPLY if asked > 1 else REPLY[:-1])

    async def main() -> None:
        async with serving(answer, timeout_s=0.5) as (server, client):
            asking = asyncio.create_task(get(client))
            if cancelled:
                await asyncio.sleep(0.1)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
            else:
                with pytest.raises(TransportFailed, match=r"no whole reply in 0\.5 s"):
                    await asking
            await server.ended.acquire()
            assert await get(client) == b"[]"

    on_uvloop(main)


def test_nobody_listens() -> None:
    async def main() -> None:
        async with serving(well) as (_, client):
            pass
        client = MarketClient("http://127.0.0.1:1", timeout_s=2.0, concurrency=1, trust_env=False)
        with pytest.raises(TransportFailed) as caught:
            await get(client)
        assert caught.value.reason == "connect"
        await client.aclose()

    on_uvloop(main)


def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serving(well, host="exchange.test") as (server, client):
            resolve = uvloop.Loop.getaddrinfo

            async def found(loop: uvloop.Loop, host: str, port: int, **named: Any) -> list[Any]:
                hosts = (
                    ("127.0.0.2", "127.0.0.1") if host == "exchange.test" else (host,)
                )  # at the first, nobody listens
                return [address for each in hosts for address in await resolve(loop, each, port, **named)]

            monkeypatch.setattr(uvloop.Loop, "getaddrinfo", found)
            assert await get(client) == b"[]"
            assert len(server.connections) == 1

    on_uvloop(main)


@pytest.mark.virtual
@pytest.mark.parametrize("given_up", [False, True])
async def test_an_address_that_does_not_answer_costs_a_quarter_of_a_second(
    given_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    left: list[str] = []
    answers = socket.socket()

    async def connect_to(address: tuple[Any, ...]) -> socket.socket:
        tried.append(address[4])
        if address[0] == socket.AF_INET and not given_up:
            return answers
        try:
            await asyncio.sleep(3_600.0)
        finally:
            left.append(address[4])
        raise AssertionError

    monkeypatch.setattr(loop_network, "_connect_to", connect_to)
    found = [(family, socket.SOCK_STREAM, 6, "", name) for family, name in ((10, "a"), (10, "b"), (2, "c"), (2, "d"))]
    began = asyncio.get_running_loop().time()
    with answers, pytest.raises(TimeoutError) if given_up else nullcontext():
        async with asyncio.timeout(2.0):
            assert await loop_network._connect(found) is answers
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.0 if given_up else 0.25)
    await asyncio.sleep(0)
    assert tried == (["a", "c", "b", "d"] if given_up else ["a", "c"])  # the families take turns
    assert sorted(left) == (["a", "b", "c", "d"] if given_up else ["a"])


def test_a_long_reply_waits_in_the_socket_until_it_is_read() -> None:
    size = 6_000_000

    async def answer(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(b"x" * size)

    async def main() -> None:
        async with serving(answer) as (_, client):
            assert await get(client) == b"x" * size
            assert await get(client) == b"x" * size

    on_uvloop(main)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    file = tmp_path / "both.pem"
    command = [find("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = subprocess.run([*command, *names, "-keyout", "-", "-out", "-"], check=True, capture_output=True)
    file.write_bytes(made.stdout)
    return file


@pytest.mark.processes
@pytest.mark.parametrize("trusted", [True, False])
def test_tls(certificate: Path, trusted: bool) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    ours = ssl.create_default_context(cafile=str(certificate) if trusted else None)

    async def main() -> None:
        async with serving(well, tls=theirs, host="localhost") as (server, plain):
            base = str(plain._prepare("/", "", ()).url)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(httpx, "create_ssl_context", lambda **_: ours)
                client = MarketClient(base, timeout_s=2.0, concurrency=1, trust_env=False)
            if trusted:
                assert [await get(client) for _ in range(2)] == [b"[]"] * 2
                assert len(server.connections) == 1
            else:
                with pytest.raises(TransportFailed, match="self-signed") as caught:
                    await get(client)
                assert caught.value.reason == "connect"
            await client.aclose()

    on_uvloop(main)


async def test_what_was_not_read_does_not_outlive_the_connection() -> None:
    """An endless header is cut off: what came of it waited for the garbage collector, up to 256 KB a connection."""

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1_000_000)

    listening = await asyncio.start_server(flood, "127.0.0.1", 0)
    stream = await loop_network.LoopNetwork().connect_tcp("127.0.0.1", listening.sockets[0].getsockname()[1])
    assert isinstance(stream, loop_network.LoopStream)
    assert await stream.read(1)
    assert stream._received
    await stream.aclose()
    assert not stream._received
    listening.close()
