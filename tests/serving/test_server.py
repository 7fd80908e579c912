"""The server on a real socket: bounds, keep-alive, draining. Nothing sleeps: replies and ends are awaited."""

import asyncio
import json
import os
import resource
import signal
import socket
import time
from typing import Any

import pytest
import uvloop

from mdcache.serving.http import server
from mdcache.serving.http.connection import ClientConnection
from mdcache.serving.http.response_cycle import PARTS
from tests.support.serving_harness import BODY, ServingHarness
from tests.support.socket_client import GET, PATIENCE_S, serving

EVENTS = b"GET /v1/stream?market=spot&symbols=BTCUSDT&intervals=1m HTTP/1.1\r\nHost: x\r\n\r\n"


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
        reader, house.app._parser = house.app._parser, None  # type: ignore[assignment] # so that it fails
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


@pytest.mark.exhaustive
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


@pytest.mark.parametrize("known", [0, 5])
def test_what_came_while_the_process_was_stopped_is_answered(known: int) -> None:
    """On the daemon's loop, which runs timers that are due before it looks again what can be read."""

    async def ask() -> None:
        async with serving(ServingHarness(), keep_alive_s=1, whole_within_s=0.5) as connect:
            idle, begun = await connect(), await connect()
            for _ in range(1 + known):
                assert (await idle.get())[0] == 200
            await begun.send(GET[:20])
            alarm, bell = socket.socketpair()

            def stop() -> None:
                alarm.recv(1)
                for peer, rest in ((idle, GET), (begun, GET[20:])):
                    os.write(peer.writer.get_extra_info("socket").fileno(), rest)
                time.sleep(1.2)

            with alarm, bell:
                asyncio.get_running_loop().add_reader(alarm, stop)
                await asyncio.sleep(0.05)
                bell.send(b".")
                for peer in (idle, begun):
                    assert (await peer.reply())[0] == 200
                asyncio.get_running_loop().remove_reader(alarm)

    uvloop.run(ask())


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


async def in_parts(scope: Any, receive: Any, send: Any) -> None:
    """An answer of no known length, such as one of events."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for part in (b"retry: 1000\n\n", b"", b"data: 1\n\n"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: 2\n\n"})


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n"])
async def test_http_1_0_is_sent_no_chunks_but_a_body_that_ends_with_the_connection(more: bytes) -> None:
    """RFC 9112, 6.1: a client of HTTP/1.0 would take the chunks' sizes for the body; nor does it know 1xx answers."""
    house = ServingHarness()
    house.app._app = in_parts
    body = b"retry: 1000\n\ndata: 1\n\ndata: 2\n\n"
    async with serving(house) as connect:
        old = await connect()
        status, headers, _ = await old.get(b"GET /v1/stream HTTP/1.0\r\n%b\r\n" % more)
        assert (status, headers["connection"]) == (200, "close")
        assert headers.keys().isdisjoint({"transfer-encoding", "content-length"})
        assert await old.ended() == body
        head_only = await connect()
        await head_only.send(b"HEAD /v1/stream HTTP/1.0\r\n\r\n")
        assert (await head_only.reply())[0] == 200
        assert await head_only.ended() == b""
        new = await connect()
        assert (await new.get(b"GET /v1/stream HTTP/1.1\r\nHost: x\r\n\r\n"))[1]["transfer-encoding"] == "chunked"


async def test_parts_are_sent_in_their_order_and_not_to_a_client_that_is_gone() -> None:
    house = ServingHarness()
    parts = [b"%d," % number * 50_000 for number in range(40)]
    ended = asyncio.Event()

    async def by_parts(scope: Any, receive: Any, send: Any) -> None:
        assert PARTS in scope["extensions"]
        fields = [(b"content-length", b"%d" % sum(map(len, parts)))]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        for at in range(0, len(parts), 8):
            await send({"type": "http.response.body", PARTS: parts[at : at + 8], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    house.app._app = by_parts
    async with serving(house) as connect:
        peer = await connect()
        for _ in range(2):
            assert (await peer.get())[2] == b"".join(parts)
        ended.clear()
        gone = await connect()
        await gone.send(GET)
        gone.writer.transport.abort()
        async with asyncio.timeout(10.0):
            await ended.wait()


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


async def test_while_draining_a_kept_connection_is_answered_once_more() -> None:
    house = ServingHarness()
    async with serving(house, grace_s=5.0, last_request_s=0.3) as connect:
        known, halfway, idle = [await connect() for _ in range(3)]
        for _ in range(3):
            await known.get()
        await halfway.send(GET[:20])
        await idle.get()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.15)  # the server has noticed, and closed nothing
        status, headers, body = await known.get()
        assert (status, headers["connection"], body) == (200, "close", BODY)
        assert await idle.ended() == b""
        await halfway.send(GET[20:])
        status, headers, _ = await halfway.reply()
        assert (status, headers["connection"]) == (200, "close")


async def test_a_balancer_is_told_before_connections_are_refused() -> None:
    house = ServingHarness()
    ask = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(house, grace_s=2.0) as connect:
        balancer = await connect()
        assert (await balancer.get(ask))[0] == 200
        os.kill(os.getpid(), signal.SIGTERM)
        found: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        while found[0] == 200:
            found = await balancer.get(ask)
        assert json.loads(found[2])["reasons"] == ["mdcache is shutting down"]
        status, headers, _ = await (await connect()).get()
        assert (status, "connection" in headers) == (200, False)


@pytest.mark.parametrize("request_head", [GET, EVENTS])
async def test_draining_has_an_end(request_head: bytes) -> None:
    house = ServingHarness()
    house.candles.hold = asyncio.Event()
    async with serving(house, grace_s=0.0) as connect:
        busy = await connect()
        await busy.send(request_head)
        await house.candles.called.wait()
        os.kill(os.getpid(), signal.SIGINT)
        status, headers, _ = await busy.reply()
        assert (status, headers["retry-after"]) == (503, "1")
