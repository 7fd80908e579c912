"""Every public read that is no candle, over the real data path and the simulated exchange."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest

from mdcache.events import BodyRejected, UpstreamCalled
from mdcache.exchange.endpoints import ENDPOINTS, Endpoint, FlatWeight, ParameterKind
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.snapshots import parse_forwarded, parse_snapshot
from mdcache.sim import SimConfig
from tests.support.asgi_client import Response, ask, lifetime_s
from tests.support.served_daemon import TOKEN, ServedDaemon
from tests.support.virtual_daemon import DaemonOptions

pytestmark = pytest.mark.virtual

PRICE, BOOK, DAY = "/api/v3/ticker/price", "/api/v3/ticker/bookTicker", "/api/v3/ticker/24hr"
KLINES = {Market.SPOT: "/api/v3/klines", Market.USDM: "/fapi/v1/klines", Market.COINM: "/dapi/v1/klines"}
VALUES = {
    Market.SPOT: {"symbol": "ETHUSDT", "symbols": '["ETHUSDT","BTCUSDT"]'},
    Market.USDM: {"symbol": "ETHUSDT", "pair": "ETHUSDT"},
    Market.COINM: {"symbol": "ETHUSD_PERP", "pair": "ETHUSD"},
}
OF_INDEX = {("/fapi/v1/assetIndex"): "BTCUSD", "/fapi/v1/indexInfo": "DEFIUSDT"}


def questions() -> Iterator[tuple[str, str]]:
    """Each path with its mandatory parameters, and with one symbol if that is optional."""
    for path, endpoints in ENDPOINTS.items():
        for endpoint in endpoints:
            values = VALUES[endpoint.market]
            least = [
                f"{each.name}={quote(values.get(each.name) or each.choices[0])}"
                for each in endpoint.parameters
                if each.required
            ]
            if endpoint.one_required:
                least.append("symbol=ETHUSDT")
            yield path, "&".join(least)
            if any(each.kind is ParameterKind.SYMBOL and not each.required for each in endpoint.parameters):
                yield path, f"symbol={OF_INDEX.get(path, values['symbol'])}"


QUESTIONS = list(dict.fromkeys(questions()))


def world(**options: Any) -> ServedDaemon:
    return ServedDaemon(SimConfig(), DaemonOptions(**options))


def reads(w: ServedDaemon, path: str) -> list[str]:
    """Queries that reached the exchange on this path."""
    return [entry.query for entry in w.exchange.log if entry.path == path]


def price(reply: Response) -> str:
    return str(json.loads(reply.body)["price"])


@contextmanager
def on_body(w: ServedDaemon, path: str, kind: str) -> Iterator[None]:
    w.exchange.control.fault(kind, path=path)
    yield
    w.exchange.control.clear_faults()


@pytest.mark.parametrize(("path", "query"), QUESTIONS)
async def test_the_same_bytes_as_binance_once_and_at_the_right_weight(path: str, query: str) -> None:
    w = world()
    market = ENDPOINTS[path][0].market
    await w.get(KLINES[market], f"symbol={VALUES[market]['symbol']}&interval=1d&limit=1".encode())
    before = {status.family: status.used for status in w.governor.status()}
    ours = await w.get(path, query.encode())
    theirs = await w.direct(path, query.encode())
    assert ours.status == theirs.status_code == 200, (ours.body, theirs.content)
    assert ours.body == theirs.content
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    again = await w.get(path, query.encode())
    assert again.body == ours.body
    assert again.headers["cache-status"].startswith("mdcache; hit")
    assert again.headers["etag"] == ours.headers["etag"]
    assert len(reads(w, path)) == 2  # ours, and the one asked directly
    weighed = sum(status.used - before[status.family] for status in w.governor.status())
    counted = [entry.weight for entry in w.exchange.log if entry.path == path]
    assert weighed >= counted[0], (weighed, counted)


async def test_spellings_of_one_question_are_one_entry_and_others_are_not() -> None:
    w = world()
    path = "/api/v3/depth"
    same = [b"symbol=ETHUSDT&limit=500", b"limit=500&symbol=ETHUSDT", b"%73ymbol=ETH%55SDT&limit=0500"]
    bodies = {(await w.get(path, query)).body for query in same}
    assert len(bodies) == 1
    assert len(reads(w, path)) == 1
    for query in (b"symbol=ETHUSDT", b"symbol=ETHUSDT&limit=100", b"symbol=BTCUSDT&limit=500"):
        await w.get(path, query)
    assert len(reads(w, path)) == 3  # 100 is the default, said aloud
    await w.get(path, b"symbol=ETHUSDT", x_mbx_apikey="None", x_mbx_time_unit="MICROSECOND")
    assert len(reads(w, path)) == 4


async def test_a_crowd_shares_one_read_and_half_of_it_may_leave() -> None:
    w = world()
    await w.get(PRICE, b"symbol=BTCUSDT")
    w.exchange.control.latency(before_s=0.2, after_s=0.2)
    await asyncio.sleep(2)
    askers = [asyncio.create_task(w.get(PRICE, b"symbol=ETHUSDT")) for _ in range(100)]
    await asyncio.sleep(0.05)
    for asker in askers[::2]:
        asker.cancel()
    replies = [reply for reply in await asyncio.gather(*askers) if reply.status == 200]  # the others: 503
    assert len(replies) == 50
    assert len(reads(w, PRICE)) == 2
    assert sum("collapsed" in reply.headers["cache-status"] for reply in replies) >= 49


async def test_the_dearer_the_longer_it_lives() -> None:
    w = world()
    await w.get("/api/v3/klines", b"symbol=ETHUSDT&interval=1d&limit=1")  # the limit is known: 3,000 are ours
    for path, query, ttl_s in (
        (PRICE, b"symbol=ETHUSDT", 1),
        ("/api/v3/depth", b"symbol=ETHUSDT&limit=5000", 50),
        (DAY, b"", 16),
        ("/api/v3/trades", b"symbol=ETHUSDT", 5),
    ):
        reply = await w.get(path, query)
        assert lifetime_s(reply) == ttl_s, path
        await asyncio.sleep(ttl_s - 0.1)
        assert (await w.get(path, query)).body == reply.body
        await asyncio.sleep(0.2)
        assert (await w.get(path, query)).headers["cache-status"].startswith("mdcache; fwd=stale")


async def test_a_single_is_cut_out_of_a_fresh_list() -> None:
    w = world()
    for path, query in ((PRICE, b""), (DAY, b""), (DAY, b"type=MINI")):
        whole = json.loads((await w.get(path, query)).body)
        before = len(reads(w, path))
        more = b"&" + query if query else b""
        single = await w.get(path, b"symbol=ETHUSDT" + more)
        assert json.loads(single.body) == next(each for each in whole if each["symbol"] == "ETHUSDT")
        pair = await w.get(path, b"symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D" + more)
        assert pair.body == (await w.direct(path, b"symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D" + more)).content
        assert len(reads(w, path)) == before + 1  # the direct one
    await asyncio.sleep(1.5)  # past the single's own TTL, well inside the list's
    await w.get(DAY, b"symbol=ETHUSDT")
    assert reads(w, DAY)[-1] == "symbol=ETHUSDT"


async def test_many_singles_are_read_as_the_list() -> None:
    w = world()
    names = [each["symbol"] for each in json.loads((await w.get("/api/v3/exchangeInfo", b"")).body)["symbols"]]
    trading = [name for name in names if (await w.direct(PRICE, f"symbol={name}".encode())).status_code == 200]
    before = len(reads(w, PRICE))
    for _ in range(3):
        await asyncio.sleep(1.1)
        for name in trading:
            await w.get(PRICE, f"symbol={name}".encode())
    sent = reads(w, PRICE)[before:]
    assert sent.count("") == 3  # 4 for the list, 2 for a single: from the second on the list is as cheap
    assert len(sent) <= 6


async def test_in_a_ban_answers_are_marked_and_then_refused() -> None:
    w = world()
    first = await w.get(PRICE, b"symbol=ETHUSDT")
    w.governor.close_gate(Family.SPOT, 90.0)
    assert (await w.get(PRICE, b"symbol=ETHUSDT")).headers["cache-status"].startswith("mdcache; hit; ttl=")
    await asyncio.sleep(10)
    marked = await w.get(PRICE, b"symbol=ETHUSDT")
    assert (marked.status, marked.body) == (200, first.body)
    assert marked.headers["cache-status"].endswith("; detail=stale")
    assert marked.headers["age"] == "10"
    strict = await w.get(PRICE, b"symbol=ETHUSDT", cache_control="max-age=5")
    assert (strict.status, json.loads(strict.body)["code"]) == (503, -1003)
    await asyncio.sleep(21)
    refused = await w.get(PRICE, b"symbol=ETHUSDT")
    assert refused.status == 503
    assert (await w.get(PRICE, b"symbol=ETHUSDT", cache_control="max-stale=60")).status == 200
    assert (await w.get(PRICE, b"symbol=BNBUSDT", cache_control="only-if-cached")).status == 504
    assert len(reads(w, PRICE)) == 1


@pytest.mark.parametrize("kind", ["html", "truncate", "garbage_gzip", "gzip_bomb", "object", "doubled", "huge"])
async def test_a_broken_body_is_neither_served_nor_kept(kind: str) -> None:
    w = world()
    await w.get(PRICE, b"symbol=BTCUSDT")
    with on_body(w, BOOK, kind):
        reply = await w.get(BOOK, b"")
        assert (reply.status, json.loads(reply.body)["code"]) == (502, -1006)
    await asyncio.sleep(1.1)
    assert (await w.get(BOOK, b"")).body == (await w.direct(BOOK, b"")).content
    assert kind == "truncate" or w.event_count(BodyRejected) > 0


@pytest.mark.untraced
async def test_counted_paths_stay_inside_their_bucket() -> None:
    w = world()
    symbols = [
        each["symbol"]
        for each in json.loads((await w.get("/fapi/v1/exchangeInfo", b"")).body)["symbols"]
        if each["status"] == "TRADING"
    ]
    statuses = []
    for turn in range(400):
        query = f"symbol={symbols[turn % len(symbols)]}&limit={1 + turn // len(symbols)}"  # each is asked once
        statuses.append((await w.get("/fapi/v1/fundingRate", query.encode())).status)
    assert statuses.count(200) == 250  # half of 500 in 5 minutes
    assert set(statuses) == {200, 503}
    assert len(reads(w, "/fapi/v1/fundingRate")) == 250
    assert {event.status for event in w.events if isinstance(event, UpstreamCalled)} == {200}
    await asyncio.sleep(301)
    assert (await w.get("/fapi/v1/fundingRate", b"limit=7")).status == 200


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        (PRICE, "symbol=NOPEUSDT", -1121),
        (PRICE, "symbols=%5B%22ETHUSDT%22,%22NOPEUSDT%22%5D", -1121),
        (PRICE, "symbol=ETHUSDT&symbols=%5B%22ETHUSDT%22%5D", -1128),
        (PRICE, "symbols=ETHUSDT", -1135),
        (PRICE, "symbols=%5B%22ETHUSDT%22,%22ETHUSDT%22%5D", -1151),
        (PRICE, "symbol=ethusdt", -1100),
        (PRICE, "symbol=", -1105),
        (PRICE, "sumbol=ETHUSDT", -1104),
        (PRICE, "symbol=ETHUSDT&symbol=BTCUSDT", -1101),
        (DAY, "type=BIG", -1139),
        (DAY, "symbolStatus=ASLEEP", -1122),
        ("/api/v3/depth", "limit=5", -1102),
        ("/api/v3/depth", "symbol=ETHUSDT&limit=x", -1100),
        ("/api/v3/ticker", "", -1102),
        ("/api/v3/ticker", "symbol=ETHUSDT&windowSize=8d", -1130),
        ("/fapi/v1/depth", "symbol=ETHUSDT&limit=7", -4021),
        ("/fapi/v1/depth", "symbol=ETHUSDT&limit=1001", -1130),
        ("/fapi/v1/aggTrades", "symbol=ETHUSDT&limit=1001", -1130),
        ("/dapi/v1/ticker/price", "symbol=ETHUSD_PERP&pair=ETHUSD", -1128),
        ("/futures/data/basis", "pair=ETHUSDT&contractType=WEEKLY&period=5m", -4104),
        ("/futures/data/basis", "pair=ETHUSDT&period=5m", -1102),
        ("/api/v3/exchangeInfo", "symbol=NOPEUSDT", -1121),
        ("/api/v3/exchangeInfo", "symbol=ETHUSDT&symbolStatus=TRADING", -1128),
        ("/api/v3/exchangeInfo", "permissions=spot", -1130),
        ("/api/v3/executionRules", "symbol=ETHUSDT&symbolStatus=TRADING", -1128),
    ],
)
async def test_wrong_questions_are_refused_here(path: str, query: str, code: int) -> None:
    w = world()
    for warm in ("/api/v3/exchangeInfo", "/fapi/v1/exchangeInfo", "/dapi/v1/exchangeInfo"):
        await w.get(warm, b"")
    before = len(w.exchange.log)
    reply = await w.get(path, query.encode())
    assert (reply.status, json.loads(reply.body)["code"]) == (400, code)
    assert len(w.exchange.log) == before


async def test_futures_drop_what_they_do_not_know() -> None:
    w = world()
    await w.get("/fapi/v1/ticker/price", b"symbol=ethusdt&secret=1&x=")
    assert reads(w, "/fapi/v1/ticker/price") == ["symbol=ETHUSDT"]


async def test_memory_takes_bodies_back() -> None:
    w = world(memory_mb=0.5)
    for limit in range(100, 160):
        assert (await w.get("/api/v3/trades", f"symbol=ETHUSDT&limit={limit}".encode())).status == 200
    assert w.library.memory.held_bytes <= 500_000
    await asyncio.sleep(0)
    held = w.snapshots.bodies
    assert len(held) < 60
    assert len(held._cache._cache) == len(held)


async def test_a_purge_forgets_them_too() -> None:
    w = world()
    await w.get(DAY, b"")
    order = {"authorization": f"Bearer {TOKEN}"}
    reply = await ask(w.app, "/v1/admin/purge", b"", method="POST", headers=order, body=b"{}")
    assert reply.status == 200
    assert len(w.snapshots.bodies) == 0
    assert (await w.get(DAY, b"")).headers["cache-status"].startswith("mdcache; fwd=uri-miss")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/v3/depth", "symbol=ETHUSDT&symbolStatus=TRADING"),
        ("/api/v3/ticker", "symbol=ETHUSDT&symbolStatus=TRADING"),
        ("/api/v3/ticker/tradingDay", "symbols=%5B%22ETHUSDT%22%5D&symbolStatus=HALT"),
        (DAY, "symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D&symbolStatus=TRADING"),
        (DAY, "symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D&symbolStatus=HALT"),
        (DAY, "symbol=ETHUSDT&symbolStatus=HALT"),
    ],
)
async def test_by_status_as_binance(path: str, query: str) -> None:
    w = world()
    for _ in range(2):
        ours, theirs = await w.get(path, query.encode()), await w.direct(path, query.encode())
        assert (ours.status, ours.body) == (theirs.status_code, theirs.content)
        await w.get(path, b"symbolStatus=HALT")


@pytest.mark.parametrize("path", [PRICE, BOOK])
def test_a_list_of_one_symbol_is_weighed_as_a_list(path: str) -> None:
    assert parse_snapshot(path, "symbol=ETHUSDT", None).weight == 2
    assert parse_snapshot(path, "symbols=%5B%22ETHUSDT%22%5D", None).weight == 4
    assert parse_snapshot(DAY, "symbols=%5B%22ETHUSDT%22%5D", None).weight == 2


async def test_a_limit_that_is_no_default_is_sent() -> None:
    w = world()
    path = "/fapi/v1/fundingRate"  # left out, it may be 200: by the page
    for query in (b"symbol=ETHUSDT", b"symbol=ETHUSDT&limit=100"):
        await w.get(path, query)
    assert reads(w, path) == ["symbol=ETHUSDT", "symbol=ETHUSDT&limit=100"]


def test_names_of_forwarded_parameters_stay_names() -> None:
    sent = parse_forwarded(Endpoint(Market.SPOT, "/api/v3/news", FlatWeight(20)), "a%26b%23=1&c=2")
    assert sent.query == "a%26b%23=1&c=2"
    assert str(sent) != str(parse_forwarded(sent.endpoint, "a=0&b%23=1&c=2"))


async def test_what_a_list_lacks_is_asked_for_alone() -> None:
    w = world()
    await w.get(PRICE, b"symbol=BTCUSDT")
    for symbol in ("LTCUSDT", "BNBUSDT"):
        w.exchange.control.delist("spot", symbol)
    await asyncio.sleep(2)
    before = len(reads(w, PRICE))
    for _ in range(5):
        for symbol in ("LTCUSDT", "BNBUSDT"):
            reply = await w.get(PRICE, f"symbol={symbol}".encode())
            assert (reply.status, json.loads(reply.body)["code"]) == (400, -1121)
        await asyncio.sleep(2)
    assert reads(w, PRICE)[before:].count("") == 1


async def test_a_list_that_pays_is_read_once_in_its_time() -> None:
    w = world()
    w.exchange.control.latency(before_s=0.02, after_s=0.02)
    names = sorted(each["symbol"] for each in json.loads((await w.get(PRICE, b"")).body))
    pairs = [f"symbols=%5B%22{a}%22,%22{b}%22%5D".encode() for a in names for b in names if a < b][:60]
    before = len(reads(w, DAY))
    for turn in range(100):  # 50 s, of which the list lives 16
        await asyncio.gather(*(w.get(DAY, query) for query in pairs))
        if turn % 2:
            await w.get(DAY, b"")
        await asyncio.sleep(0.4)
    sent = reads(w, DAY)[before:]
    assert sent.count("") <= 4
    assert len(sent) <= 45


async def test_an_element_waits_for_the_list_that_is_under_way() -> None:
    w = world()
    names = sorted(each["symbol"] for each in json.loads((await w.get(PRICE, b"")).body))
    pairs = [f"symbols=%5B%22{a}%22,%22{b}%22%5D&type=MINI".encode() for a in names for b in names if a < b][:60]
    w.exchange.control.latency(after_s=3.0, path=DAY)
    asker = asyncio.create_task(w.get(DAY, b"type=MINI"))
    await asyncio.sleep(2.0)
    replies = await asyncio.gather(*(w.get(DAY, query) for query in pairs))
    assert {reply.status for reply in replies} == {200}
    assert not [reply for reply in replies if "stale" in reply.headers["cache-status"].split("detail=")[1:]]
    assert (await asker).status == 200
    assert reads(w, DAY).count("type=MINI") == 1


async def test_no_other_way_of_asking_is_older() -> None:
    w = world()
    ways = [b"symbol=ETHUSDT", b"%73ymbol=ETHUSDT"]
    for _ in range(3):
        for way in ways:
            await w.get(PRICE, way)
    await asyncio.sleep(0.4)
    await w.get(PRICE, b"")
    listed = {(await w.get(PRICE, way)).headers["x-mdcache-as-of"] for way in ways}
    assert listed == {(await w.get(PRICE, b"")).headers["x-mdcache-as-of"]}
    await asyncio.sleep(0.2)
    fresh = await w.get(PRICE, ways[1], cache_control="no-cache")
    assert (await w.get(PRICE, ways[0])).headers["x-mdcache-as-of"] == fresh.headers["x-mdcache-as-of"]


async def test_a_body_too_large_for_memory_is_answered_all_the_same() -> None:
    w = world(memory_mb=0.01)
    for path in (DAY, "/api/v3/exchangeInfo"):
        assert (await w.get(path, b"")).status == 200
