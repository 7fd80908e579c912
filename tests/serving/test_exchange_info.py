"""`exchangeInfo` as served: cut as Binance cuts it, kept in the background, and the truth about symbols."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from mdcache import sim
from mdcache.exchange.exchange_info import ExchangeInfoDocument, parse_selection
from mdcache.exchange.markets import Family
from mdcache.sim import SimConfig
from tests.serving.test_snapshots import world
from tests.support.asgi_client import Response
from tests.support.served_daemon import ServedDaemon

pytestmark = pytest.mark.virtual

SPOT, USDM, COINM = "/api/v3/exchangeInfo", "/fapi/v1/exchangeInfo", "/dapi/v1/exchangeInfo"
_TIME = re.compile(rb'"serverTime":\d+')


def symbols(reply: Response) -> dict[str, Any]:
    return {each["symbol"]: each for each in json.loads(reply.body)["symbols"]}


def reads(w: ServedDaemon) -> list[str]:
    return [f"{entry.path}?{entry.query}" for entry in w.exchange.log if entry.path.endswith("exchangeInfo")]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (SPOT, ""),
        (SPOT, "symbol=ETHUSDT"),
        (SPOT, "symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D"),  # in the list's order: what another gives is unverified
        (SPOT, "symbol=ETHUSDT&showPermissionSets=false"),
        (SPOT, "showPermissionSets=false"),
        (SPOT, "permissions=SPOT"),
        (SPOT, "permissions=SPOT&showPermissionSets=false"),
        (SPOT, "permissions=%5B%22MARGIN%22,%22LEVERAGED%22%5D"),
        (SPOT, "symbolStatus=TRADING"),
        (SPOT, "symbolStatus=HALT"),
        (USDM, ""),
        (USDM, "symbol=NOTHING"),
        (COINM, ""),
    ],
)
async def test_as_binance_answers(path: str, query: str) -> None:
    w = world()
    ours, theirs = await w.get(path, query.encode()), await w.direct(path, query.encode())
    assert ours.status == theirs.status_code == 200, ours.body
    assert _TIME.sub(b"", ours.body) == _TIME.sub(b"", theirs.content)
    assert json.loads(ours.body)["serverTime"] == w.clock.true_ms()
    assert ours.headers["content-type"] == theirs.headers["content-type"]


async def test_one_read_serves_all_selections_and_refreshes_in_the_background() -> None:
    w = world()
    await w.get(SPOT, b"symbol=ETHUSDT")
    before = len(reads(w))
    for query in (b"", b"symbol=BTCUSDT", b"symbolStatus=TRADING", b"permissions=SPOT"):
        for _ in range(20):
            reply = await w.get(SPOT, query)
            assert reply.status == 200
            await asyncio.sleep(0.5)
    assert len(reads(w)) == before
    for _ in range(290 * 2):  # asked all the time, it is never older than its 300 s, and no request waits for it
        await asyncio.sleep(1)
        reply = await w.get(SPOT, b"symbol=BTCUSDT")
        assert reply.headers["cache-status"].startswith("mdcache; hit")
        assert int(reply.headers["age"]) < 300
    assert len(reads(w)) - before <= 4


async def test_in_a_ban_the_last_list_goes_on() -> None:
    w = world()
    first = await w.get(SPOT, b"symbol=ETHUSDT")
    w.governor.close_gate(Family.SPOT, 5_000)
    await asyncio.sleep(600)
    later = await w.get(SPOT, b"symbol=ETHUSDT")
    assert later.status == 200
    assert symbols(later) == symbols(first)
    assert later.headers["cache-status"].endswith("detail=stale")
    assert later.headers["age"] == "600"
    assert json.loads(later.body)["serverTime"] == w.clock.true_ms()
    assert (await w.get(SPOT, b"symbol=NOPE")).status in {400, 503}


async def kline(w: ServedDaemon, path: str, symbol: str) -> Response:
    return await w.get(path, f"symbol={symbol}&interval=1m&limit=3".encode())


@pytest.mark.parametrize(
    ("path", "market", "symbol"),
    [("/api/v3/klines", "spot", "FRESHUSDT"), ("/fapi/v1/klines", "usdm", "NEWUSDT_261225")],
)
async def test_a_new_listing_is_served_soon_after_its_first_question(
    path: str, market: sim.Market, symbol: str
) -> None:
    w = world()
    known = "ETHUSDT"
    await kline(w, path, known)
    assert (await kline(w, path, symbol)).status == 400
    await asyncio.sleep(61)
    w.exchange.control.list_symbol(market, symbol)
    await asyncio.sleep(61)
    before = len(reads(w))
    replies = await asyncio.gather(*(kline(w, path, symbol) for _ in range(50)))
    assert {reply.status for reply in replies} == {200}
    assert len(reads(w)) == before + 1
    ticker = path.replace("klines", "ticker/price")
    assert (await w.get(ticker, f"symbol={symbol}".encode())).status == 200
    info = path.replace("klines", "exchangeInfo")
    assert symbol in symbols(await w.get(info, b"" if market == "usdm" else f"symbol={symbol}".encode()))


async def test_halted_delisted_and_relisted() -> None:
    w = world()
    path = "/api/v3/klines"
    assert (await kline(w, path, "LTCUSDT")).status == 200
    w.exchange.control.halt("spot", "LTCUSDT")
    await asyncio.sleep(301)
    assert (await kline(w, path, "LTCUSDT")).status == 200
    await asyncio.sleep(301)
    assert symbols(await w.get(SPOT, b"symbol=LTCUSDT"))["LTCUSDT"]["status"] != "TRADING"
    w.exchange.control.delist("spot", "LTCUSDT")
    await asyncio.sleep(301)
    await kline(w, path, "ETHUSDT")
    await asyncio.sleep(61)
    again = await kline(w, path, "LTCUSDT")
    assert again.status == (await w.direct(path, b"symbol=LTCUSDT&interval=1m&limit=3")).status_code or (
        again.status == 200  # a name once seen stays known: its settled rows are still true
    )
    w.exchange.control.relist("spot", "LTCUSDT")
    await asyncio.sleep(400)
    assert (await kline(w, path, "LTCUSDT")).status == 200


async def test_its_limits_set_the_budget() -> None:
    w = ServedDaemon(SimConfig(spot_limit=1_200))
    await w.get(SPOT, b"")
    assert [status.limit for status in w.governor.status() if status.family == "spot"] == [1_200]


async def test_in_a_ban_it_is_never_older_than_allowed() -> None:
    w = world()
    await w.get(SPOT, b"symbol=ETHUSDT")
    w.governor.close_gate(Family.SPOT, 5_000)
    await asyncio.sleep(100)
    before = str(w.clock.true_ms() - 50_000)
    for headers in ({"cache_control": "max-age=5"}, {"cache_control": "no-cache"}, {"x_mdcache_min_as_of": before}):
        reply = await w.get(SPOT, b"symbol=ETHUSDT", **headers)
        assert (reply.status, json.loads(reply.body)["code"]) == (503, -1003), headers
    assert (await w.get(SPOT, b"symbol=ETHUSDT", cache_control="max-age=200")).status == 200


async def test_a_read_under_way_may_be_too_old_to_join() -> None:
    w = world()
    await w.get(SPOT, b"symbol=ETHUSDT")
    await asyncio.sleep(50)
    w.exchange.control.latency(after_s=2.0)
    first = asyncio.create_task(w.get(SPOT, b"symbol=ETHUSDT", cache_control="no-cache"))
    await asyncio.sleep(1.5)
    least = w.clock.true_ms()
    reply = await w.get(SPOT, b"symbol=BTCUSDT", x_mdcache_min_as_of=str(least))
    assert int(reply.headers["x-mdcache-as-of"]) >= least
    assert (await first).status == 200


async def test_a_delisted_name_costs_one_read_at_most() -> None:
    w = world()
    await w.get("/api/v3/ticker/price", b"symbol=LTCUSDT")
    w.exchange.control.delist("spot", "LTCUSDT")
    await w.get(SPOT, b"symbol=ETHUSDT")
    before = len(reads(w))
    for _ in range(20):
        reply = await w.get(SPOT, b"symbol=LTCUSDT")
        assert (reply.status, json.loads(reply.body)["code"]) == (400, -1121)
        await asyncio.sleep(0.5)
    assert len(reads(w)) <= before + 1


@pytest.mark.parametrize(("kind", "most"), [("html", 30), ("500", 60)])
async def test_a_list_that_fails_is_not_asked_for_all_the_time(kind: str, most: int) -> None:
    w = world()
    await w.get(SPOT, b"symbol=ETHUSDT")
    await asyncio.sleep(280)
    before = len(reads(w))
    w.exchange.control.fault(kind, path=SPOT)
    for _ in range(500):
        assert (await w.get(SPOT, b"symbol=ETHUSDT")).status == 200
        await asyncio.sleep(0.1)
    assert len(reads(w)) - before <= most


def test_the_index_of_symbols_keeps_each_set_of_permissions_once() -> None:
    symbols = [{"symbol": f"S{n}", "permissionSets": [["SPOT", "TRD_GRP_004"]]} for n in range(50)]
    body = json.dumps({"serverTime": 1, "symbols": symbols})
    listing = ExchangeInfoDocument(body.encode())
    assert json.loads(listing.body(2, parse_selection("permissions=TRD_GRP_004", None))) == {
        **json.loads(body),
        "serverTime": 2,
    }
    bare = json.loads(listing.body(2, parse_selection("permissions=SPOT&showPermissionSets=false", None)))["symbols"]
    assert [each["permissionSets"] for each in bare] == [[]] * 50
    assert len(listing._permissions_by_sets) == 1
    odd = ExchangeInfoDocument(body.replace('"TRD_GRP_004"', "4", 1).encode())
    assert len(json.loads(odd.body(2, parse_selection("permissions=TRD_GRP_004", None)))["symbols"]) == 49


async def test_permissions_beyond_the_plain_list_are_asked_of_binance() -> None:
    w = world()
    query = b"permissions=%5B%22TRD_GRP_003%22%5D"
    reply = await w.get(SPOT, query)
    assert reply.status == 200
    for _ in range(5):
        assert (await w.get(SPOT, query)).body == reply.body
    theirs = await w.direct(SPOT, query)
    assert _TIME.sub(b"", reply.body) == _TIME.sub(b"", theirs.content)
    assert sum("TRD_GRP_003" in read for read in reads(w)) == 2  # ours, and the one asked directly


async def test_its_time_in_microseconds() -> None:
    w = world()
    reply = await w.get(SPOT, b"symbol=ETHUSDT", x_mbx_time_unit="microsecond")
    assert json.loads(reply.body)["serverTime"] == w.clock.true_ms() * 1000
    refused = await w.get(SPOT, b"symbol=ETHUSDT", x_mbx_time_unit="hour")
    assert (refused.status, json.loads(refused.body)["code"]) == (400, -1194)


@pytest.mark.parametrize(("path", "query"), [(SPOT, b""), (SPOT, b"symbol=ETHUSDT"), (USDM, b""), (COINM, b"")])
async def test_a_start_inside_a_ban_has_the_last_list(tmp_path: Path, path: str, query: bytes) -> None:
    w = ServedDaemon(folder=tmp_path)
    first = await w.get(path, query)
    w.exchange.control.ban(family="spot" if path == SPOT else "futures", seconds=600)
    other = "/api/v3/ticker/price" if path == SPOT else "/fapi/v1/ticker/price"
    assert (await w.get(other, b"")).status == 503
    await w.aclose()
    w.restart()
    sent = len(w.exchange.log)
    again = await w.get(path, query)
    assert again.status == 200
    assert symbols(again) == symbols(first)
    assert (await w.get(other, b"")).status == 503
    assert len(w.exchange.log) == sent
