"""What queries about market data cost, what their headers state, and the buckets beside the weight."""

import json

import pytest

from mdcache.sim import SimConfig
from mdcache.sim.api.routes import ROUTES
from mdcache.sim.api.weights import weight as weight_of
from tests.sim.helpers import MINUTE, T0, WORLD, Sim, header

SYMBOL, COIN = "symbol=BTCUSDT", "symbol=BTCUSD_PERP"


def listed(count: int) -> str:
    return "symbols=[" + ",".join(f'"S{number}"' for number in range(count)) + "]"


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        ("depth", SYMBOL, 5), ("depth", SYMBOL + "&limit=100", 5), ("depth", SYMBOL + "&limit=101", 25),
        ("depth", SYMBOL + "&limit=500", 25), ("depth", SYMBOL + "&limit=501", 50),
        ("depth", SYMBOL + "&limit=1000", 50), ("depth", SYMBOL + "&limit=1001", 250),
        ("depth", SYMBOL + "&limit=9000", 250), ("trades", SYMBOL, 25), ("historicalTrades", SYMBOL, 25),
        ("aggTrades", SYMBOL, 4), ("avgPrice", SYMBOL, 2), ("ticker/24hr", SYMBOL, 2), ("ticker/24hr", "", 80),
        ("ticker/24hr", listed(1), 2), ("ticker/24hr", listed(20), 2), ("ticker/24hr", listed(21), 40),
        ("ticker/24hr", listed(100), 40), ("ticker/24hr", listed(101), 80), ("ticker/24hr", "symbolStatus=BREAK", 80),
        ("ticker/tradingDay", SYMBOL, 4),
        ("ticker/tradingDay", listed(49), 196), ("ticker/tradingDay", listed(90), 200),
        ("ticker", SYMBOL, 4), ("ticker", listed(3), 12), ("ticker/price", SYMBOL, 2), ("ticker/price", "", 4),
        ("ticker/price", listed(1), 4), ("ticker/bookTicker", SYMBOL, 2), ("ticker/bookTicker", listed(2), 4),
        ("executionRules", SYMBOL, 2), ("executionRules", listed(7), 14), ("executionRules", listed(50), 40),
        ("executionRules", "", 40), ("executionRules", "symbolStatus=TRADING", 40), ("referencePrice", SYMBOL, 2),
        ("referencePrice/calculation", SYMBOL, 2), ("ticker/24hr", "symbols=[[[", 80),
    ],
)  # fmt: skip
def test_spot_weights(path: str, query: str, weight: int) -> None:
    assert weight_of(ROUTES["/api/v3/" + path], query) == weight
    sim = Sim()
    charged = weight if sim.get("/api/v3/" + path, query).status == 200 else 0
    assert sim.exchange.used_weight("spot") == sim.exchange.log[-1].weight == charged


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        ("/fapi/v1/depth", SYMBOL, 10), ("/fapi/v1/depth", SYMBOL + "&limit=50", 2),
        ("/fapi/v1/depth", SYMBOL + "&limit=100", 5), ("/fapi/v1/depth", SYMBOL + "&limit=1000", 20),
        ("/fapi/v1/depth", SYMBOL + "&limit=7", 1), ("/fapi/v1/rpiDepth", SYMBOL, 20), ("/fapi/v1/trades", SYMBOL, 5),
        ("/fapi/v1/aggTrades", SYMBOL, 20), ("/fapi/v1/aggTrades", "symbol=NOPE", 20),
        ("/fapi/v1/premiumIndex", SYMBOL, 1), ("/fapi/v1/premiumIndex", "", 10), ("/fapi/v1/fundingRate", "", 0),
        ("/fapi/v1/fundingInfo", "", 0), ("/fapi/v1/ticker/24hr", SYMBOL, 1), ("/fapi/v1/ticker/24hr", "", 40),
        ("/fapi/v1/ticker/price", SYMBOL, 1), ("/fapi/v2/ticker/price", "", 2),
        ("/fapi/v1/ticker/bookTicker", SYMBOL, 2),
        ("/fapi/v1/ticker/bookTicker", "", 5), ("/fapi/v1/openInterest", SYMBOL, 1), ("/fapi/v1/indexInfo", "", 1),
        ("/fapi/v1/assetIndex", "", 10), ("/fapi/v1/assetIndex", "symbol=BTCUSD", 1),
        ("/fapi/v1/constituents", SYMBOL, 2), ("/fapi/v1/insuranceBalance", "", 1),
        ("/fapi/v1/symbolAdlRisk", "", 1), ("/fapi/v1/tradingSchedule", "", 5),
        ("/futures/data/takerlongshortRatio", SYMBOL + "&period=5m", 0),
        ("/futures/data/basis", "pair=BTCUSD&contractType=PERPETUAL&period=5m", 1),
        ("/futures/data/delivery-price", "pair=BTCUSD", 1), ("/dapi/v1/depth", COIN + "&limit=500", 10),
        ("/dapi/v1/trades", COIN, 5), ("/dapi/v1/aggTrades", COIN, 20), ("/dapi/v1/premiumIndex", COIN, 10),
        ("/dapi/v1/fundingRate", COIN, 1), ("/dapi/v1/ticker/24hr", COIN, 1), ("/dapi/v1/ticker/24hr", "", 40),
        ("/dapi/v1/ticker/price", "pair=BTCUSD", 2), ("/dapi/v1/ticker/bookTicker", "", 5),
        ("/dapi/v1/openInterest", COIN, 1), ("/dapi/v1/constituents", "symbol=BTCUSD", 1),
    ],
)  # fmt: skip
def test_futures_weights(path: str, query: str, weight: int) -> None:
    sim = Sim()
    sim.get(path, query)
    assert sim.exchange.used_weight("futures") == sim.exchange.log[-1].weight == weight


