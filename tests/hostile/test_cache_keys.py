"""Spellings of a question: one that means the same shares an answer, one that does not never gets another's.

Asked both ways for each: parsed anew, and by the bytes that the fast lane knows.
"""

import json
from itertools import permutations

import pytest

from tests.serving.test_snapshots import PRICE, world
from tests.support.asgi_client import Response, ask
from tests.support.served_daemon import ServedDaemon

pytestmark = pytest.mark.virtual

SPOT, USDM, COINM = "/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"
RIGHT = {
    SPOT: ["symbol=BTCUSDT", "interval=1m", "limit=5"],
    USDM: ["symbol=BTCUSDT", "interval=1m", "limit=5"],
    COINM: ["symbol=BTCUSD_PERP", "interval=1m", "limit=5"],
}


async def twice(w: ServedDaemon, path: str, query: bytes) -> Response:
    """Return the answer, which is the same parsed anew, as a ready one, and by the fast lane."""
    raw = b"GET %b?%b HTTP/1.1\r\nHost: x\r\n\r\n" % (path.encode(), query)
    known = {"mdcache.request": {"bytes": raw}}
    first, *others = [await ask(w.app, path, query, extensions=known) for _ in range(4)]
    for other in others:
        assert (other.status, other.body) == (first.status, first.body), query
    fast = w.app.fast_lanes[True].answer(raw, [])
    if fast is not None:
        assert first.status == 200
        assert (fast.head + fast.body).partition(b"\r\n\r\n")[2] == first.body, query
    return first


@pytest.mark.parametrize("path", [SPOT, USDM, COINM])
async def test_order_escapes_and_limits_that_mean_the_same_get_the_same_from_one_read(path: str) -> None:
    w = world()
    right = RIGHT[path]
    wanted = await twice(w, path, "&".join(right).encode())
    reads = len(w.exchange.log)
    spellings = ["&".join(each) for each in permutations(right)]
    spellings += [
        "&".join(right).replace("U", "%55"),
        "&".join(right).replace("U", "%55").replace("=1m", "=%31m"),
        "&".join(right).replace("symbol", "%73ymbol"),
        "&".join(right).replace("limit=5", "limit=005"),
        "&" + "&&".join(right) + "&",
    ]
    if path != SPOT:
        spellings += ["&".join(right).replace("BTC", "btc"), "&".join([*right, "x=1", "symbols=Y", "Symbol=ETHUSDT"])]
    for spelling in spellings:
        assert (await twice(w, path, spelling.encode())).body == wanted.body, spelling
    assert len(w.exchange.log) == reads


OTHERS = [
    b"symbol=BTCUSDT&symbol=ETHUSDT&interval=1m",
    b"symbol=BTCUSDT&%73ymbol=ETHUSDT&interval=1m",
    b"symbol=BTCUSDT&symbol=&interval=1m",
    b"symbol=BTCUSDT%00&interval=1m",
    b"symbol=BTCUSDT%00ETHUSDT&interval=1m",
    b"symbol=BTC%20USDT&interval=1m",
    b"symbol=+BTCUSDT&interval=1m",
    b"symbol=BTCUSDT%0a&interval=1m",
    b"symbol=BTCUSDT%2526interval%253D1h&interval=1m",
    b"symbol=BTCUSDT%26interval%3D1h&interval=1m",
    b"symbol[]=BTCUSDT&interval=1m",
    b"symbol=BTCUSDT;interval=1m",
    b"symbol=BTCUSDT#&interval=1m",
    b"symbol=BTCUSDT&interval=1M%00",
    b"symbol=BTCUSDT&interval=%EF%BC%91m",  # a full-width one
    "symbol=ΒTCUSDT&interval=1m".encode(),  # a Greek letter
    b"symbol=%CE%92TCUSDT&interval=1m",
    b"symbol=BTCUSDT%E2%80%8B&interval=1m",  # a space without width
    b"symbol=%E2%80%AEBTCUSDT&interval=1m",  # from right to left
    b"symbol=%FF%FEBTCUSDT&interval=1m",
    b"symbol=%C1%82TCUSDT&interval=1m",  # an overlong B
    b"symbol=BTCUSDT&interval=1m&limit=%D9%A3",  # an Arabic three
    b"symbol=BTCUSDT&interval=1m&limit=%E2%91%A2",
    b"symbol=BTCUSDT&interval=1m&limit=3.0",
    b"symbol=BTCUSDT&interval=1m&limit=+3",
    b"symbol=BTCUSDT&interval=1m&limit=3_0",
    b"symbol=BTCUSDT&interval=1m&limit=3e0",
    b"symbol=BTCUSDT&interval=1m&limit=0x3",
    b"symbol=BTCUSDT&interval=1m&limit=-1",
    b"symbol=BTCUSDT&interval=1m&startTime=%D9%A3",
    b"symbol=%ud42BTCUSDT&interval=1m",
    b"symbol=BTCUSDT&interval=1%6D%6D",
]


@pytest.mark.parametrize("path", [SPOT, USDM, COINM])
async def test_what_is_no_name_or_number_to_the_exchange_is_none_here(path: str) -> None:
    w = world()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        await w.get(path, f"symbol={symbol}&interval=1m".encode())
    reads = len(w.exchange.log)
    for query in OTHERS:
        reply = await twice(w, path, query)
        assert reply.status == 400, (query, reply)
        assert json.loads(reply.body).keys() == {"code", "msg"}
    assert len(w.exchange.log) == reads


async def test_a_letter_that_becomes_another_one_in_upper_case_names_no_other_symbol() -> None:
    """Futures take small letters; U+0131 and U+017F have capitals of the Latin alphabet, U+00DF has two."""
    w = world()
    right = await w.get(USDM, b"symbol=BTCUSDT&interval=1m&limit=5")
    assert right.status == 200
    for name in ("BTCUſDT", "btcuſdt", "ßTCUSDT", "bnbuſdt"):
        reply = await w.get(USDM, f"symbol={name}&interval=1m&limit=5".encode())
        assert reply.status == 400, name
        assert (await w.get("/v1/candles", f"market=usdm&symbols={name}&intervals=1m&limit=5".encode())).status == 400


@pytest.mark.parametrize("path", [PRICE, "/api/v3/exchangeInfo", "/fapi/v1/ticker/price", "/fapi/v1/depth"])
async def test_other_questions_keep_their_answers_apart(path: str) -> None:
    """By the symbol in each answer; a list names its symbols in order."""
    w = world()
    for query in (b"symbol=BTCUSDT", b"symbol=ETHUSDT", b"symbol=%42TCUSDT", b"symbol=E%54HUSDT"):
        reply = await w.get(path, query)
        assert reply.status == 200
        wanted, other = (b"ETHUSDT", b"BTCUSDT") if b"HUSDT" in query else (b"BTCUSDT", b"ETHUSDT")
        assert other not in reply.body or wanted in reply.body
    doubled = await w.get(path, b"symbol=BTCUSDT&symbol=ETHUSDT")
    assert doubled.status == 400


async def test_a_header_sent_twice_is_one_list_in_every_way_it_is_read() -> None:
    w = world()
    query = b"symbol=BTCUSDT&interval=1m&limit=5"
    once = await w.get(SPOT, query, x_mbx_time_unit="MICROSECOND")
    both = await w.get(SPOT, query, x_mbx_time_unit="MICROSECOND, MILLISECOND")
    assert (once.status, both.status) == (200, 400)
    assert (await w.get(SPOT, query)).body != once.body
