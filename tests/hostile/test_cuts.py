"""Requests are answered alike however they come: one by one, all at once, or cut anywhere, with bodies and offers."""

import asyncio
import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.serving.test_fast_lane_equals_plain import CountingLane, Side
from tests.support.examples import examples

HOST = b"Host: x\r\n"
KLINES = b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m&limit=%d HTTP/1.1\r\n" + HOST
PURGE = b"POST /v1/admin/purge HTTP/1.1\r\nAuthorization: Bearer let-me-in-please\r\n" + HOST
OFFER = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def message(rng: random.Random) -> bytes:
    body = rng.choice([b"{}", b'{"symbol":"A"}', b"{", b" " * rng.randrange(5_000)])
    framed = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    if rng.random() < 0.5:
        at = rng.randrange(len(body) + 1)
        pieces = [each for each in (body[:at], body[at:]) if each]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces)
        framed = CHUNKED + chunks + rng.choice([b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n"])
    return rng.choice(
        [
            KLINES % rng.choice([1, 20]) + b"\r\n",
            KLINES % 1 + b"X-Pad: " + b"y" * rng.randrange(3_000) + b"\r\n\r\n",
            KLINES % 1 + OFFER + b"\r\n",
            b"HEAD" + KLINES[3:] % 1 + b"\r\n",
            KLINES % 1 + framed,
            PURGE + framed,
            PURGE + OFFER + framed,
            b"GET /nowhere HTTP/1.1\r\n" + HOST + b"\r\n",
            b"\r\n\r\n",
        ]
    )


def cut(data: bytes, rng: random.Random, most: int) -> list[bytes]:
    ends = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(rng.randrange(most + 1)))})
    return [data[a:b] for a, b in pairwise(ends)]


async def answered(pieces: list[bytes], *, hurried: bool) -> tuple[bytes, bool]:
    side = Side(CountingLane)
    await side.send(pieces, hurried=hurried)
    quiet, sent = 0, -1
    while quiet < 5:  # turns of sixty steps in which nothing came
        for _ in range(5):
            await side.work()
        quiet, sent = (quiet + 1 if len(side.wire.sent) == sent else 0), len(side.wire.sent)
    found = side.wire.sent, side.wire.closing
    await side.end()
    return found


async def compare(seed: int) -> None:
    rng = random.Random(seed)
    messages = [message(rng) for _ in range(rng.randint(1, 25))]
    complete = sum(bool(each.strip()) for each in messages)
    if rng.random() < 0.3:
        messages.append(rng.choice([KLINES % 1, KLINES % 1 + b"Connection: close\r\n\r\n"]))
        complete += b"close" in messages[-1]
    data = b"".join(messages)
    expected = await answered(messages, hurried=False)
    assert expected[0].count(b"HTTP/1.1 ") == complete
    assert await answered([data], hurried=True) == expected
    assert await answered(cut(data, rng, 12), hurried=rng.random() < 0.5) == expected


@given(seed=st.integers(0, 2**32))
@examples(20, 1_000)
def test_any_cuts(seed: int) -> None:
    asyncio.run(compare(seed))