@pytest.mark.parametrize(
    ("path", "query", "shown"),
    [
        ("/fapi/v1/fundingRate", "", None), ("/fapi/v1/fundingInfo", "", None),
        ("/futures/data/takerlongshortRatio", SYMBOL + "&period=5m", None),
        ("/futures/data/takerlongshortRatio", "", None), ("/fapi/v1/trades", SYMBOL, "-1"),
        ("/fapi/v1/ticker/bookTicker", "", "5"), ("/fapi/v2/ticker/price", "", "2"),
        ("/fapi/v1/ticker/price", "", "102"), ("/dapi/v1/trades", COIN, "105"), ("/dapi/v1/fundingRate", COIN, "101"),
    ],
)  # fmt: skip
def test_usage_headers_are_not_always_the_truth(path: str, query: str, shown: str | None) -> None:
    sim = Sim()
    sim.control.spend("futures", 100)
    assert header(sim.get(path, query), "x-mbx-used-weight-1m") == shown


def test_usage_headers_stay_away_from_refusals_too() -> None:
    sim = Sim()
    sim.control.spend("futures", 2_400)
    reply = sim.get("/dapi/v1/trades", COIN)
    assert (reply.status, header(reply, "x-mbx-used-weight-1m")) == (429, "2405")
    reply = sim.get("/fapi/v1/fundingRate")
    assert (reply.status, header(reply, "x-mbx-used-weight-1m")) == (429, None)


def test_buckets_of_five_minutes() -> None:
    sim = Sim(now=T0 + 3 * MINUTE, config=SimConfig(symbols=WORLD, funding_limit=5, statistics_limit=4))
    for _ in range(2):
        assert [sim.get("/fapi/v1/fundingRate").status for _ in range(3)] == [200] * 3
        assert [sim.get("/fapi/v1/fundingInfo").status for _ in range(2)] == [200] * 2
        reply = sim.get("/fapi/v1/fundingInfo")
        assert (reply.status, header(reply, "retry-after")) == (429, "120")
        assert json.loads(reply.body) == {
            "code": -1003,
            "msg": "Too many requests; current limit of IP(127.0.0.1) is 5 requests per 5 minutes. "
            "Please use the websocket for live updates to avoid polling the API.",
        }
        assert sim.get("/fapi/v1/fundingRate", client="10.0.0.2").status == 200
        names = ("takerlongshortRatio", "delivery-price", "basis", "nope", "openInterestHist")
        assert [sim.get("/futures/data/" + name).status for name in names] == [400, 400, 400, 404, 400]
        assert sim.get("/futures/data/basis").status == 429
        assert sim.get("/dapi/v1/fundingRate", COIN).status == 200
        assert sim.get("/fapi/v1/ping").status == 200
        sim.now += 5 * MINUTE
    assert sim.exchange.used_weight("futures") == 0


def test_overdrawing_a_bucket_ends_in_a_ban() -> None:
    sim = Sim(config=SimConfig(symbols=WORLD, funding_limit=2))
    assert [sim.get("/fapi/v1/fundingInfo").status for _ in range(6)] == [200, 200, 429, 429, 429, 418]
    assert sim.get("/fapi/v1/ping").status == 418
    assert sim.get("/api/v3/ping").status == 200
    sim.control.reset()
    assert sim.get("/fapi/v1/fundingInfo").status == 200
    assert sim.control.status()["buckets"] == [
        {"bucket": "funding", "client": "127.0.0.1", "requests": 1, "strikes": 0}
    ]
    sim.now += 5 * MINUTE
    assert sim.control.status()["buckets"] == []


KEYED = (
    "/api/v3/account", "/api/v3/order", "/api/v3/openOrders", "/api/v3/allOrders", "/api/v3/myTrades",
    "/api/v3/rateLimit/order", "/api/v3/userDataStream", "/api/v3/historicalBlockTrades", "/api/v3/sor/order",
    "/fapi/v1/historicalTrades", "/fapi/v1/order", "/fapi/v2/account", "/fapi/v3/balance", "/fapi/v2/positionRisk",
    "/fapi/v1/listenKey", "/fapi/v1/leverageBracket", "/dapi/v1/historicalTrades", "/dapi/v1/userTrades",
    "/sapi/v1/capital/config/getall",
)  # fmt: skip


@pytest.mark.parametrize("path", KEYED)
def test_keyed_paths(path: str) -> None:
    sim = Sim()
    assert sim.error(path, "symbol=BTCUSDT") == (401, -2014, "API-key format invalid.")
    assert sim.error(path, x_mbx_apikey="None")[1] == -2014
    good = sim.error(path, "signature=00", X_MBX_APIKEY=64 * "k")
    assert good == (401, -2015, "Invalid API-key, IP, or permissions for action.")
    assert sim.exchange.respond("POST", path, "", {}).status == 401


def test_keys_do_not_matter_on_public_paths() -> None:
    sim = Sim()
    for key in ("", "None", 64 * "k"):
        assert sim.get("/api/v3/historicalTrades", SYMBOL + "&limit=1", X_MBX_APIKEY=key).status == 200
