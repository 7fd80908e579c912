"""Queries about market data that Binance refuses, and faults on their paths."""

import json

import pytest

from tests.sim.helpers import DAY, T0, Sim, header

MISSING = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
NEEDS_SYMBOL = (
    "/api/v3/depth", "/api/v3/trades", "/api/v3/historicalTrades", "/api/v3/aggTrades", "/api/v3/avgPrice",
    "/api/v3/referencePrice", "/api/v3/referencePrice/calculation", "/fapi/v1/depth", "/fapi/v1/rpiDepth",
    "/fapi/v1/trades", "/fapi/v1/aggTrades", "/fapi/v1/openInterest", "/fapi/v1/constituents", "/dapi/v1/depth",
    "/dapi/v1/trades", "/dapi/v1/aggTrades", "/dapi/v1/openInterest", "/dapi/v1/constituents", "/dapi/v1/fundingRate",
)  # fmt: skip
MAY_HAVE_SYMBOL = (
    "/api/v3/ticker/24hr", "/api/v3/ticker/price", "/api/v3/ticker/bookTicker", "/api/v3/executionRules",
    "/fapi/v1/premiumIndex", "/fapi/v1/fundingRate", "/fapi/v1/ticker/24hr", "/fapi/v1/ticker/price",
    "/fapi/v2/ticker/price", "/fapi/v1/ticker/bookTicker", "/fapi/v1/insuranceBalance", "/fapi/v1/symbolAdlRisk",
    "/dapi/v1/premiumIndex", "/dapi/v1/ticker/24hr", "/dapi/v1/ticker/price", "/dapi/v1/ticker/bookTicker",
)  # fmt: skip
FUTURES_ONLY = ("/fapi/v1/fundingInfo", "/fapi/v1/tradingSchedule", "/fapi/v1/indexInfo", "/fapi/v1/assetIndex")


@pytest.mark.parametrize("path", NEEDS_SYMBOL)
def test_a_symbol_must_be_sent(sim: Sim, path: str) -> None:
    assert sim.error(path) == (400, -1102, MISSING)


@pytest.mark.parametrize("path", MAY_HAVE_SYMBOL)
def test_a_symbol_may_be_left_out(sim: Sim, path: str) -> None:
    assert sim.get(path).status == 200


@pytest.mark.parametrize("path", [*NEEDS_SYMBOL, *MAY_HAVE_SYMBOL])
def test_symbols_are_checked(sim: Sim, path: str) -> None:
    assert sim.error(path, "symbol=NOPE") == (400, -1121, "Invalid symbol.")
    assert sim.error(path, "symbol=") == (400, -1105, "Parameter 'symbol' was empty.")
    assert sim.error(path, "symbol=A&symbol=A")[1] == -1101
    assert sim.error(path, "symbol=A/B")[1] == -1100
    assert sim.error(path, "symbol=nope")[1] == (-1100 if path.startswith("/api") else -1121)
    if path.startswith("/api"):
        more = "Not all sent parameters were read; read '1' parameter(s) but was sent '2'."
        assert sim.error(path, "symbol=BTCUSDT&x=1") == (400, -1104, more)
        assert sim.error(path, "symbol=BTCUSDT", x_mbx_time_unit="DAY")[1] == -1194
    elif path != "/dapi/v1/constituents":
        name = "btcusd_perp" if path.startswith("/dapi") else "btcusdt"
        assert sim.get(path, f"symbol={name}&x=1").status == 200


