"""Trades one by one are the candles' trades; their numbers rise; order books stand round the last of them."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.sim.helpers import DAY, HOUR, MINUTE, T0, Sim
from tests.sim.test_tickers import answer

PATHS = {"/api/v3/": "BTCUSDT", "/fapi/v1/": "BTCUSDT", "/dapi/v1/": "BTCUSD_PERP"}


@pytest.fixture
def sim() -> Sim:
    return Sim()


def of(trade: dict[str, Any]) -> tuple[Any, ...]:
    return (trade["id"], trade["price"], trade["qty"], trade["time"], trade["isBuyerMaker"])


def of_aggregate(trade: dict[str, Any]) -> tuple[Any, ...]:
    return (trade["a"], trade["p"], trade["q"], trade["T"], trade["m"])


@pytest.mark.parametrize("prefix", PATHS)
def test_trades_make_up_the_candles(sim: Sim, prefix: str) -> None:
    symbol = PATHS[prefix]
    start = T0 + 7 * HOUR - 30 * MINUTE
    (row,) = sim.rows(f"symbol={symbol}&interval=1m&startTime={start}&endTime={start}", prefix + "klines")
    found = answer(sim, prefix + "aggTrades", f"symbol={symbol}&startTime={start}&endTime={row[6]}&limit=1000")
    assert len(found) == min(row[8], 1000)
    found += answer(sim, prefix + "aggTrades", f"symbol={symbol}&fromId={found[-1]['a'] + 1}&limit=1000")
    found = [one for one in found if one["T"] <= row[6]]
    prices = [Decimal(one["p"]) for one in found]
    assert [prices[0], max(prices), min(prices), prices[-1]] == [Decimal(price) for price in row[1:5]]
    assert sum(Decimal(one["q"]) for one in found) == Decimal(row[5])
    assert [one["a"] for one in found] == list(range(found[0]["a"], found[0]["a"] + row[8]))
    assert sorted(one["T"] for one in found) == [one["T"] for one in found]


@pytest.mark.parametrize("prefix", PATHS)
def test_the_newest_trades(sim: Sim, prefix: str) -> None:
    query = f"symbol={PATHS[prefix]}"
    newest = answer(sim, prefix + "trades", query)
    assert len(newest) == 500
    assert [of(one) for one in newest[-7:]] == [of_aggregate(one) for one in answer(sim, prefix + "aggTrades", query)][
        -7:
    ]
    assert newest[-3:] == answer(sim, prefix + "trades", query + "&limit=3")
    turnover = "baseQty" if prefix == "/dapi/v1/" else "quoteQty"
    tail = {"/api/v3/": ["isBestMatch"], "/fapi/v1/": ["isRPITrade"], "/dapi/v1/": []}[prefix]
    assert list(newest[0]) == ["id", "price", "qty", turnover, "time", "isBuyerMaker", *tail]
    assert list(answer(sim, prefix + "aggTrades", query + "&limit=1")[0]) == ["a", "p", "q", "f", "l", "T", "m"] + (
        ["M"] if prefix == "/api/v3/" else []
    )
    sim.now += 5_000
    later = answer(sim, prefix + "trades", query + "&limit=1000")
    assert newest[-1] in later
    assert later[-1]["id"] > newest[-1]["id"]


def test_numbers_count_from_the_listing(sim: Sim) -> None:
    for symbol in ("BTCUSDT", "QUIETUSDT", "OLDUSDT"):
        first = answer(sim, "/api/v3/historicalTrades", f"symbol={symbol}&fromId=0&limit=1000")
        assert [one["id"] for one in first] == list(range(1000))
        ten = answer(sim, "/api/v3/historicalTrades", f"symbol={symbol}&fromId=990&limit=10")
        assert ten == first[990:]
    newest = answer(sim, "/api/v3/historicalTrades", "symbol=BTCUSDT&limit=4")
    assert newest == answer(sim, "/api/v3/trades", "symbol=BTCUSDT&limit=4")
    assert answer(sim, "/api/v3/historicalTrades", f"symbol=BTCUSDT&fromId={newest[-1]['id'] + 1}") == []
    assert answer(sim, "/api/v3/historicalTrades", f"symbol=BTCUSDT&fromId={newest[2]['id']}") == newest[2:]
    ticker = answer(sim, "/api/v3/ticker/24hr", "symbol=BTCUSDT")
    assert ticker["lastId"] == newest[-1]["id"]
    assert (ticker["lastQty"], ticker["lastPrice"]) == (newest[-1]["qty"], newest[-1]["price"])


def test_an_outage_has_no_trades(sim: Sim) -> None:
    gap = (T0 - 2 * DAY + 10 * HOUR + 123_456, T0 - 2 * DAY + 12 * HOUR)
    inside = f"symbol=BTCUSDT&startTime={gap[0]}&endTime={gap[1] - 1}"
    assert answer(sim, "/api/v3/aggTrades", inside) == []
    after = answer(sim, "/api/v3/aggTrades", f"symbol=BTCUSDT&startTime={gap[0]}&limit=1")[0]
    before = answer(sim, "/api/v3/aggTrades", f"symbol=BTCUSDT&endTime={gap[1] - 1}&limit=1")[0]
    assert before["T"] < gap[0] < gap[1] <= after["T"]
    assert answer(sim, "/api/v3/aggTrades", f"symbol=BTCUSDT&fromId={before['a'] + 1}&limit=1") == [after]


def test_aggregate_windows(sim: Sim) -> None:
    base, start = "symbol=BTCUSDT", T0 + 6 * HOUR
    hour = answer(sim, "/api/v3/aggTrades", f"{base}&startTime={start}&limit=10")
    assert answer(sim, "/api/v3/aggTrades", f"{base}&startTime={start}&endTime={hour[4]['T']}&limit=2") == hour[:2]
    upto = answer(sim, "/api/v3/aggTrades", f"{base}&endTime={hour[9]['T']}&limit=1000")
    assert hour[9] in upto
    assert all(one["T"] <= hour[9]["T"] for one in upto)
    assert answer(sim, "/api/v3/aggTrades", f"{base}&startTime={start + 1}&endTime={start}") == []
    micros = answer(sim, "/api/v3/aggTrades", f"{base}&startTime={start * 1000}", x_mbx_time_unit="MICROSECOND")
    assert micros[0]["T"] == hour[0]["T"] * 1000
    old = f"symbol=BTCUSDT&startTime={sim.now - 2 * DAY - 1}"
    message = "Search window is restricted to recent 2 days only."
    assert sim.error("/fapi/v1/aggTrades", old) == (400, -4166, message)
    assert sim.get("/fapi/v1/aggTrades", f"symbol=BTCUSDT&startTime={sim.now - 2 * DAY}").status == 200
    assert sim.error("/fapi/v1/aggTrades", "symbol=BTCUSDT&startTime=2&endTime=1")[1] == -1023


@pytest.mark.parametrize("prefix", PATHS)
def test_order_books(sim: Sim, prefix: str) -> None:
    query = f"symbol={PATHS[prefix]}"
    book = answer(sim, prefix + "depth", query + "&limit=100")
    for _ in range(3):
        for side, best in (("bids", max), ("asks", min)):
            prices = [Decimal(price) for price, _ in book[side]]
            assert len(set(prices)) == 100
            assert prices[0] == best(prices)
            assert sorted(prices, reverse=side == "bids") == prices
            assert all(Decimal(quantity) > 0 for _, quantity in book[side])
        top = answer(sim, prefix + "ticker/bookTicker", query)
        top = top[0] if isinstance(top, list) else top
        assert [book["bids"][0], book["asks"][0]] == [
            [top["bidPrice"], top["bidQty"]],
            [top["askPrice"], top["askQty"]],
        ]
        assert answer(sim, prefix + "depth", query + "&limit=5")["asks"] == book["asks"][:5]
        sim.now += 250
        before, book = book, answer(sim, prefix + "depth", query + "&limit=100")
        assert book["lastUpdateId"] > before["lastUpdateId"]
        assert book["bids"] != before["bids"]
    fields = {"/api/v3/": [], "/fapi/v1/": ["E", "T"], "/dapi/v1/": ["symbol", "pair", "E", "T"]}[prefix]
    assert list(book) == ["lastUpdateId", *fields, "bids", "asks"]


def test_depths(sim: Sim) -> None:
    assert len(answer(sim, "/api/v3/depth", "symbol=BTCUSDT")["bids"]) == 100
    assert len(answer(sim, "/api/v3/depth", "symbol=BTCUSDT&limit=7")["bids"]) == 7
    assert len(answer(sim, "/api/v3/depth", "symbol=BTCUSDT&limit=6000")["bids"]) == 5000
    assert len(answer(sim, "/fapi/v1/depth", "symbol=BTCUSDT")["bids"]) == 500
    assert len(answer(sim, "/fapi/v1/rpiDepth", "symbol=BTCUSDT")["bids"]) == 1000
    assert sim.error("/fapi/v1/depth", "symbol=BTCUSDT&limit=7") == (400, -4021, "7 is not valid depth limit")
    assert sim.error("/fapi/v1/rpiDepth", "symbol=BTCUSDT&limit=500")[1] == -4021
    assert sim.error("/fapi/v1/depth", "symbol=BTCUSDT&limit=1001")[1] == -1130
    halted = json.loads(sim.get("/api/v3/depth", "symbol=OLDUSDT").body)
    assert (halted["bids"], halted["asks"]) == ([], [])
    assert sim.get("/api/v3/depth", "symbol=OLDUSDT&symbolStatus=BREAK").status == 200
    assert sim.error("/api/v3/depth", "symbol=OLDUSDT&symbolStatus=TRADING")[1] == -1220
