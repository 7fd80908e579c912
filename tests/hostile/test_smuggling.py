"""Requests that two servers may cut differently: the second one in them is never answered, or both are plain.

Each is followed by a plain request; a proxy in front that cuts as its sender hopes would take that for its own.
"""

import asyncio
import re

import pytest

from tests.support.serving_harness import ServingHarness
from tests.support.socket_client import PATIENCE_S, serving

LINE = b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m HTTP/1.1\r\n"
HEAD = LINE + b"Host: x\r\n"
BEHIND = b"GET /api/v3/ping HTTP/1.1\r\nHost: x\r\n\r\n"
END = b"\r\n0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
FIELD = b"X-More: " + b"y" * 1_000 + b"\r\n"
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


async def statuses(*requests: bytes) -> list[list[int]]:
    """Return what is answered to each on a connection of its own, until it ends."""
    house = ServingHarness()
    async with serving(house, whole_within_s=0.3, keep_alive_s=0) as connect:
        peers = [await connect() for _ in requests]
        for peer, request in zip(peers, requests, strict=True):
            await peer.send(request)
        async with asyncio.timeout(PATIENCE_S):
            found = [[int(each) for each in STATUS.findall(await peer.reader.read())] for peer in peers]
    assert house.event_log == []
    return found


REFUSED = [
    HEAD + b"Content-Length: 6\r\n" + CHUNKED + END,
    HEAD + CHUNKED + b"Content-Length: 6\r\n" + END,
    HEAD + b"Content-Length: 0\r\nContent-Length: 45\r\n\r\n",
    HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    *(
        HEAD + b"Content-Length:%b\r\n\r\nhello" % length
        for length in (
            *(b" 5, 5", b" +5", b" -5", b" 0x5", b"", b" 5 5", b" \xa05", b" \x0b5"),
            *(b" 99999999999999999999999", b" 18446744073709551621"),
        )
    ),
    *(
        HEAD + b"Transfer-Encoding:%b\r\n" % coding + END
        for coding in (
            *(b" xchunked", b" identity", b" chunked, identity", b" gzip, chunked", b" \x0bchunked", b' "chunked"'),
            *(b"\r\n chunked", b" identity\r\nTransfer-Encoding: chunked", b" chunked\r\nTransfer-Encoding: identity"),
            *(b" chunked\r\nTransfer-Encoding: chunked", b" chunked;q=1", b" ", b" chunked\x00"),
        )
    ),
    HEAD + b"Content-Length : 5\r\n\r\nhello",
    HEAD + b"Transfer-Encoding : chunked\r\n" + END,
    HEAD + b"X: y\r\n" + b" " + CHUNKED + END,
    HEAD + b"X: y\r\n\tz\r\n\r\n",
    LINE + b" X: y\r\nHost: x\r\n\r\n",
    HEAD.replace(b"\r\n", b"\n") + b"\n",
    HEAD + b"X: y\n" + CHUNKED + END,
    HEAD + b"X: y\r" + CHUNKED + END,
    HEAD + b"X: y\n\n",
    HEAD + b"X: y\r\r\n\r\n",
    HEAD + b"\n",
    HEAD + b"X: y\x00z\r\n\r\n",
    HEAD + b"X\x00Y: y\r\n\r\n",
    HEAD + b"X\r\n\r\n",
    HEAD + b": y\r\n\r\n",
    HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 6\r\n" + CHUNKED + END,
    LINE[:-10] + b"\r\n" + b"Host: x\r\n\r\n",
    LINE.replace(b" HTTP", b" x HTTP") + b"Host: x\r\n\r\n",
    LINE.replace(b" ", b"\t") + b"Host: x\r\n\r\n",
    LINE.lower() + b"Host: x\r\n\r\n",
    LINE.replace(b"1.1", b"1.2") + b"Host: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


async def test_what_can_be_cut_in_two_ways_is_refused_and_nothing_behind_it_is_read() -> None:
    for request, found in zip(REFUSED, await statuses(*(each + BEHIND for each in REFUSED)), strict=True):
        assert found == [400], request


BROKEN_CHUNKS = [
    *(b"5\nhello\n0\n\n", b"5\r\nhello\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n"),
    *(b"-5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    *(b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"\r\n5\r\nhello\r\n0\r\n\r\n"),
    *(b"0\r\nContent-Length: 45\r\n\r\n", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\nX: y\n\r\n"),
]


async def test_a_body_that_can_be_cut_in_two_ways_ends_the_connection_with_its_answer() -> None:
    requests = [HEAD + CHUNKED + b"\r\n" + body + BEHIND for body in BROKEN_CHUNKS]
    for request, found in zip(requests, await statuses(*requests), strict=True):
        assert found == [200], request  # a GET's body is not waited for


PLAIN = [
    HEAD + CHUNKED + END,
    HEAD + CHUNKED + b"\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    HEAD + CHUNKED.upper() + END,
    HEAD + b"Transfer-Encoding:\tchunked \r\n" + END,
    HEAD + b"Content-Length: 5\r\n\r\nhello",
    HEAD + b"Content_Length: 5\r\nContent-Length-X: 7\r\n\r\n",
    HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED + b"\r\n2\r\n{}" + END,
    HEAD + b"X:\r\nY: \r\n\r\n",
]


async def test_plain_bodies_are_read_and_what_is_behind_them_is_answered() -> None:
    requests = [each + BEHIND for each in PLAIN]
    for request, found in zip(requests, await statuses(*requests), strict=True):
        assert found == [200, 200], request


async def test_the_same_with_the_fast_lane_ready() -> None:
    """It is ready for the plain request; what comes with other bytes is parsed."""
    house = ServingHarness()
    plain = HEAD + b"\r\n"
    async with serving(house, whole_within_s=0.3) as connect:
        for request in REFUSED:
            peer = await connect()
            if request is REFUSED[0]:
                for _ in range(3):
                    assert (await peer.get(plain))[0] == 200
            assert (await peer.get(plain))[0] == 200
            await peer.send(plain + request + BEHIND)
            assert (await peer.reply())[0] == 200
            rest = STATUS.findall(await peer.ended())
            assert rest in ([], [b"400"]), request


async def test_fields_behind_the_body_are_no_header() -> None:
    """A proxy does not check them as it checks a header; and they are not kept, however many come."""
    house = ServingHarness()
    order = b"POST /v1/admin/purge HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n"
    async with serving(house, grace_s=0.1) as connect:
        peer = await connect()
        assert (await peer.get(order + b"Authorization: Bearer let-me-in-please\r\n\r\n"))[0] == 401
        assert (await peer.get(HEAD + b"\r\n"))[0] == 200
        peer = await connect()
        await peer.send(order)
        with pytest.raises(ConnectionError):
            await peer.flood(FIELD)
        house.candles.hold = asyncio.Event()
        peer = await connect()
        await peer.send(HEAD.replace(b"Host", b"X: y\r\nHost") + CHUNKED + b"\r\n0\r\n")
        flooding = asyncio.create_task(peer.flood(FIELD))
        await asyncio.sleep(0.1)  # all that is sent until the answer stays in the sockets
        house.candles.hold.set()
        with pytest.raises(ConnectionError):
            await flooding