@pytest.mark.parametrize("path", FUTURES_ONLY)
def test_futures_ignore_what_they_do_not_know(sim: Sim, path: str) -> None:
    assert sim.get(path, "x=1&x=2&y=").body == sim.get(path).body


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("ticker", "", -1102), ("ticker/tradingDay", "type=FULL", -1102),
        ("ticker", 'symbol=BTCUSDT&symbols=["BTCUSDT"]', -1128), ("ticker/24hr", "symbol=BTCUSDT&symbols=[]", -1128),
        ("ticker/price", 'symbols=["BTCUSDT","BTCUSDT"]', -1151), ("ticker/price", "symbols=BTCUSDT", -1135),
        ("ticker/price", "symbols=[1]", -1135), ("ticker/price", 'symbols=["NOPE"]', -1121),
        ("ticker/price", "symbols=" + 30_000 * "[", -1135), ("ticker/24hr", "type=HUGE", -1139),
        ("ticker/price", "type=FULL", -1104), ("ticker", "symbol=BTCUSDT&windowSize=60m", -1130),
        ("ticker", "symbol=BTCUSDT&windowSize=1d2h", -1130), ("ticker", "symbol=BTCUSDT&windowSize=8d", -1130),
        ("ticker/tradingDay", "symbol=BTCUSDT&timeZone=99", -1130), ("ticker/24hr", "symbolStatus=OPEN", -1122),
        ("ticker/24hr", "symbol=OLDUSDT&symbolStatus=TRADING", -1220), ("depth", "symbol=BTCUSDT&limit=0", -1130),
        ("depth", "symbol=BTCUSDT&limit=abc", -1100), ("trades", "symbol=BTCUSDT&limit=-1", -1100),
        ("historicalTrades", "symbol=BTCUSDT&fromId=x", -1100), ("aggTrades", "symbol=BTCUSDT&startTime=", -1105),
        ("aggTrades", "symbol=BTCUSDT&fromId=1&startTime=1", -1128), ("executionRules", "symbol=A&symbols=[]", -1128),
        ("executionRules", "symbol=BTCUSDT&symbolStatus=TRADING", -1128),
        ("referencePrice/calculation", "symbol=OLDUSDT", -2043),
        ("ticker", "symbols=" + json.dumps([f"S{number}" for number in range(101)]), -1101),
    ],
)  # fmt: skip
def test_spot_refusals(sim: Sim, path: str, query: str, code: int) -> None:
    status, found, message = sim.error("/api/v3/" + path, query)
    assert (status, found) == (400, code), message
    assert sim.exchange.used_weight("spot") == 0


def test_texts(sim: Sim) -> None:
    both = "Param 'symbol' or 'symbols' must be sent, but both were empty/null!"
    assert sim.error("/api/v3/ticker")[2] == both
    many = "symbols=" + json.dumps([f"S{number}" for number in range(101)])
    assert sim.error("/api/v3/ticker", many)[2] == "Too many parameters; expected '100' and received '101'."
    assert sim.error("/api/v3/depth", "symbol=OLDUSDT&symbolStatus=TRADING")[2] == (
        "The symbol's status does not match the requested symbolStatus."
    )


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/fapi/v1/trades", "symbol=BTCUSDT&limit=1001", -1130), ("/fapi/v1/depth", "symbol=BTCUSDT&limit=5000", -1130),
        ("/fapi/v1/aggTrades", "symbol=BTCUSDT&limit=1001", -1130), ("/fapi/v1/fundingRate", "limit=1001", -1130),
        ("/dapi/v1/trades", "symbol=BTCUSD_PERP&limit=0", -1130), ("/fapi/v1/fundingRate", "startTime=x", -1100),
        ("/dapi/v1/ticker/24hr", "symbol=BTCUSD_PERP&pair=BTCUSD", -1128),
        ("/dapi/v1/ticker/price", "pair=NOPE", -4087),
        ("/fapi/v1/fundingRate", "startTime=2&endTime=1", -1023),
        ("/fapi/v1/aggTrades", "symbol=BTCUSDT&startTime=2&endTime=1", -1023),
        ("/fapi/v1/aggTrades", f"symbol=BTCUSDT&startTime={T0 - 2 * DAY}", -4166),
        ("/fapi/v1/depth", "symbol=BTCUSDT&limit=7", -4021), ("/fapi/v1/rpiDepth", "symbol=BTCUSDT&limit=500", -4021),
        ("/fapi/v1/indexInfo", "symbol=BTCUSDT", -1121), ("/fapi/v1/assetIndex", "symbol=BTCUSDT", -1121),
    ],
)  # fmt: skip
def test_futures_refusals(sim: Sim, path: str, query: str, code: int) -> None:
    assert sim.error(path, query)[:2] == (400, code)


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("openInterestHist", "period=5m", -1102),
        ("openInterestHist", "symbol=BTCUSDT", -1102),
        ("openInterestHist", "symbol=BTCUSDT&period=3m", -1130),
        ("openInterestHist", "symbol=BTCUSDT&period=5m&limit=501", -1130),
        ("openInterestHist", "symbol=BTCUSDT&period=5m&limit=x", -1100),
        ("openInterestHist", "symbol=NOPEUSDT&period=5m", -1121),
        ("openInterestHist", "pair=BTCUSD&period=5m", -1102),
        ("openInterestHist", "pair=BTCUSD&contractType=WEEKLY&period=5m", -1130),
        ("basis", "pair=BTCUSDT&contractType=ALL&period=5m", -1130),
        ("basis", "symbol=BTCUSDT&period=5m", -1102),
        ("globalLongShortAccountRatio", "pair=BTCUSD&symbol=BTCUSD&period=5m", -1128),
        ("takerlongshortRatio", f"symbol=BTCUSDT&period=5m&startTime={T0 - 30 * DAY}", -1130),
        ("delivery-price", "", -1102),
        ("delivery-price", "pair=NOPE", -4144),
        ("delivery-price", "pair=NOPEUSD", -4087),
    ],
)
def test_statistics_refused(sim: Sim, path: str, query: str, code: int) -> None:
    assert sim.error("/futures/data/" + path, query)[:2] == (400, code)


