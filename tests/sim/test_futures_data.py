"""Funding, open interest, statistics and reference data of the futures markets, and spot's execution rules."""

import json
from decimal import Decimal
from typing import Any

import pytest

from mdcache.sim import SimConfig
from tests.sim.helpers import DAY, HOUR, LISTED, MINUTE, T0, Sim
from tests.sim.test_tickers import answer

NOW = 1_795_000_000_000  # in the default world, with quarterlies
RATIOS = ("topLongShortAccountRatio", "topLongShortPositionRatio", "globalLongShortAccountRatio")


@pytest.fixture
def sim() -> Sim:
    return Sim()


@pytest.fixture
def world() -> Sim:
    return Sim(now=NOW, config=SimConfig())


def statistics(sim: Sim, name: str, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer(sim, "/futures/data/" + name, query)
    return found


def test_mark_and_index_prices_are_the_klines(sim: Sim) -> None:
    for path, kind, name in (("/fapi/v1/", "BTCUSDT", "BTCUSDT"), ("/dapi/v1/", "BTCUSD_PERP", "BTCUSD")):
        found = answer(sim, path + "premiumIndex", f"symbol={kind}")
        premium = found[0] if isinstance(found, list) else found
        assert premium["markPrice"] == sim.rows(f"symbol={kind}&interval=1m&limit=1", path + "markPriceKlines")[0][4]
        assert premium["indexPrice"] == sim.rows(f"pair={name}&interval=1m&limit=1", path + "indexPriceKlines")[0][4]
        assert premium["nextFundingTime"] == T0 + 8 * HOUR
        assert premium["time"] == sim.now
    every = answer(sim, "/fapi/v1/premiumIndex")
    assert [one["symbol"] for one in every] == ["BTCUSDT", "BTCUSDT_231229"]
    assert every[0] == answer(sim, "/fapi/v1/premiumIndex", "symbol=btcusdt")
    assert (every[1]["lastFundingRate"], every[1]["nextFundingTime"]) == ("0.00000000", 0)


def test_coinm_contracts_of_a_pair(world: Sim) -> None:
    found = answer(world, "/dapi/v1/premiumIndex", "pair=BTCUSD")
    assert [one["symbol"] for one in found] == ["BTCUSD_PERP", "BTCUSD_261225", "BTCUSD_270326"]
    assert [one["lastFundingRate"] == "" for one in found] == [False, True, True]
    assert answer(world, "/dapi/v1/ticker/price", "pair=BTCUSD") == [
        one for one in answer(world, "/dapi/v1/ticker/price") if one["ps"] == "BTCUSD"
    ]


def test_funding(sim: Sim) -> None:
    path = "/fapi/v1/fundingRate"
    every = answer(sim, path, "symbol=BTCUSDT&startTime=0&limit=1000")
    assert list(every[0]) == ["symbol", "fundingRate", "fundingTime", "markPrice"]
    assert [one["fundingTime"] for one in every] == list(range(-(-LISTED // (8 * HOUR)) * 8 * HOUR, sim.now, 8 * HOUR))
    assert answer(sim, path, "symbol=BTCUSDT") == every[-100:]
    assert answer(sim, path) == every[-100:]
    window = f"symbol=BTCUSDT&startTime={every[3]['fundingTime']}&endTime={every[6]['fundingTime']}"
    assert answer(sim, path, window) == every[3:7]
    assert answer(sim, path, window + "&limit=2") == every[3:5]
    assert answer(sim, path, "symbol=BTCUSDT_231229") == []
    assert max(abs(Decimal(one["fundingRate"])) for one in every) < Decimal("0.0005")
    sim.now = T0 + 8 * HOUR
    assert answer(sim, path, "symbol=BTCUSDT&limit=2")[0] == every[-1]
    coin = answer(sim, "/dapi/v1/fundingRate", "symbol=BTCUSD_PERP&limit=2")
    assert [list(one) for one in coin] == [["symbol", "fundingTime", "fundingRate"]] * 2
    assert [one["symbol"] for one in answer(sim, "/fapi/v1/fundingInfo", "symbol=NOPE")] == ["BTCUSDT"]
    assert answer(sim, "/dapi/v1/fundingInfo")[0]["fundingIntervalHours"] == 8


def test_open_interest(sim: Sim) -> None:
    usdm = answer(sim, "/fapi/v1/openInterest", "symbol=BTCUSDT")
    assert list(usdm) == ["openInterest", "symbol", "time"]
    coinm = answer(sim, "/dapi/v1/openInterest", "symbol=BTCUSD_PERP")
    assert list(coinm) == ["symbol", "pair", "openInterest", "contractType", "time"]
    sim.now = T0 + 9 * HOUR
    now = answer(sim, "/fapi/v1/openInterest", "symbol=BTCUSDT")["openInterest"]
    assert now != usdm["openInterest"]
    (row,) = statistics(sim, "openInterestHist", "symbol=BTCUSDT&period=5m&limit=1")
    assert (Decimal(row["sumOpenInterest"]), row["timestamp"]) == (Decimal(now), sim.now)
    price = answer(sim, "/fapi/v1/ticker/price", "symbol=BTCUSDT")["price"]
    assert Decimal(row["sumOpenInterestValue"]) == Decimal(now) * Decimal(price)
    (both,) = statistics(sim, "openInterestHist", "pair=BTCUSD&contractType=ALL&period=5m&limit=1")
    assert list(both) == ["pair", "contractType", "sumOpenInterest", "sumOpenInterestValue", "timestamp"]


def test_statistics_stand_on_their_period(sim: Sim) -> None:
    for name in (*RATIOS, "openInterestHist", "takerlongshortRatio"):
        rows = statistics(sim, name, "symbol=BTCUSDT&period=15m")
        assert [row["timestamp"] for row in rows] == list(range(T0 - 15 * MINUTE, T0 + 7 * HOUR + 1, 15 * MINUTE))
        start, end = rows[4]["timestamp"], rows[9]["timestamp"]
        assert statistics(sim, name, f"symbol=BTCUSDT&period=15m&startTime={start}&endTime={end}") == rows[4:10]
        assert statistics(sim, name, f"symbol=BTCUSDT&period=15m&startTime={start}&limit=2") == rows[4:6]
        assert statistics(sim, name, f"symbol=BTCUSDT&period=15m&endTime={end}&limit=2") == rows[8:10]
        month = statistics(sim, name, "symbol=BTCUSDT&period=1d&limit=500")
        assert month[0]["timestamp"] == T0 - 29 * DAY
    old = f"symbol=BTCUSDT&period=5m&startTime={sim.now - 30 * DAY - 1}"
    assert sim.error("/futures/data/takerlongshortRatio", old) == (400, -1130, "parameter 'startTime' is invalid.")


def test_taker_volumes_are_the_candles(sim: Sim) -> None:
    (row,) = statistics(sim, "takerlongshortRatio", "symbol=BTCUSDT&period=1h&limit=1")
    (candle,) = sim.rows(f"symbol=BTCUSDT&interval=1h&startTime={row['timestamp'] - HOUR}&limit=1", "/fapi/v1/klines")
    assert list(row) == ["buySellRatio", "buyVol", "sellVol", "timestamp"]
    assert (row["buyVol"], Decimal(row["buyVol"]) + Decimal(row["sellVol"])) == (candle[9], Decimal(candle[5]))
    (coin,) = statistics(sim, "takerBuySellVol", "pair=BTCUSD&contractType=PERPETUAL&period=1h&limit=1")
    window = f"symbol=BTCUSD_PERP&interval=1h&endTime={coin['timestamp'] - 1}&limit=1"
    (candle,) = sim.rows(window, "/dapi/v1/klines")
    assert (coin["takerBuyVol"], coin["takerBuyVolValue"]) == (candle[9], candle[10])


def test_ratios(sim: Sim) -> None:
    for name in RATIOS:
        what = "Position" if "Position" in name else "Account"
        (usdm,) = statistics(sim, name, "symbol=BTCUSDT&period=4h&limit=1")
        assert list(usdm) == ["symbol", "longShortRatio", "longAccount", "shortAccount", "timestamp"]
        assert Decimal(usdm["longAccount"]) + Decimal(usdm["shortAccount"]) == 1
        (coinm,) = statistics(sim, name, "pair=BTCUSD&period=4h&limit=1")
        assert list(coinm) == ["pair", "longShortRatio", f"long{what}", f"short{what}", "timestamp"]
        assert statistics(sim, name, "symbol=BTCUSD&period=4h&limit=1") == [coinm]
        assert statistics(sim, name, "symbol=BTCUSD_PERP&period=4h&limit=1") == [coinm]


def test_basis_and_deliveries(world: Sim) -> None:
    for pair in ("BTCUSDT", "BTCUSD"):
        (row,) = statistics(world, "basis", f"pair={pair}&contractType=CURRENT_QUARTER&period=5m&limit=1")
        assert Decimal(row["futuresPrice"]) - Decimal(row["indexPrice"]) == Decimal(row["basis"])
        assert row["annualizedBasisRate"]
        (row,) = statistics(world, "basis", f"pair={pair}&contractType=PERPETUAL&period=5m&limit=1")
        assert row["annualizedBasisRate"] == ""
        prices = statistics(world, "delivery-price", f"pair={pair}")
        times = [one["deliveryTime"] for one in prices]
        assert times[0] == 1_790_323_200_000  # 2026-09-25 08:00, when BTCUSDT_260925 ended
        assert times == sorted(times, reverse=True)
        assert len(times) > 20
    assert statistics(world, "basis", "pair=ADAUSDT&contractType=NEXT_QUARTER&period=5m") == []
    for pair, code in (("NOPE", -4144), ("NOPEUSD", -4087)):
        assert world.error("/futures/data/delivery-price", f"pair={pair}")[:2] == (400, code)


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
        ("delivery-price", "", -1102),
    ],
)
def test_statistics_refused(sim: Sim, path: str, query: str, code: int) -> None:
    assert sim.error("/futures/data/" + path, query)[:2] == (400, code)


def test_reference_data(sim: Sim) -> None:
    (composite,) = answer(sim, "/fapi/v1/indexInfo")
    assert [one["baseAsset"] for one in composite["baseAssetList"]] == ["BTC"]
    assert answer(sim, "/fapi/v1/indexInfo", f"symbol={composite['symbol']}") == [composite]
    assert sim.error("/fapi/v1/indexInfo", "symbol=BTCUSDT")[1] == -1121
    assets = answer(sim, "/fapi/v1/assetIndex")
    assert assets == [answer(sim, "/fapi/v1/assetIndex", "symbol=BTCUSD")]
    assert sim.error("/fapi/v1/assetIndex", "symbol=BTCUSDT")[1] == -1121
    premium = answer(sim, "/fapi/v1/premiumIndex", "symbol=BTCUSDT")
    assert assets[0]["index"] == premium["indexPrice"]
    parts = answer(sim, "/fapi/v1/constituents", "symbol=BTCUSDT")["constituents"]
    assert sum(Decimal(part["weight"]) for part in parts) == 1
    assert all(abs(Decimal(part["price"]) / Decimal(premium["indexPrice"]) - 1) < Decimal("0.001") for part in parts)
    assert answer(sim, "/dapi/v1/constituents", "symbol=BTCUSD")["symbol"] == "BTCUSD"
    assert sim.error("/dapi/v1/constituents", "symbol=NOPE")[1] == -1121
    (fund,) = answer(sim, "/fapi/v1/insuranceBalance")
    assert fund == answer(sim, "/fapi/v1/insuranceBalance", "symbol=BTCUSDT_231229")
    assert fund["symbols"] == ["BTCUSDT", "BTCUSDT_231229"]
    risks = answer(sim, "/fapi/v1/symbolAdlRisk")
    assert risks[0] == answer(sim, "/fapi/v1/symbolAdlRisk", "symbol=BTCUSDT")
    assert {risk["adlRisk"] for risk in risks} <= {"low", "medium", "high"}


def test_schedules_cover_a_week_without_gaps(sim: Sim) -> None:
    schedules = answer(sim, "/fapi/v1/tradingSchedule")["marketSchedules"]
    for market in ("EQUITY", "COMMODITY"):
        sessions = schedules[market]["sessions"]
        assert (sessions[0]["startTime"], sessions[-1]["endTime"]) == (T0 - DAY, T0 + 6 * DAY)
        assert [one["endTime"] for one in sessions[:-1]] == [one["startTime"] for one in sessions[1:]]
        closed = [one["startTime"] for one in sessions if one["type"] == "NO_TRADING"]
        assert closed == [T0 + 3 * DAY, T0 + 4 * DAY]  # T0 is a Wednesday


def test_execution_rules_and_reference_prices(sim: Sim) -> None:
    def named(query: str) -> list[str]:
        return [one["symbol"] for one in answer(sim, "/api/v3/executionRules", query)["symbolRules"]]

    assert named("symbol=BTCUSDT") == ["BTCUSDT"]
    assert named('symbols=["OLDUSDT","BTCUSDT"]') == ["OLDUSDT", "BTCUSDT"]
    assert named("symbolStatus=BREAK") == ["OLDUSDT"]
    assert len(named("")) == 5
    assert sim.error("/api/v3/executionRules", "symbol=BTCUSDT&symbolStatus=TRADING")[1] == -1128
    price = answer(sim, "/api/v3/referencePrice", "symbol=BTCUSDT")
    assert list(price) == ["symbol", "referencePrice", "timestamp"]
    last = answer(sim, "/api/v3/ticker/price", "symbol=BTCUSDT")["price"]
    assert abs(Decimal(price["referencePrice"]) / Decimal(last) - 1) < Decimal("0.01")
    how = answer(sim, "/api/v3/referencePrice/calculation", "symbol=BTCUSDT")
    assert how["calculationType"] == "ARITHMETIC_MEAN"
    assert answer(sim, "/api/v3/referencePrice", "symbol=OLDUSDT")["referencePrice"] is None
    message = "This symbol doesn't have a reference price."
    assert sim.error("/api/v3/referencePrice/calculation", "symbol=OLDUSDT") == (400, -2043, message)
    sim.now = T0
    assert sim.error("/api/v3/referencePrice", "symbol=NEWUSDT") == (400, -2043, message)
    assert b'"referencePrice":null' in sim.get("/api/v3/referencePrice", "symbol=OLDUSDT").body


def test_every_answer_is_the_same_again(world: Sim) -> None:
    for path, query in (
        ("/fapi/v1/fundingRate", ""), ("/fapi/v1/openInterest", "symbol=BTCUSDT"), ("/fapi/v1/symbolAdlRisk", ""),
        ("/futures/data/basis", "pair=BTCUSD&contractType=PERPETUAL&period=1h"), ("/fapi/v1/insuranceBalance", ""),
    ):  # fmt: skip
        body = world.get(path, query).body
        assert Sim(now=NOW, config=SimConfig()).get(path, query).body == body
        assert Sim(now=NOW, config=SimConfig(seed=2)).get(path, query).body != body
        assert world.exchange.truth(path, query, at_ms=NOW) == body
        assert isinstance(json.loads(body), list | dict)
