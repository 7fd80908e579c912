"""One market's HTTP client: bounds, faults, time-outs, cancellation. respx and streamed bodies stand in."""

import asyncio
import gzip
import ssl
import zlib
from typing import Any

import httpcore
import httpx
import pytest
import respx

from mdcache import __version__
from mdcache.errors import InvalidBody, TransportFailed
from mdcache.upstream.http_client import FAULTS, MarketClient
from mdcache.upstream.models import UpstreamRequest
from mdcache.upstream.reply_head import ReplyHead
from tests.support.fake_exchange import Pieces
from tests.support.virtual_time import run

pytestmark = pytest.mark.virtual

MEGA = 1_000_000
TLS = httpx.create_ssl_context(trust_env=False)  # certificates take 20 ms to read
WIRE = UpstreamRequest("/api/v3/klines", "symbol=BTCUSDT&limit=5", (("X-MBX-TIME-UNIT", "MICROSECOND"),), 2, MEGA)


def ignored(head: ReplyHead) -> None:
    """Ignore the head."""


def rest(handler: Any, timeout_s: float = 5.0, base: str = "https://up.test") -> MarketClient:
    transport = handler if isinstance(handler, httpx.AsyncBaseTransport) else httpx.MockTransport(handler)
    return MarketClient(base, timeout_s=timeout_s, concurrency=2, transport=transport)


def get(handler: Any, wire: UpstreamRequest = WIRE, **more: Any) -> tuple[ReplyHead, bytes]:
    async def main() -> tuple[ReplyHead, bytes]:
        client = rest(handler, **more)
        try:
            return await client.get(wire, ignored)
        finally:
            await client.aclose()

    return run(main())


def streamed(status: int, pieces: list[bytes], pause_s: float = 0.0, **headers: str) -> tuple[Any, Pieces]:
    stream = Pieces(pieces, pause_s)
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=named, stream=stream)

    return handler, stream


def test_what_is_sent() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"[]", headers={"set-cookie": "a=b; Path=/"})

    async def main() -> None:
        client = rest(handler, base="https://up.test/base/")
        for _ in range(2):
            assert (await client.get(WIRE, ignored))[1] == b"[]"
        await client.aclose()

    run(main())
    for request in seen:
        assert str(request.url) == "https://up.test/base/api/v3/klines?symbol=BTCUSDT&limit=5"
        assert request.headers["accept-encoding"] == "gzip"
        assert request.headers["user-agent"] == f"mdcache/{__version__}"
        assert request.headers["x-mbx-time-unit"] == "MICROSECOND"
        assert "cookie" not in request.headers


def test_a_path_without_parameters() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "https://up.test/api/v3/time"
        return httpx.Response(200, content=b"{}")

    assert get(handler, UpstreamRequest("/api/v3/time", "", (), 1, 99))[1] == b"{}"


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP "])
def test_gzip_in_any_pieces(encoding: str) -> None:
    packed = gzip.compress(b"[1,2,3]") + gzip.compress(b"[4]")
    handler, _ = streamed(200, [packed[i : i + 3] for i in range(0, len(packed), 3)], content_encoding=encoding)
    assert get(handler)[1] == b"[1,2,3][4]"


def test_an_empty_gzip_body() -> None:
    handler, _ = streamed(200, [], content_encoding="gzip")
    assert get(handler)[1] == b""


@pytest.mark.parametrize(
    ("pieces", "encoding", "reason"),
    [
        ([b"x" * MEGA, b"x"], "", "too-large"),
        ([gzip.compress(b"\0" * 50 * MEGA)], "gzip", "too-large"),
        ([b"not gzip at all"], "gzip", "encoding"),
        ([gzip.compress(b"[]") + b"tail"], "gzip", "encoding"),
        ([gzip.compress(b"[1,2,3]" * 99)[:-9]], "gzip", "encoding"),
        ([zlib.compress(b"[]")], "deflate", "encoding"),
        ([b"[]"], "br", "encoding"),
    ],
)
def test_broken_bodies(pieces: list[bytes], encoding: str, reason: str) -> None:
    handler, stream = streamed(200, pieces, content_encoding=encoding)
    with pytest.raises(InvalidBody) as caught:
        get(handler)
    assert caught.value.reason == reason
    assert stream.closed


def test_a_huge_body_is_left_early() -> None:
    handler, stream = streamed(200, [b"x" * 100_000] * 2_000)
    with pytest.raises(InvalidBody):
        get(handler)
    assert stream.given <= MEGA + 100_000
    assert stream.closed


@pytest.mark.exhaustive
def test_a_bomb_is_inflated_no_further_than_asked() -> None:
    bomb = gzip.compress(b"\0" * 200 * MEGA)
    handler, stream = streamed(
        200, [bomb[i : i + 10_000] for i in range(0, len(bomb), 10_000)], content_encoding="gzip"
    )
    with pytest.raises(InvalidBody):
        get(handler)
    assert stream.given <= 20_000


async def test_the_head_is_reported_before_the_body() -> None:
    heads: list[tuple[ReplyHead, int]] = []
    handler, stream = streamed(418, [b"a", b"b"], 0.1, retry_after="9")
    head, body = await rest(handler).get(WIRE, lambda head: heads.append((head, stream.given)))
    assert heads == [(head, 0)]
    assert (head.status, head.header("retry-after"), body) == (418, "9", b"ab")