def test_spot_limits_are_cut(sim: Sim) -> None:
    for path in ("trades", "historicalTrades", "aggTrades"):
        assert len(sim.answer("/api/v3/" + path, "symbol=BTCUSDT&limit=5000")) == 1000
        assert len(sim.answer("/api/v3/" + path, "symbol=BTCUSDT")) == 500


def test_exchange_info_by_permissions(sim: Sim) -> None:
    def names(query: str) -> list[str]:
        return [one["symbol"] for one in sim.answer("/api/v3/exchangeInfo", query)["symbols"]]

    assert names("permissions=SPOT") == names("") == names('permissions=["MARGIN","SPOT"]')
    assert names("permissions=%5B%22SPOT%22%5D&symbolStatus=BREAK") == ["OLDUSDT"]
    assert names("permissions=MARGIN") == []
    for query, code in (
        ("permissions=NOPE", -1130), ('permissions=["NOPE"]', -1130), ("permissions=[", -1130),
        ("permissions=SPOT&symbol=BTCUSDT", -1128), ("showPermissionSets=maybe", -1130),
        ("symbol=BTCUSDT&symbolStatus=TRADING", -1128),
    ):  # fmt: skip
        assert sim.error("/api/v3/exchangeInfo", query)[1] == code, query
    for path in ("/fapi/v1/exchangeInfo", "/dapi/v1/exchangeInfo"):
        assert sim.get(path, "symbol=BTCUSDT&permissions=SPOT&symbol=x").body == sim.get(path).body


@pytest.mark.parametrize(
    ("kind", "status"), [("403", 403), ("451", 451), ("429", 429), ("418", 418), ("500", 500), ("503", 503)]
)
@pytest.mark.parametrize("path", ["/api/v3/ticker/24hr", "/fapi/v1/premiumIndex", "/futures/data/delivery-price"])
def test_faults_strike_market_data(sim: Sim, path: str, kind: str, status: int) -> None:
    query = "pair=BTCUSD" if "futures" in path else ""
    honest = sim.get(path, query)
    sim.control.fault(kind, count=1, path=path, retry_after_s=9)
    assert sim.get(path, query).status == status
    assert sim.get(path, query).body == honest.body


def test_bodies_and_connections_break(sim: Sim) -> None:
    path = "/api/v3/ticker/price"
    honest = json.loads(sim.get(path).body)
    for kind, body in (
        ("object", {"code": 0, "data": honest}), ("empty", []), ("doubled", [honest[0], *honest]),
        ("disorder", honest[::-1]), ("columns", honest), ("interval", honest),
    ):  # fmt: skip
        sim.control.fault(kind, count=1)
        assert json.loads(sim.get(path).body) == body, kind
    sim.control.fault("empty", count=1)
    assert json.loads(sim.get(path, "symbol=BTCUSDT").body)["symbol"] == "BTCUSDT"
    sim.control.fault("html", count=1)
    assert header(sim.get(path), "content-type") == "text/html"
    sim.control.fault("truncate", count=1)
    assert sim.get(path).fault == "truncate"


def test_replicas_lag(sim: Sim) -> None:
    path = "/fapi/v1/premiumIndex"
    sim.control.set_replicas([0, 4_000])
    fresh, late = sim.get(path).body, sim.get(path).body
    assert fresh == sim.exchange.truth(path, "", at_ms=sim.now)
    assert late == sim.exchange.truth(path, "", at_ms=sim.now, lag_ms=4_000) != fresh
