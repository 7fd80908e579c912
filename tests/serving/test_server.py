"""The server on a real socket: bounds, keep-alive, draining. Nothing sleeps: replies and ends are awaited."""

import asyncio
import json
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from mdcache.serving.http import server
from mdcache.serving.http.connection import ClientConnection
from tests.support.asgi_client import BODY, ServingHarness

GET = b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENCE_S = 10.0


class Peer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
            headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
            length = 0 if bodiless else int(headers.get("content-length", "0"))
            return int(line.split()[1]), headers, await self.reader.readexactly(length)

    async def get(self, request: bytes = GET) -> tuple[int, dict[str, str], bytes]:
        await self.send(request)
        return await self.reply()

    async def flood(self, data: bytes) -> None:
        for _ in range(100_000):
            await self.send(data)
            await asyncio.sleep(0)

    async def ended(self) -> bytes:
        """What was still sent before the server closed the connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


@asynccontextmanager
async def serving(
    house: ServingHarness,
    *,
    grace_s: float = 1.0,
    whole_within_s: float = 10.0,
    read_within_s: float = 60.0,
    keep_alive_s: int = 75,
) -> AsyncIterator[Callable[[], Awaitable[Peer]]]:
    """A server; yields what opens a connection to it. Ends by SIGTERM, as everywhere."""
    addresses: list[str] = []
    up = asyncio.Event()

    def on_ready(found: object) -> None:
        assert isinstance(found, list)
        addresses.extend(found)
        up.set()

    sockets = await server.listen("127.0.0.1", 0)
    task = asyncio.create_task(
        server.serve(
            house.app,
            sockets,
            grace_s,
            on_ready,
            streams=house.door,
            message_timeout_s=whole_within_s,
            client_read_timeout_s=read_within_s,
            keep_alive_s=keep_alive_s,
        )
    )
    async with asyncio.timeout(PATIENCE_S):
        await up.wait()
    host, port = addresses[0].split(":")
    peers: list[Peer] = []

    async def connect() -> Peer:
        peers.append(Peer(*await asyncio.open_connection(host, int(port))))
        return peers[-1]

    try:
        yield connect
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await task
        for peer in peers:
            peer.writer.close()


async def test_a_connection_is_kept_and_the_lane_answers_on_it() -> None:
    house = ServingHarness()
    async with serving(house) as connect:
        peer = await connect()
        for _ in range(6):
            status, headers, body = await peer.get()
            assert (status, body) == (200, BODY)
            assert headers["server"] == "mdcache"
            assert headers["date"].endswith("GMT")
            assert "connection" not in headers
        assert len(house.candles.asked) == 2
        assert [record.result for record in house.recorder.records] == ["miss", "miss", *["hit"] * 4]
        other = await connect()
        assert (await other.get())[2] == BODY


async def test_the_lane_really_answers() -> None:
    house = ServingHarness()
    async with serving(house) as connect:
        peer = await connect()
        for _ in range(3):
            await peer.get()
        reader, house.app._parser = house.app._parser, None  # type: ignore[assignment]
        status, _, body = await peer.get()
        assert (status, body) == (200, BODY)
        house.app._parser = reader


@pytest.mark.parametrize("pieces", [1, 2, 5, len(GET)])
async def test_requests_in_pieces(pieces: int) -> None:
    house = ServingHarness()
    async with serving(house) as connect:
        peer = await connect()
        size = -(-len(GET) // pieces)
        for _ in range(4):
            for at in range(0, len(GET), size):
                await peer.send(GET[at : at + size])
                await asyncio.sleep(0)
            assert (await peer.reply())[2] == BODY


async def test_pipelined_requests_are_answered_in_order() -> None:
    house = ServingHarness()
    ping = b"GET /api/v3/ping HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(house) as connect:
        peer = await connect()
        for _ in range(3):
            await peer.get()
        await peer.send(GET + ping + GET + ping)
        assert [(await peer.reply())[2] for _ in range(4)] == [BODY, b"{}", BODY, b"{}"]
        assert (await peer.get())[2] == BODY


async def test_a_body_on_a_get_is_drained() -> None:
    house = ServingHarness()
    with_body = GET.replace(b"Host: x\r\n", b"Host: x\r\nContent-Length: 5\r\n")
    async with serving(house) as connect:
        peer = await connect()
        for _ in range(4):
            assert (await peer.get(with_body + b"hello"))[2] == BODY
        await peer.send(with_body)
        assert (await peer.reply())[2] == BODY
        await peer.send(b"hello" + GET)
        assert (await peer.reply())[2] == BODY


async def test_an_endless_body_ends_the_connection() -> None:
    house = ServingHarness()
    start = GET.replace(b"Host: x\r\n", b"Host: x\r\nTransfer-Encoding: chunked\r\n")
    async with serving(house) as connect:
        peer = await connect()
        assert (await peer.get(start))[0] == 200
        with pytest.raises(ConnectionError):
            await peer.flood(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")


async def test_a_header_too_large() -> None:
    house = ServingHarness()
    big = GET[:-2] + b"X-Big: " + b"y" * 70_000 + b"\r\n\r\n"
    async with serving(house) as connect:
        peer = await connect()
        status, headers, body = await peer.get(big)
        assert status == 431
        assert headers["connection"] == "close"
        assert json.loads(body).keys() == {"code", "msg"}
        assert await peer.ended() == b""


async def test_a_header_that_never_ends() -> None:
    house = ServingHarness()
    async with serving(house) as connect:
        peer = await connect()
        await peer.send(GET[:-2])
        with pytest.raises(ConnectionError):
            await peer.flood(b"X-More: " + b"y" * 1_000 + b"\r\n")
        assert house.candles.asked == []


async def test_pipelined_requests_of_many_kilobytes_are_no_large_header() -> None:
    house = ServingHarness()
    padded = GET[:-2] + b"X-Pad: " + b"y" * 900 + b"\r\n\r\n"
    async with serving(house) as connect:
        peer = await connect()
        sending = asyncio.create_task(peer.send(padded * 600))
        for _ in range(600):
            assert (await peer.reply())[0] == 200
        await sending


@pytest.mark.parametrize("end", [b"", b"Connection: close\r\n"])
@pytest.mark.parametrize("requests", [1, 3])
async def test_a_client_that_reads_no_answer(requests: int, end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    house, lost = ServingHarness(), asyncio.Event()
    house.candles.make = lambda: house.answer(body=b" " * 40_000_000)  # more than the kernel takes
    end_of = ClientConnection.connection_lost

    def connection_lost(connection: ClientConnection, exc: Exception | None) -> None:
        end_of(connection, exc)
        lost.set()

    monkeypatch.setattr(ClientConnection, "connection_lost", connection_lost)
    async with serving(house, read_within_s=0.05) as connect:
        peer = await connect()
        transport = peer.writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        await peer.send((GET[:-2] + end + b"\r\n") * requests)
        async with asyncio.timeout(PATIENCE_S):
            await lost.wait()
        transport.abort()


async def test_a_client_that_reads_slowly_gets_all_of_it() -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(body=b"[" + b" " * 10_000_000 + b"]")
    async with serving(house, read_within_s=0.2) as connect:
        peer = await connect()
        await peer.send(GET)
        await peer.reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(20):
                await peer.reader.readexactly(500_000)
                await asyncio.sleep(0.02)


async def test_a_large_header_within_the_bound() -> None:
    house = ServingHarness()
    async with serving(house) as connect:
        peer = await connect()
        assert (await peer.get(GET[:-2] + b"X-Big: " + b"y" * 60_000 + b"\r\n\r\n"))[0] == 200


@pytest.mark.parametrize("start", [b"", b"GET /api", GET[:-2]])
async def test_a_request_that_does_not_arrive(start: bytes) -> None:
    async with serving(ServingHarness(), whole_within_s=0.05) as connect:
        peer = await connect()
        await peer.send(start)
        said = await peer.ended()
        assert said.startswith(b"HTTP/1.1 408 ") if start else said == b""


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /api\x00/v3 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v3/klines HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v3/klines HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /api/v3/klines HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_nonsense_is_a_clean_4xx(nonsense: bytes) -> None:
    house = ServingHarness()
    async with serving(house) as connect:
        peer = await connect()
        await peer.send(nonsense)
        status, _, body = await peer.reply()
        assert 400 <= status < 500
        assert json.loads(body).keys() == {"code", "msg"}
        assert house.event_log == []
        healthy = await connect()
        assert (await healthy.get())[0] == 200


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        ("1.1", (), 400),
        ("1.1", ("x", "x"), 400),
        ("1.1", ("x", "y"), 400),
        ("1.1", ("x, y",), 400),
        ("1.1", ("x,y",), 400),
        ("1.1", ("x y",), 400),
        ("1.0", ("x, y",), 400),
        ("1.1", ("x",), 200),
        ("1.1", ("[::1]:8080",), 200),
        ("1.1", ("a-b.example_c:80",), 200),
        ("1.1", ("",), 200),
        ("1.0", (), 200),  # HAProxy's health checks
        ("1.0", ("x",), 200),
        ("1.0", ("x", "y"), 400),
    ],
)
async def test_a_request_names_one_host(version: str, hosts: tuple[str, ...], status: int) -> None:
    house = ServingHarness()
    request = GET.replace(b"HTTP/1.1\r\nHost: x\r\n", f"HTTP/{version}\r\n".encode())
    request = request[:-2] + b"".join(b"hOst: %b\r\n" % host.encode() for host in hosts) + b"\r\n"
    async with serving(house) as connect:
        for _ in range(3):  # the fast lane learns no refused request
            peer = await connect()
            found, headers, body = await peer.get(request)
            assert found == status
            if status == 400:
                assert json.loads(body) == {"code": -1100, "msg": "The request must have exactly one Host header."}
                assert headers["connection"] == "close"
                assert await peer.ended() == b""
        assert len(house.candles.asked) == (0 if status == 400 else 2)


async def test_nonsense_behind_a_request_does_not_cut_its_answer() -> None:
    house = ServingHarness()
    house.candles.hold = asyncio.Event()
    async with serving(house) as connect:
        peer = await connect()
        await peer.send(GET + b"nonsense\r\n\r\n")
        await house.candles.called.wait()
        house.candles.hold.set()
        status, headers, body = await peer.reply()
        assert (status, headers["connection"], body) == (200, "close", BODY)
        assert await peer.ended() == b""


async def test_idle_connections_end_with_and_without_the_fast_lane() -> None:
    house = ServingHarness()
    async with serving(house, keep_alive_s=0) as connect:
        peer = await connect()
        assert (await peer.get())[0] == 200
        assert await peer.ended() == b""
    house = ServingHarness()
    async with serving(house, keep_alive_s=1) as connect:
        peer = await connect()
        for _ in range(5):  # the last two by the lane: they set the timer anew, once
            assert (await peer.get())[0] == 200
        assert await peer.ended() == b""


JAVA = (
    b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Content-Length: 0\r\nHost: x\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n"
    b"Upgrade: h2c\r\nUser-Agent: Java-http-client/17.0.15\r\n\r\n"
)  # as Java's HttpClient sends it by default


@pytest.mark.parametrize(
    "offer",
    [
        JAVA,
        GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
        GET[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
        GET[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n",
    ],
)
async def test_offers_of_other_protocols_are_ignored_and_the_connection_goes_on(offer: bytes) -> None:
    house = ServingHarness()
    async with serving(house) as connect:
        peer = await connect()
        for _ in range(4):  # the last by the fast lane where it may
            status, headers, body = await peer.get(offer)
            assert (status, body) == (200, BODY)
            assert "connection" not in headers
        await peer.send(offer + GET + offer + GET[:-2])
        assert [(await peer.reply())[2] for _ in range(3)] == [BODY] * 3
        assert (await peer.get(b"\r\n"))[2] == BODY


@pytest.mark.parametrize("pieces", [1, 3, 40])
async def test_the_body_of_a_command_with_an_offer_is_read(pieces: int) -> None:
    house = ServingHarness()
    body = b'{"symbol":"NONE"}'
    head = b"POST /v1/admin/purge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer let-me-in-please\r\n"
    offer = head + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving(house) as connect:
        peer = await connect()
        for _ in range(2):
            sent = offer + body
            size = -(-len(sent) // pieces)
            for at in range(0, len(sent), size):
                await peer.send(sent[at : at + size])
                await asyncio.sleep(0)
            status, _, reply = await peer.reply()
            assert (status, json.loads(reply)) == (200, {"purged": 0})
        refused = await peer.get(offer + b"x" * len(body))
        assert refused[0] == 400


async def test_an_offer_with_a_close_is_closed() -> None:
    async with serving(ServingHarness()) as connect:
        peer = await connect()
        status, headers, _ = await peer.get(JAVA.replace(b"Upgrade, HTTP2", b"close, Upgrade, HTTP2"))
        assert (status, headers["connection"]) == (200, "close")
        assert await peer.ended() == b""


async def test_head_and_close() -> None:
    house = ServingHarness()
    async with serving(house) as connect:
        peer = await connect()
        await peer.send(b"HEAD" + GET[3:])
        status, headers, _ = await peer.reply(bodiless=True)
        assert (status, headers["content-length"]) == (200, str(len(BODY)))
        closing = GET[:-2] + b"Connection: close\r\n\r\n"
        status, headers, _ = await peer.get(closing)
        assert headers["connection"] == "close"
        assert await peer.ended() == b""


async def test_one_client_too_many_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "max_connections", lambda: 2)
    async with serving(ServingHarness()) as connect:
        first, second = await connect(), await connect()
        assert (await first.get())[0] == (await second.get())[0] == 200
        assert await (await connect()).ended() == b""
        assert (await first.get())[0] == 200


def test_some_files_are_not_for_clients() -> None:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert files // 2 <= server.max_connections() < files


def test_the_limit_of_open_files_is_raised_where_it_may_be() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = before[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_000, hard))
        limits = []
        for files in (1_500, 1_200, hard + 1):
            server.raise_file_limit(files)
            limits.append(resource.getrlimit(resource.RLIMIT_NOFILE))
        assert limits == [(1_500, hard), (1_500, hard), (hard, hard)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_draining_answers_what_is_under_way() -> None:
    house = ServingHarness()
    house.candles.hold = asyncio.Event()
    async with serving(house, grace_s=5.0) as connect:
        idle, busy = await connect(), await connect()
        await idle.get(b"GET /api/v3/ping HTTP/1.1\r\nHost: x\r\n\r\n")
        await busy.send(GET)
        await house.candles.called.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await idle.ended() == b""
        house.candles.hold.set()
        status, headers, body = await busy.reply()
        assert (status, headers["connection"], body) == (200, "close", BODY)


async def test_draining_has_an_end() -> None:
    house = ServingHarness()
    house.candles.hold = asyncio.Event()
    async with serving(house, grace_s=0.0) as connect:
        busy = await connect()
        await busy.send(GET)
        await house.candles.called.wait()
        os.kill(os.getpid(), signal.SIGINT)
        status, headers, _ = await busy.reply()
        assert (status, headers["retry-after"]) == (503, "1")


async def test_a_port_in_use_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(server.ListenFailed, match=f"cannot listen on 127.0.0.1:{port}: .*in use.*MDCACHE_PORT"):
            await server.listen("127.0.0.1", port)


async def test_of_two_that_bind_a_port_at_once_the_second_to_listen_reports_it() -> None:
    one = await server.listen("127.0.0.1", 0)
    port = one[0].getsockname()[1]
    other = await server.listen("127.0.0.1", port)
    one[0].listen()
    try:
        with pytest.raises(server.ListenFailed, match=f"cannot listen on 127.0.0.1:{port}: .*in use.*MDCACHE_PORT"):
            await server.serve(ServingHarness().app, other, 1.0, lambda _: None)
    finally:
        for listening in (*one, *other):
            listening.close()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:8700", "http://127.0.0.1:8700/"),
        ("0.0.0.0:8700", "http://127.0.0.1:8700/"),
        ("[::]:8700", "http://[::1]:8700/"),
        ("192.0.2.7:80", "http://192.0.2.7:80/"),
    ],
)
def test_the_page_of_an_address(address: str, url: str) -> None:
    assert server.url_on_this_machine(address) == url


async def test_a_host_that_is_none() -> None:
    with pytest.raises(OSError, match=r"cannot listen on nowhere\.invalid:1"):
        await server.listen("nowhere.invalid", 1)


@pytest.mark.parametrize("host", [".", "a" * 300])
async def test_a_host_that_can_be_none(host: str) -> None:
    with pytest.raises(server.ListenFailed, match="cannot listen on"):
        await server.listen(host, 0)


async def test_names_with_several_addresses_share_one_port() -> None:
    sockets = await server.listen("localhost", 0)
    assert len({listening.getsockname()[1] for listening in sockets}) == 1
    for listening in sockets:
        listening.close()