@pytest.mark.parametrize("pieces", [[b"x" * 70_000], [b"slow"] * 99])
def test_a_refusal_is_a_refusal_whatever_its_body(pieces: list[bytes]) -> None:
    handler, _ = streamed(403, pieces, 0.2)
    head, body = get(handler)
    assert (head.status, body) == (403, b"")


async def test_all_of_it_takes_no_longer_than_the_time_out() -> None:
    loop = asyncio.get_running_loop()
    for pieces in ([b"x"] * 99, []):
        stream = Pieces(pieces, 0.9)

        async def handler(request: httpx.Request, stream: Pieces = stream) -> httpx.Response:
            if not stream.pieces:
                await asyncio.sleep(99)
            return httpx.Response(200, stream=stream)

        began = loop.time()
        with pytest.raises(TransportFailed) as caught:
            await rest(handler, timeout_s=3).get(WIRE, ignored)
        assert caught.value.reason == "timeout"
        assert loop.time() - began == pytest.approx(3)


def test_redirects_are_not_followed() -> None:
    handler, _ = streamed(302, [], location="https://elsewhere.test/")
    assert get(handler)[0].status == 302


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (httpx.ConnectError, "connect"),
        (httpx.ConnectTimeout, "timeout"),
        (httpx.ReadTimeout, "timeout"),
        (httpx.PoolTimeout, "pool"),
        (httpx.RemoteProtocolError, "protocol"),
        (httpx.ReadError, "read"),
        (httpx.ProxyError, "proxy"),
    ],
)
def test_faults_by_respx(fault: type[httpx.TransportError], reason: str) -> None:
    with respx.mock(base_url="https://up.test") as router:
        router.get("/api/v3/klines").mock(side_effect=fault)
        with pytest.raises(TransportFailed) as caught:
            get(httpx.MockTransport(router.async_handler))
    assert caught.value.reason == reason


def test_an_answer_by_respx() -> None:
    with respx.mock(base_url="https://up.test") as router:
        router.get("/api/v3/klines", params={"symbol": "BTCUSDT"}).respond(200, json=[[1]])
        head, body = get(httpx.MockTransport(router.async_handler))
    assert (head.status, body.replace(b" ", b"")) == (200, b"[[1]]")


def test_the_table_knows_every_fault_of_httpx() -> None:
    def subclasses(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))

    for kind in subclasses(httpx.TransportError) | {httpx.InvalidURL} | subclasses(httpx.StreamError):
        reasons = [reason for known, reason in FAULTS if issubclass(kind, known)]
        assert reasons, kind
        if kind is not httpx.TransportError:
            assert reasons[0] != "transport", kind


class Wires(httpcore.AsyncNetworkBackend):
    """A network in memory under httpx's real pool, which yields to the event loop once at each step."""

    def __init__(self) -> None:
        self.open = 0

    async def connect_tcp(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        await asyncio.sleep(0)
        self.open += 1
        return Line(self)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Line(httpcore.AsyncNetworkStream):
    """A connection that answers every request with the same two pieces."""

    def __init__(self, wires: Wires) -> None:
        self.wires = wires
        self.waiting: list[bytes] = []
        self.closed = False

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        await asyncio.sleep(0)
        self.waiting += [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n[1", b",2"[:1] + b"]"]

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        await asyncio.sleep(0)
        return self.waiting.pop(0) if self.waiting else b""

    async def aclose(self) -> None:
        self.wires.open -= not self.closed
        self.closed = True

    def get_extra_info(self, info: str) -> Any:
        return False if info == "is_readable" else None


@pytest.mark.parametrize("turns", range(16))
async def test_the_pool_survives_cancellation_at_every_await(turns: int) -> None:
    wires = Wires()

    def pool() -> httpx.AsyncHTTPTransport:
        transport = httpx.AsyncHTTPTransport(verify=TLS)
        transport._pool = httpcore.AsyncConnectionPool(network_backend=wires, max_connections=6)
        return transport

    client = MarketClient("http://up.test", timeout_s=5, concurrency=2, transport=pool)
    cancelled = 0
    for _ in range(20):  # many more than the pool has connections
        task = asyncio.create_task(client.get(WIRE, ignored))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done = await asyncio.gather(task, return_exceptions=True)
        cancelled += isinstance(done[0], asyncio.CancelledError)
    assert cancelled == 20 or turns > 4
    replies = await asyncio.gather(*(client.get(WIRE, ignored) for _ in range(2)))
    assert [(head.status, body) for head, body in replies] == [(200, b"[1,]")] * 2
    await client.aclose()
    assert wires.open == 0


async def test_certificates_are_read_once_however_often_a_pool_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them takes 20 ms, in which the daemon answers nobody; each request that times out gives up a pool."""
    read: list[object] = []

    def load(context: ssl.SSLContext, *given: object, **named: object) -> None:
        read.append(context)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
    client = MarketClient("https://up.test", timeout_s=5, concurrency=2)
    for _ in range(3):
        task = asyncio.create_task(client.get(WIRE, ignored))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await client.aclose()
    assert len(read) == 1
