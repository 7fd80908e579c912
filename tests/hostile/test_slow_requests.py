"""Requests that drip in, byte by byte: each part of one has its time, whatever comes meanwhile."""

import asyncio

import pytest

from mdcache.serving.ops import operations
from tests.serving.streams.test_handshakes import OFFER
from tests.support.examples import thinned
from tests.support.serving_harness import BODY, TOKEN, ServingHarness
from tests.support.socket_client import GET, PATIENCE_S, Peer, serving

PURGE = b"POST /v1/admin/purge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % TOKEN.encode()
BOUND_S = 0.2


async def drip(peer: Peer, data: bytes, every_s: float) -> None:
    for byte in data:
        await peer.send(bytes([byte]))
        await asyncio.sleep(every_s)


async def end_of(peer: Peer, dripped: bytes) -> bytes | None:
    """Return what is sent until the connection ends while `dripped` drips in, which would take many times the bound.

    It is reset if something came just then, and what was sent may be lost: `None`.
    """
    dripping = asyncio.create_task(drip(peer, dripped * 100, BOUND_S / 20))
    said = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while piece := await peer.reader.read(65_536):
                said += piece
        return said
    except ConnectionError:
        return said or None
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


CASES = thinned(
    [
        (b"", GET[:-2], b"408"),
        (b"", b"\r\n", b""),
        (GET + b"\r\n", b"", b""),
        (GET[:-2], b"X: y\r\n", b"408"),
        (GET[:-2] + b"X: ", b"y", b"408"),
        (GET + GET[:9], b"x", b"408"),
        (GET[:-2] + b"Content-Length: 999\r\n\r\n", b"y", b""),
        (GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n", b""),
        (GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n1;", b"y", b""),
        (GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n", b""),
        (PURGE + b"Content-Length: 999\r\n\r\n", b" ", b"408"),
        (PURGE + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", b"408"),
        (b"GET /ws/btcusdt@trade HTTP/1.1\r\n" + OFFER, b"X: y\r\n", b"408"),
    ],
    3,
)


@pytest.mark.parametrize(("start", "dripped", "answered"), CASES)
async def test_a_request_that_drips_in_ends_by_its_time(
    start: bytes, dripped: bytes, answered: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`answered`: by what status in the end, beside a GET's own answer."""
    monkeypatch.setattr(operations, "_BODY_TIMEOUT_S", BOUND_S)
    async with serving(ServingHarness(), whole_within_s=BOUND_S, keep_alive_s=0, grace_s=0.1) as connect:
        for _ in range(6):
            peer = await connect()
            await peer.send(start)
            if start.startswith((GET, GET[:-2] + b"Content-L", GET[:-2] + b"Transfer-E")):
                assert (await peer.reply())[2] == BODY
            said = await end_of(peer, dripped)
            if said is not None:
                break
        else:
            pytest.fail("reset six times")
        assert said[: len(b"HTTP/1.1 408 ")] == (b"HTTP/1.1 %b " % answered if answered else b"")
        honest = await connect()
        await honest.send(GET[:5])
        await asyncio.sleep(0)
        assert (await honest.get(GET[5:]))[2] == BODY


async def test_a_slow_phone_is_served() -> None:
    """Its request comes in pieces, with pauses, and so it reads the answer; and so the next ones."""
    house = ServingHarness()
    house.candles.make = lambda: house.answer(body=b"[" + b" " * 3_000_000 + b"]")
    async with serving(house, whole_within_s=4 * BOUND_S, read_within_s=2 * BOUND_S) as connect:
        peer = await connect()
        for _ in range(3):
            for at in range(0, len(GET), 20):
                await peer.send(GET[at : at + 20])
                await asyncio.sleep(BOUND_S / 20)
            async with asyncio.timeout(PATIENCE_S):
                head = await peer.reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                for _ in range(5):
                    await peer.reader.readexactly(600_000)
                    await asyncio.sleep(BOUND_S / 20)
                assert await peer.reader.readexactly(2)
