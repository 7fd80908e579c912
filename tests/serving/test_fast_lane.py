"""The fast lane: the same bytes get the same answer as on the long way, or take the long way."""

import asyncio
import gc
from types import FunctionType, ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.serving.binance.request import RequestParser
from mdcache.serving.http import fast_lane
from mdcache.serving.http.fast_lane import is_repeatable, is_single_get
from tests.support.asgi_client import KLINES, QUERY
from tests.support.serving_harness import BODY, ServingHarness

REQUEST = b"GET /api/v3/klines?symbol=BTCUSDT&interval=1m HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
SERVER = [(b"server", b"mdcache")]
EXTENSIONS = {"mdcache.request": {"bytes": REQUEST}}


async def learnt(headers: dict[str, str] | None = None) -> ServingHarness:
    house = ServingHarness()
    for _ in range(3):
        await house.ask(headers=headers or {}, extensions=EXTENSIONS)
    return house


async def test_the_bytes_of_a_ready_answer_are_learnt() -> None:
    house = ServingHarness()
    for known in (False, False, True, True):
        await house.ask(extensions=EXTENSIONS)
        reply = house.app.fast_lanes[True].answer(REQUEST, SERVER)
        assert (reply is not None) is known


async def test_the_reply_is_that_of_the_long_way() -> None:
    house = await learnt()
    long = await house.ask()
    fast = house.app.fast_lanes[True].answer(REQUEST, SERVER)
    assert fast is not None
    line, *fields, end, body = (fast.head + fast.body).decode().split("\r\n")
    assert (line, end, body.encode()) == ("HTTP/1.1 200 OK", "", BODY)
    sent = dict(field.split(": ", 1) for field in fields)
    assert sent.pop("server") == "mdcache"
    assert sent == long.headers
    assert house.recorder.records[-1] == house.recorder.records[-2]


async def test_unchanged() -> None:
    tag = (await ServingHarness().ask()).headers["etag"]
    house = await learnt({"if-none-match": tag})
    fast = house.app.fast_lanes[True].answer(REQUEST, [])
    assert fast is not None
    assert fast.head.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert b"content-length" not in fast.head
    assert fast.head.endswith(b"\r\n\r\n")
    assert fast.body == b""


async def test_where_pages_may_read_answers_depend_on_the_origin() -> None:
    house = ServingHarness(cors_origins=("https://desk.example",))
    for request, known in ((REQUEST, True), (REQUEST.replace(b"Accept: */*", b"Origin: https://desk.example"), False)):
        for _ in range(3):
            await house.ask(extensions={"mdcache.request": {"bytes": request}})
        long = await house.ask(extensions={"mdcache.request": {"bytes": request}})
        fast = house.app.fast_lanes[True].answer(request, SERVER)
        assert (fast is not None) is known
        if fast is not None:
            _, *fields, _, _ = fast.head.decode().split("\r\n")
            sent = dict(field.split(": ", 1) for field in fields)
            assert sorted(sent.pop("vary").split(", ")) == sorted(long.headers["vary"].split(", "))
            assert "Origin" in long.headers["vary"]


@pytest.mark.virtual
@pytest.mark.parametrize("field", ["X-MBX-APIKEY: ", "x-mbx-apikey:", "Authorization: Bearer ", "Cookie: id="])
async def test_a_clients_secrets_are_kept_for_ten_minutes_at_most(field: str) -> None:
    """A program with a key sends it with each question, of public data too, and its hits are as quick."""
    request = REQUEST.replace(b"Accept: */*", f"{field}a-very-secret-key".encode())
    house = ServingHarness()
    lane = house.app.fast_lanes[True]
    for _ in range(2):
        for raw in (REQUEST, request) * 3:
            await house.ask(extensions={"mdcache.request": {"bytes": raw}})
        assert lane.answer(REQUEST, SERVER) is not None
        assert lane.answer(request, SERVER) is not None
        await asyncio.sleep(601.0)
        assert lane.answer(request, SERVER) is None
        assert lane.answer(REQUEST, SERVER) is not None
        reached: dict[int, object] = {}
        left: list[object] = [lane._requests, lane._secrets]
        while left:
            each = left.pop()
            if id(each) not in reached and not isinstance(each, type | ModuleType | FunctionType):
                reached[id(each)] = each
                left += gc.get_referents(each)
        assert REQUEST in reached.values()
        assert [each for each in reached.values() if isinstance(each, bytes) and b"very-secret" in each] == []
    assert lane._nbytes == len(REQUEST) + fast_lane._ENTRY_BYTES


