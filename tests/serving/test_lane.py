"""The fast lane: the same bytes get the same answer as on the long way, or take the long way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange.markets import KLINE_PATHS
from mdcache.serving.asked import Reader
from mdcache.serving.lane import learnable, whole
from tests.serving.client import BODY, KLINES, QUERY, House

REQUEST = b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
EXTENSIONS = {"mdcache.request": {"bytes": REQUEST}}


async def learnt(headers: dict[str, str] | None = None) -> House:
    house = House()
    for _ in range(3):
        await house.ask(headers=headers or {}, extensions=EXTENSIONS)
    return house


async def test_the_bytes_of_a_ready_answer_are_learnt() -> None:
    house = House()
    for known in (False, False, True, True):
        await house.ask(extensions=EXTENSIONS)
        reply = house.app.lane.answer(REQUEST, b"server: mdcache\r\n", near=True)
        assert (reply is not None) is known


async def test_the_reply_is_that_of_the_long_way() -> None:
    house = await learnt()
    long = await house.ask()
    fast = house.app.lane.answer(REQUEST, b"server: mdcache\r\n", near=True)
    assert fast is not None
    head, body = fast
    line, *fields, end, rest = head.decode().split("\r\n")
    assert (line, end, rest, body) == ("HTTP/1.1 200 OK", "", "", BODY)
    sent = dict(field.split(": ", 1) for field in fields)
    assert sent.pop("server") == "mdcache"
    assert sent == long.headers
    assert house.recorder.records[-1] == house.recorder.records[-2]


async def test_unchanged() -> None:
    tag = (await House().ask()).headers["etag"]
    house = await learnt({"if-none-match": tag})
    fast = house.app.lane.answer(REQUEST, b"", near=True)
    assert fast is not None
    assert fast[0].startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert b"content-length" not in fast[0]
    assert fast[1] == b""


async def test_requests_with_many_tags_are_not_learnt() -> None:
    for tags, known in ((8, True), (9, False)):
        house = await learnt({"if-none-match": ", ".join(f'"{number}"' for number in range(tags))})
        assert (house.app.lane.answer(REQUEST, b"", near=True) is not None) is known


async def test_what_stands_no_more_takes_the_long_way() -> None:
    house = await learnt()
    house.series.tail_version += 1
    assert house.app.lane.answer(REQUEST, b"", near=True) is None
    house.candles.make = house.answer
    await house.ask()
    assert house.app.lane.answer(REQUEST, b"", near=True) is not None


async def test_wishes_hold_in_the_lane() -> None:
    house = await learnt({"cache-control": "max-age=1"})
    assert house.app.lane.answer(REQUEST, b"", near=True) is not None
    house.clock.seconds += 0.75
    assert house.app.lane.answer(REQUEST, b"", near=True) is None


async def test_peers_are_kept_apart() -> None:
    house = await learnt()
    assert house.app.lane.answer(REQUEST, b"", near=False) is None


def test_whole() -> None:
    assert whole(REQUEST)
    assert not whole(REQUEST * 2)
    assert not whole(REQUEST[:-1])
    assert not whole(REQUEST + b"x")
    assert not whole(b"POST" + REQUEST[3:])
    assert not whole(REQUEST[:-4] + b"\r\nX: " + b"y" * 3_000 + b"\r\n\r\n")
    assert not whole(b"")


@pytest.mark.parametrize(
    ("header", "fine"),
    [
        (b"Connection: keep-alive", True),
        (b"connection:keep-alive", True),
        (b"Content-Type: application/json", True),
        (b"Connection: close", False),
        (b"Connection: keep-alive, Upgrade", False),
        (b"Content-Length: 5", False),
        (b"content-length : 5", False),
        (b"Transfer-Encoding: chunked", False),
        (b"Expect: 100-continue", False),
        (b"Upgrade: h2c", False),
        (b"X: y\nContent-Length: 5", False),
        (b"X: y\rContent-Length: 5", False),
    ],
)
def test_learnable(header: bytes, fine: bool) -> None:
    request = REQUEST.replace(b"Accept: */*", header)
    assert whole(request)
    assert learnable(request) is fine


def test_http_1_0_is_not_learnt() -> None:
    assert not learnable(REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"))


@given(st.binary(max_size=300))
def test_unknown_bytes_are_nobodys(data: bytes) -> None:
    assert House().app.lane.answer(data, b"", near=True) is None


async def test_what_is_learnt_is_bounded() -> None:
    house = House()
    asked = Reader({}, "auto").read(KLINE_PATHS[KLINES], QUERY, [], near=True)
    for n in range(9_000):
        house.app.lane.learn(REQUEST[:-2] + b"N: %d\r\n\r\n" % n, asked, near=True)
    assert len(house.app.lane._known[True]) == 8_192
