"""Malformed requests, and offers of other protocols, on a real socket."""

import asyncio
import json

import pytest

from tests.support.serving_harness import BODY, ServingHarness
from tests.support.socket_client import GET, serving


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