async def test_requests_with_many_tags_are_not_learnt() -> None:
    for tags, known in ((8, True), (9, False)):
        house = await learnt({"if-none-match": ", ".join(f'"{number}"' for number in range(tags))})
        assert (house.app.fast_lanes[True].answer(REQUEST, []) is not None) is known


async def test_an_answer_no_longer_valid_leaves_the_fast_lane() -> None:
    house = await learnt()
    house.series.tail_version += 1
    assert house.app.fast_lanes[True].answer(REQUEST, []) is None
    house.candles.make = house.answer
    await house.ask()
    assert house.app.fast_lanes[True].answer(REQUEST, []) is not None


async def test_directives_apply_in_the_fast_lane() -> None:
    house = await learnt({"cache-control": "max-age=1"})
    assert house.app.fast_lanes[True].answer(REQUEST, []) is not None
    house.clock.seconds += 0.75
    assert house.app.fast_lanes[True].answer(REQUEST, []) is None


async def test_peers_are_kept_apart() -> None:
    house = await learnt()
    assert house.app.fast_lanes[False].answer(REQUEST, []) is None


def test_what_may_be_a_single_get() -> None:
    assert is_single_get(REQUEST)
    assert not is_single_get(REQUEST * 2)
    assert not is_single_get(REQUEST[:-1])
    assert not is_single_get(REQUEST + b"x")
    assert not is_single_get(b"POST" + REQUEST[3:])
    assert not is_single_get(REQUEST[:-4] + b"\r\nX: " + b"y" * 3_000 + b"\r\n\r\n")
    assert not is_single_get(b"")


@pytest.mark.parametrize(
    ("header", "fine"),
    [
        (b"Connection: keep-alive", True),
        (b"connection:keep-alive", True),
        (b"Content-Type: application/json", True),
        (b"Connection: close", False),
        (b"Connection: keep-alive, Upgrade", True),
        (b"Connection: Upgrade, HTTP2-Settings", True),
        (b"Connection: Upgrade, close", False),
        (b"Connection: keep-alive\r\nConnection: close", False),
        (b"Content-Length: 0", True),
        (b"Content-Length: 05", False),
        (b"Content-Length: 5", False),
        (b"content-length : 5", False),
        (b"Transfer-Encoding: chunked", False),
        (b"Expect: 100-continue", False),
        (b"Upgrade: h2c", True),
        (b"Upgrade: websocket", False),
        (b"X: y\nContent-Length: 5", False),
        (b"X: y\rContent-Length: 5", False),
    ],
)
def test_learnable(header: bytes, fine: bool) -> None:
    request = REQUEST.replace(b"Accept: */*", header)
    assert is_single_get(request)
    assert is_repeatable(request) is fine


def test_http_1_0_is_not_learnt() -> None:
    assert not is_repeatable(REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"))


@given(st.binary(max_size=300))
def test_unknown_bytes_are_nobodys(data: bytes) -> None:
    assert ServingHarness().app.fast_lanes[True].answer(data, []) is None


@pytest.mark.parametrize(("padding", "most"), [(0, 32_768), (1_900, 20_000_000 // (1_900 + 400))])
async def test_what_is_learnt_is_bounded(padding: int, most: int) -> None:
    house = ServingHarness()
    asked = RequestParser({}, "auto").parse(KLINE_ENDPOINTS[KLINES], QUERY, [])
    for n in range(34_000):
        house.app.fast_lanes[True].learn(REQUEST[:-2] + b"N: %d%b\r\n\r\n" % (n, b"x" * padding), asked)
    assert 0.95 * most <= len(house.app.fast_lanes[True]) <= most


async def test_ten_thousand_series_are_known_at_once() -> None:
    house = ServingHarness(memory=64 << 20, most=20_000)
    requests = [
        b"GET /api/v3/klines?symbol=COIN%dUSDT&interval=1m&limit=2 HTTP/1.1\r\nHost: localhost:8700\r\n"
        b"User-Agent: python-httpx/0.28.1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n\r\n" % n
        for n in range(10_000)
    ]
    asked = RequestParser({}, "auto").parse(KLINE_ENDPOINTS[KLINES], QUERY, [])
    for raw in requests:
        house.app.fast_lanes[True].learn(raw, asked)
    assert len(house.app.fast_lanes[True]) == len(requests)
