"""Prices and statistics agree with the same symbol's candles, with each other, and move with the clock."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.sim.helpers import DAY, HOUR, MINUTE, T0, Sim, merged

LISTS = (
    "/api/v3/ticker/24hr", "/api/v3/ticker/price", "/api/v3/ticker/bookTicker", "/fapi/v1/ticker/24hr",
    "/fapi/v1/ticker/price", "/fapi/v2/ticker/price", "/fapi/v1/ticker/bookTicker", "/dapi/v1/ticker/24hr",
    "/dapi/v1/ticker/price", "/dapi/v1/ticker/bookTicker",
)  # fmt: skip
PERP = {"/api": "BTCUSDT", "/fapi": "BTCUSDT", "/dapi": "BTCUSD_PERP"}
KLINES = {"/api": "/api/v3/klines", "/fapi": "/fapi/v1/klines", "/dapi": "/dapi/v1/klines"}


def family(path: str) -> str:
    return path[: path.index("/", 1)]


def answer(sim: Sim, path: str, query: str = "", **headers: str) -> Any:
    reply = sim.get(path, query, client="answers", **headers)
    assert reply.status == 200, reply.body
    sim.exchange._meter.reset()
    assert json.dumps(json.loads(reply.body), separators=(",", ":"), ensure_ascii=False).encode() == reply.body
    return json.loads(reply.body)


@pytest.fixture
def sim() -> Sim:
    return Sim()


@pytest.mark.parametrize("path", LISTS)
def test_one_symbol_is_its_element_of_all(sim: Sim, path: str) -> None:
    every: list[Any] = []
    for _ in range(3):
        every = answer(sim, path)
        for element in every:
            one = answer(sim, path, f"symbol={element['symbol']}")
            assert one == ([element] if path.startswith("/dapi") else element)
        sim.now += 7_001
    assert answer(sim, path) != every
    assert Sim(now=sim.now).get(path).body == sim.get(path).body


@pytest.mark.parametrize("path", LISTS)
def test_last_prices_are_the_open_candle_s(sim: Sim, path: str) -> None:
    for step in (0, 1, 250, 60_000):
        sim.now += step
        (ticker,) = one if isinstance(one := answer(sim, path, f"symbol={PERP[family(path)]}"), list) else [one]
        (row,) = sim.rows(f"symbol={PERP[family(path)]}&interval=1m&limit=1", KLINES[family(path)])
        if path.endswith("bookTicker"):
            assert row[4] in {ticker["bidPrice"], ticker["askPrice"]}
            assert Decimal(ticker["bidPrice"]) < Decimal(ticker["askPrice"])
        else:
            assert ticker.get("lastPrice", ticker.get("price")) == row[4]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "QUIETUSDT"])
def test_the_last_24_hours_are_a_merge_of_candles(sim: Sim, symbol: str) -> None:
    sim.now = T0 + 7 * HOUR + 59_999
    ticker = answer(sim, "/api/v3/ticker/24hr", f"symbol={symbol}")
    rows = sim.parts(symbol, "1m", sim.now + 1 - DAY, sim.now + 1)
    rows = [row for row in rows if row[0] > sim.now - DAY]
    open_, high, low, close, volume, turnover, trades, *_ = merged(rows)
    assert (ticker["openPrice"], ticker["highPrice"], ticker["lowPrice"]) == (open_, high, low)
    assert (ticker["lastPrice"], ticker["volume"], ticker["quoteVolume"]) == (close, volume, turnover)
    assert ticker["count"] == trades
    assert Decimal(ticker["priceChange"]) == Decimal(close) - Decimal(open_)
    assert abs(Decimal(ticker["weightedAvgPrice"]) * Decimal(volume) - Decimal(turnover)) < Decimal("0.1")
    percent = 100 * (Decimal(close) / Decimal(open_) - 1)
    assert abs(Decimal(ticker["priceChangePercent"]) - percent) <= Decimal("0.001")
    assert (ticker["openTime"], ticker["closeTime"]) == (sim.now - DAY, sim.now)


def test_futures_days_begin_with_a_minute(sim: Sim) -> None:
    ticker = answer(sim, "/fapi/v1/ticker/24hr", "symbol=BTCUSDT")
    assert ticker["openTime"] == (sim.now - DAY) // MINUTE * MINUTE
    assert ticker["lastId"] - ticker["firstId"] + 1 == ticker["count"]
    coin = answer(sim, "/dapi/v1/ticker/24hr", "pair=BTCUSD")
    assert [one["pair"] for one in coin] == ["BTCUSD"]
    dollars = Decimal(coin[0]["volume"]) * 100 / Decimal(coin[0]["weightedAvgPrice"])
    assert abs(dollars / Decimal(coin[0]["baseVolume"]) - 1) < Decimal("0.0001")


def test_rolling_windows_and_trading_days(sim: Sim) -> None:
    for size, length in (("1m", MINUTE), ("59m", 59 * MINUTE), ("23h", 23 * HOUR), ("7d", 7 * DAY)):
        ticker = answer(sim, "/api/v3/ticker", f"symbol=BTCUSDT&windowSize={size}")
        assert (ticker["openTime"], ticker["closeTime"]) == ((sim.now - length) // MINUTE * MINUTE, sim.now)
    hour = answer(sim, "/api/v3/ticker", "symbol=BTCUSDT&windowSize=7h")
    rows = sim.parts("BTCUSDT", "1h", T0, sim.now)
    assert [hour["highPrice"], hour["volume"], hour["count"]] == [merged(rows)[place] for place in (1, 4, 6)]
    day = answer(sim, "/api/v3/ticker/tradingDay", "symbol=BTCUSDT&timeZone=8")
    (row,) = sim.rows("symbol=BTCUSDT&interval=1d&limit=1&timeZone=8")
    assert [day["openTime"], day["openPrice"], day["highPrice"], day["lowPrice"], day["lastPrice"], day["volume"],
            day["closeTime"], day["quoteVolume"], day["count"]] == row[:9]  # fmt: skip
    mini = answer(sim, "/api/v3/ticker/24hr", "symbol=BTCUSDT&type=MINI")
    assert list(mini) == ["symbol", "openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume",
                          "openTime", "closeTime", "firstId", "lastId", "count"]  # fmt: skip


def test_averages(sim: Sim) -> None:
    sim.now = T0 + 7 * HOUR + 5 * MINUTE - 1
    average = answer(sim, "/api/v3/avgPrice", "symbol=BTCUSDT")
    rows = sim.parts("BTCUSDT", "1m", T0 + 7 * HOUR, sim.now + 1)
    *_, volume, turnover, _, _, _ = merged(rows)
    assert list(average) == ["mins", "price", "closeTime"]
    assert abs(Decimal(average["price"]) - Decimal(turnover) / Decimal(volume)) < 1
    assert T0 + 7 * HOUR < average["closeTime"] <= sim.now


def test_fields_in_binance_s_order(sim: Sim) -> None:
    spot = answer(sim, "/api/v3/ticker/24hr", "symbol=BTCUSDT")
    assert list(spot) == [
        "symbol", "priceChange", "priceChangePercent", "weightedAvgPrice", "prevClosePrice", "lastPrice", "lastQty",
        "bidPrice", "bidQty", "askPrice", "askQty", "openPrice", "highPrice", "lowPrice", "volume", "quoteVolume",
        "openTime", "closeTime", "firstId", "lastId", "count",
    ]  # fmt: skip
    usdm = answer(sim, "/fapi/v1/ticker/24hr", "symbol=BTCUSDT")
    assert list(usdm) == [
        "symbol", "priceChange", "priceChangePercent", "weightedAvgPrice", "lastPrice", "lastQty", "openPrice",
        "highPrice", "lowPrice", "volume", "quoteVolume", "openTime", "closeTime", "firstId", "lastId", "count",
    ]  # fmt: skip
    (coin,) = answer(sim, "/dapi/v1/ticker/24hr")
    assert list(coin) == [*(name.replace("quoteVolume", "baseVolume") for name in ("symbol", "pair", *usdm))][:2] + [
        name.replace("quoteVolume", "baseVolume") for name in list(usdm)[1:]
    ]
    assert list(answer(sim, "/fapi/v1/ticker/bookTicker", "symbol=BTCUSDT")) == [
        "symbol", "bidPrice", "bidQty", "askPrice", "askQty", "time",
    ]  # fmt: skip
    assert list(answer(sim, "/dapi/v1/ticker/bookTicker")[0]) == [
        "lastUpdateId", "symbol", "pair", "bidPrice", "bidQty", "askPrice", "askQty", "time",
    ]  # fmt: skip
    assert list(answer(sim, "/dapi/v1/ticker/price")[0]) == ["symbol", "ps", "price", "time"]
    assert [one["symbol"] for one in answer(sim, "/fapi/v1/ticker/price")] == ["BTCUSDT", "BTCUSDT_231229"]


def test_symbols_that_do_not_trade(sim: Sim) -> None:
    halted = answer(sim, "/api/v3/ticker/24hr", "symbol=OLDUSDT")
    assert (halted["count"], halted["firstId"], halted["lastId"], halted["volume"]) == (0, -1, -1, "0.00000000")
    assert halted["lastPrice"] == answer(sim, "/api/v3/ticker/price", "symbol=OLDUSDT")["price"] != "0.00000000"
    assert answer(sim, "/api/v3/ticker/bookTicker", "symbol=OLDUSDT")["askPrice"] == "0.00000000"
    sim.now = T0
    coming = answer(sim, "/api/v3/ticker/24hr", "symbol=NEWUSDT")
    assert (coming["lastPrice"], coming["count"], coming["closeTime"]) == ("0.00000000", 0, T0)
    assert answer(sim, "/api/v3/avgPrice", "symbol=NEWUSDT")["price"] == "0.00000000"


def test_lists_of_symbols_and_statuses(sim: Sim) -> None:
    def names(query: str, path: str = "/api/v3/ticker/price") -> list[str]:
        return [one["symbol"] for one in answer(sim, path, query)]

    assert names('symbols=["QUIETUSDT","BTCUSDT"]') == ["QUIETUSDT", "BTCUSDT"]
    assert names("symbols=%5B%22BTCUSDT%22%2C%22OLDUSDT%22%5D", "/api/v3/ticker") == ["BTCUSDT", "OLDUSDT"]
    assert names("symbolStatus=BREAK") == ["OLDUSDT"]
    assert names('symbols=["BTCUSDT","OLDUSDT"]&symbolStatus=TRADING') == ["BTCUSDT"]
    assert names('symbols=["BTCUSDT"]', "/api/v3/ticker/24hr") == ["BTCUSDT"]


def test_microseconds(sim: Sim) -> None:
    for path in ("ticker/24hr", "ticker", "ticker/tradingDay"):
        plain = answer(sim, "/api/v3/" + path, "symbol=BTCUSDT")
        micros = answer(sim, "/api/v3/" + path, "symbol=BTCUSDT", x_mbx_time_unit="MICROSECOND")
        assert micros["openTime"] == plain["openTime"] * 1000
        assert micros["closeTime"] // 1000 == plain["closeTime"]
        assert {**micros, "openTime": 0, "closeTime": 0} == {**plain, "openTime": 0, "closeTime": 0}
