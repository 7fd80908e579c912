"""Which path is whose, and what comes of bad input."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.freshness import FreshnessDirectives
from mdcache.errors import GateClosed
from mdcache.events import BackgroundTaskFailed
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.serving.routes import PathKind, route
from mdcache.upstream.priority import Lane
from tests.support.asgi_client import QUERY
from tests.support.serving_fakes import NOW_MS
from tests.support.serving_harness import ServingHarness

PREFIXES = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}


@pytest.mark.parametrize("path", sorted(KLINE_ENDPOINTS))
async def test_all_kline_paths_are_served(path: str) -> None:
    house = ServingHarness()
    rule = KLINE_ENDPOINTS[path]
    contract = b"&contractType=PERPETUAL" if rule.contract_types else b""
    reply = await house.ask(path, b"%b=BTCUSDT&interval=1m%b" % (rule.subject.value.encode(), contract))
    assert reply.status == 200
    question, directives, caller = house.candles.asked[0]
    assert question.endpoint is rule
    assert directives == FreshnessDirectives()
    assert (caller.name, caller.lane) == ("", Lane.NORMAL)
    record = house.recorder.records[0]
    assert (record.market, record.endpoint, record.result) == (rule.market.value, rule.kind, "miss")


@pytest.mark.parametrize(("market", "prefix"), PREFIXES.items())
async def test_time_and_ping_are_answered_here(market: str, prefix: str) -> None:
    house = ServingHarness()
    time = await house.ask(f"{prefix}time", b"")
    assert (time.status, time.body) == (200, b'{"serverTime":%d}' % NOW_MS)
    assert house.clocks.ensured == [Market(market)]
    assert time.headers["cache-control"] == "no-store"
    ping = await house.ask(f"{prefix}ping", b"")
    assert (ping.status, ping.body) == (200, b"{}")
    assert house.candles.asked == []
    assert [(r.market, r.endpoint, r.result) for r in house.recorder.records] == [
        (market, "time", "hit"),
        (market, "ping", "hit"),
    ]


async def test_time_while_the_gate_is_closed_and_the_clock_unmeasured() -> None:
    house = ServingHarness()
    house.clocks.trouble = GateClosed(3.0, "banned (418)")
    reply = await house.ask("/api/v3/time", b"")
    assert (reply.status, reply.headers["retry-after"]) == (503, "3")
    assert house.recorder.records[0].result == "error"


async def test_time_that_does_not_come() -> None:
    house = ServingHarness()
    house.clocks.stuck = True
    assert (await house.ask("/fapi/v1/time", b"")).status == 503


KEYED = [
    "/api/v3/order", "/api/v3/order/test", "/api/v3/openOrders", "/api/v3/allOrders", "/api/v3/account",
    "/api/v3/myTrades", "/api/v3/userDataStream", "/api/v3/historicalBlockTrades", "/api/v3/sor/order",
    "/api/v3/account/commission", "/api/v3/rateLimit/order",
    "/fapi/v1/historicalTrades", "/fapi/v1/order", "/fapi/v1/batchOrders", "/fapi/v1/leverage",
    "/fapi/v2/positionRisk", "/fapi/v3/positionRisk", "/fapi/v2/account", "/fapi/v3/balance", "/fapi/v1/listenKey",
    "/fapi/v1/userTrades", "/fapi/v1/income", "/fapi/v1/leverageBracket", "/fapi/v1/positionSide/dual",
    "/dapi/v1/historicalTrades", "/dapi/v1/order", "/dapi/v1/positionRisk", "/dapi/v1/allOpenOrders",
    "/eapi/v1/order", "/eapi/v1/account", "/eapi/v1/historicalTrades", "/papi/v1/um/order", "/sapi/v1/system/statuses",
    "/fapi/v1/convert/orderStatus", "/fapi/v1/convert",
    "/sapi/v1/capital/config/getall", "/wapi/v3/depositHistory.html", "/sapi/v1/anything", "/FAPI/v1/order",
]  # fmt: skip


@pytest.mark.parametrize("path", KEYED)
async def test_keyed_paths_are_refused(path: str) -> None:
    house = ServingHarness()
    reply = await house.ask(path, b"symbol=BTCUSDT&timestamp=1")
    assert reply.status == 403
    body = json.loads(reply.body)
    assert body["code"] == -2015
    assert "call Binance directly" in body["msg"]
    assert house.event_log == []
    assert house.recorder.records[0].result == "refused"
    assert house.recorder.records[0].endpoint == "other"


@pytest.mark.parametrize("path", ["/api/v3/klines", "/api/v3/time", "/api/v3/depth", "/somewhere"])
@pytest.mark.parametrize(
    "query", [b"symbol=BTCUSDT&interval=1m&signature=abc", b"signature=", b"a=b&%73ignature=abc", b"SIGNATURE=1"]
)
async def test_signatures_are_refused(path: str, query: bytes) -> None:
    house = ServingHarness()
    reply = await house.ask(path, query)
    assert (reply.status, json.loads(reply.body)["code"]) == (403, -2015)
    assert b"abc" not in reply.body
    assert house.candles.asked == []
    assert house.event_log == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    ["/api/v3/order", "/fapi/v1/nothing", "/sapi/v1/convert/getQuote", "/fapi/v1/convert/getQuote", "/eapi/v1/order"],
)
async def test_changing_methods_need_a_key_where_binance_takes_them(method: str, path: str) -> None:
    assert (await ServingHarness().ask(path, method=method)).status == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path", ["/api/v3/klines", "/fapi/v1/exchangeInfo", "/dapi/v1/depth", "/api/v3/time", "/fapi/v1/ping"]
)
async def test_market_data_is_only_read(method: str, path: str) -> None:
    house = ServingHarness()
    reply = await house.ask(path, method=method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert json.loads(reply.body) == {"code": -1020, "msg": f"Method {method} is not supported here."}
    assert house.candles.asked == []


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    ["/eapi/v1/klines", "/eapi/v1/exchangeInfo", "/eapi/v1/ping", "/EAPI/v1/ticker", "/papi/v1/ping",
     "/sapi/v1/convert/exchangeInfo"],
)  # fmt: skip
async def test_public_paths_that_are_not_served_are_not_said_to_need_a_key(method: str, path: str) -> None:
    house = ServingHarness()
    reply = await house.ask(path, b"", method=method)
    assert reply.status == 404
    assert json.loads(reply.body) == {"code": -5000, "msg": f"mdcache does not serve {path}: call Binance directly."}
    assert house.recorder.records[0].result == "refused"


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "BREW"])
async def test_other_methods(method: str) -> None:
    reply = await ServingHarness().ask(method=method)
    assert reply.status == 405
    assert reply.headers["allow"] == "GET, HEAD, OPTIONS"
    assert json.loads(reply.body)["code"] == -1020


async def test_options() -> None:
    reply = await ServingHarness().ask(method="OPTIONS")
    assert (reply.status, reply.headers["allow"], reply.body) == (204, "GET, HEAD, OPTIONS", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/page",
        "/page/status.html",
        "/nothing",
        "/api/v3/",
        "/api/v3/nothing",
        "/fapi/v9/x",
        "/v1/admin/nothing",
        "/api/v1/klines",
        "",
    ],
)
async def test_unknown_paths(path: str) -> None:
    reply = await ServingHarness().ask(path, b"")
    assert reply.status == 404
    assert json.loads(reply.body)["code"] == -5000


def test_no_public_path_is_taken_for_a_keyed_one() -> None:
    for path in (*KLINE_ENDPOINTS, "/api/v3/historicalTrades", "/fapi/v1/insuranceBalance", "/fapi/v1/symbolAdlRisk"):
        assert route(path).kind in {PathKind.KLINES, PathKind.SNAPSHOT}


@pytest.mark.parametrize("path", ["/api/v3/klines", "/api/v3/order", "/nothing"])
async def test_a_long_query(path: str) -> None:
    house = ServingHarness()
    reply = await house.ask(path, QUERY + b"&x=" + b"y" * 8_192)
    assert reply.status == 414
    assert json.loads(reply.body).keys() == {"code", "msg"}
    assert house.candles.asked == []


@pytest.mark.parametrize(
    "bad", [b"%00", b"%0d%0a", b"%", b"%zz", b"%e", b"%ff", b"\xff", b"\x00", b"%C3%28", b"%7f", b"%1b"]
)
async def test_bytes_that_mean_nothing(bad: bytes) -> None:
    house = ServingHarness()
    reply = await house.ask(query=b"symbol=BTC" + bad + b"&interval=1m")
    assert (reply.status, json.loads(reply.body)["code"]) == (400, -1100)
    assert house.candles.asked == []


async def test_utf8_symbols_are_questions() -> None:
    house = ServingHarness()
    for query in ("symbol=币安人生USDT&interval=1m".encode(), b"symbol=%E5%B8%81&interval=1m"):
        assert (await house.ask("/fapi/v1/klines", query)).status == 200


@given(path=st.sampled_from(sorted(KLINE_ENDPOINTS)), query=st.binary(max_size=120), value=st.binary(max_size=40))
def test_no_input_is_ever_a_5xx(path: str, query: bytes, value: bytes) -> None:
    house = ServingHarness()
    text = value.decode("latin-1")
    headers = {
        "cache-control": text,
        "if-none-match": text,
        "x-mbx-time-unit": text,
        "x-mdcache-client": text,
        "accept-encoding": text,
        "x-mdcache-min-as-of": text,
    }
    reply = asyncio.run(house.ask(path, query, headers=headers))
    assert reply.status < 500
    assert house.event_log == []


@given(path=st.text(max_size=60), method=st.sampled_from(["GET", "HEAD", "POST", "PATCH"]))
def test_no_path_is_ever_a_5xx(path: str, method: str) -> None:
    reply = asyncio.run(ServingHarness().ask(f"/{path}", b"", method=method))
    assert reply.status < 500


async def test_the_unforeseen() -> None:
    house = ServingHarness()
    house.candles.make = lambda: ZeroDivisionError("with a secret")
    reply = await house.ask()
    assert (reply.status, json.loads(reply.body)["code"]) == (500, -1000)
    assert b"secret" not in reply.body
    (event,) = house.event_log
    assert isinstance(event, BackgroundTaskFailed)
    assert event.task == "request"
    assert event.detail.startswith("ZeroDivisionError at serving_fakes.py:")
    assert house.recorder.records[0].result == "error"


async def test_directives_and_client_reach_the_cache() -> None:
    house = ServingHarness(clients={"engine": "high"})
    await house.ask(headers={"cache-control": "max-age=1", "x-mdcache-client": "engine"})
    _, directives, caller = house.candles.asked[0]
    assert directives == FreshnessDirectives(max_age_s=1)
    assert (caller.name, caller.lane) == ("engine", Lane.HIGH)
    assert house.recorder.records[0].client == "engine"


async def test_waiting_questions_are_bounded() -> None:
    house = ServingHarness(most=3)
    house.candles.hold = asyncio.Event()
    tasks = [asyncio.create_task(house.ask()) for _ in range(3)]
    await asyncio.sleep(0)
    reply = await house.ask()
    assert (reply.status, json.loads(reply.body)["code"]) == (503, -1008)
    assert reply.headers["retry-after"] == "1"
    house.candles.hold.set()
    assert [(await task).status for task in tasks] == [200] * 3
    assert house.binance.waiting == 0


async def test_a_request_cancelled_by_the_shutdown_gets_an_error() -> None:
    house = ServingHarness()
    house.candles.hold = asyncio.Event()
    task = asyncio.create_task(house.ask())
    await asyncio.sleep(0)
    task.cancel()
    reply = await task
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("changes", "result"),
    [({"collapsed": True}, "collapsed"), ({"stale": True, "valid_until_ms": -1}, "stale"), ({}, "miss")],
)
async def test_results(changes: dict[str, object], result: str) -> None:
    house = ServingHarness()
    house.candles.make = lambda: house.answer(**changes)
    await house.ask()
    assert house.recorder.records[0].result == result
