"""Market data other than candles: Binance's shapes, the candles' prices, and the same answer to the same question."""

import json
from decimal import Decimal
from typing import Any

import pytest

from mdcache.sim import SimConfig
from mdcache.sim.api.routes import ROUTES
from tests.sim.helpers import DAY, GAP, HOUR, LISTED, MINUTE, T0, Sim, merged

SPOT, USDM, COINM, STATISTICS = "/api/v3/", "/fapi/v1/", "/dapi/v1/", "/futures/data/"
SYMBOLS = {SPOT: "BTCUSDT", USDM: "BTCUSDT", COINM: "BTCUSD_PERP"}
LISTS = tuple(prefix + "ticker/" + name for prefix in SYMBOLS for name in ("24hr", "price", "bookTicker"))
CHANGE = "priceChange priceChangePercent weightedAvgPrice"
PRICES, SUMS = "openPrice highPrice lowPrice", "openTime closeTime firstId lastId count"
TOP = "bidPrice bidQty askPrice askQty"
FUTURES_DAY = f"{CHANGE} lastPrice lastQty {PRICES} volume"
OF_PAIR = "pair=BTCUSD&contractType=PERPETUAL&period=1h"
OF_SYMBOL = "symbol=BTCUSDT&period=1h"
RATIO = "longShortRatio longAccount shortAccount timestamp"


def one(answer: Any) -> dict[str, Any]:
    """The answer, or the first of several."""
    found: dict[str, Any] = answer[0] if isinstance(answer, list) else answer
    return found


def least(path: str) -> str:
    """The parameters that a path needs, for the symbol BTCUSDT or its like."""
    route = ROUTES[path]
    if route.bucket == "statistics":
        return OF_PAIR if route.endpoint in {"takerBuySellVol", "basis", "delivery-price"} else OF_SYMBOL
    plain = {"assetIndex", "convert/exchangeInfo", "fundingInfo", "indexInfo", "system/status", "tradingSchedule"}
    if route.endpoint in plain:
        return ""
    return f"symbol={'BTCUSD_PERP' if route.market == 'coinm' else 'BTCUSDT'}"


PLAIN = {"ping", "time", "exchangeInfo"}
MARKET_DATA = [path for path, route in ROUTES.items() if route.endpoint not in PLAIN and not route.is_klines]


@pytest.mark.parametrize("path", MARKET_DATA)
def test_the_same_moment_has_the_same_answer_and_another_another(path: str) -> None:
    sim, query = Sim(), least(path)
    body = sim.get(path, query).body
    assert sim.get(path, query).body == Sim().get(path, query).body == body
    assert sim.exchange.truth(path, query, at_ms=sim.now) == body
    assert json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode() == body
    constant = {"executionRules", "referencePrice/calculation", "fundingInfo", "delivery-price"}
    constant |= {"convert/exchangeInfo", "system/status"}
    later = Sim(now=sim.now + DAY).get(path, query).body
    assert (later == body) == (ROUTES[path].endpoint in constant)


@pytest.mark.parametrize("name", ["ticker/bookTicker", "depth", "ticker/24hr", "premiumIndex", "fundingRate"])
def test_another_seed_has_other_answers(name: str) -> None:
    sim = Sim()
    other = Sim(config=SimConfig(symbols=sim.config.symbols, seed=2))
    assert sim.get(USDM + name, "symbol=BTCUSDT").body != other.get(USDM + name, "symbol=BTCUSDT").body


@pytest.mark.parametrize(
    ("path", "query", "fields"),
    [
        (SPOT + "ticker/24hr", "symbol=BTCUSDT",
         f"symbol {CHANGE} prevClosePrice lastPrice lastQty {TOP} {PRICES} volume quoteVolume {SUMS}"),
        (SPOT + "ticker", "symbol=BTCUSDT", f"symbol {CHANGE} {PRICES} lastPrice volume quoteVolume {SUMS}"),
        (SPOT + "ticker/24hr", "type=MINI", f"symbol {PRICES} lastPrice volume quoteVolume {SUMS}"),
        (USDM + "ticker/24hr", "", f"symbol {FUTURES_DAY} quoteVolume {SUMS}"),
        (COINM + "ticker/24hr", "", f"symbol pair {FUTURES_DAY} baseVolume {SUMS}"),
        (USDM + "ticker/bookTicker", "symbol=BTCUSDT", f"symbol {TOP} time"),
        (COINM + "ticker/bookTicker", "", f"lastUpdateId symbol pair {TOP} time"),
        (COINM + "ticker/price", "", "symbol ps price time"),
        (SPOT + "avgPrice", "symbol=BTCUSDT", "mins price closeTime"),
        (SPOT + "trades", "symbol=BTCUSDT", "id price qty quoteQty time isBuyerMaker isBestMatch"),
        (USDM + "trades", "symbol=BTCUSDT", "id price qty quoteQty time isBuyerMaker isRPITrade"),
        (COINM + "trades", "symbol=BTCUSD_PERP", "id price qty baseQty time isBuyerMaker"),
        (SPOT + "aggTrades", "symbol=BTCUSDT", "a p q f l T m M"),
        (USDM + "aggTrades", "symbol=BTCUSDT", "a p q f l T m"),
        (SPOT + "depth", "symbol=BTCUSDT", "lastUpdateId bids asks"),
        (USDM + "depth", "symbol=BTCUSDT", "lastUpdateId E T bids asks"),
        (COINM + "depth", "symbol=BTCUSD_PERP", "lastUpdateId symbol pair E T bids asks"),
        (USDM + "openInterest", "symbol=BTCUSDT", "openInterest symbol time"),
        (COINM + "openInterest", "symbol=BTCUSD_PERP", "symbol pair openInterest contractType time"),
        (USDM + "fundingRate", "", "symbol fundingRate fundingTime markPrice"),
        (COINM + "fundingRate", "symbol=BTCUSD_PERP", "symbol fundingTime fundingRate"),
        (SPOT + "referencePrice", "symbol=BTCUSDT", "symbol referencePrice timestamp"),
        (USDM + "constituents", "symbol=BTCUSDT", "symbol time constituents"),
        ("/sapi/v1/system/status", "", "status msg"),
        (USDM + "convert/exchangeInfo", "",
         "fromAsset toAsset fromAssetMinAmount fromAssetMaxAmount toAssetMinAmount toAssetMaxAmount"),
        (STATISTICS + "openInterestHist", OF_SYMBOL,
         "symbol sumOpenInterest sumOpenInterestValue CMCCirculatingSupply timestamp"),
        (STATISTICS + "openInterestHist", OF_PAIR, "pair contractType sumOpenInterest sumOpenInterestValue timestamp"),
        (STATISTICS + "takerlongshortRatio", OF_SYMBOL, "buySellRatio buyVol sellVol timestamp"),
        (STATISTICS + "topLongShortPositionRatio", OF_SYMBOL, f"symbol {RATIO}"),
        (STATISTICS + "topLongShortPositionRatio", "symbol=BTCUSD_PERP&period=1h",
         f"pair {RATIO}".replace("Account", "Position")),
        (STATISTICS + "delivery-price", "pair=BTCUSD", "deliveryTime deliveryPrice"),
    ],
)  # fmt: skip
def test_fields_in_binance_s_order(sim: Sim, path: str, query: str, fields: str) -> None:
    assert list(one(sim.answer(path, query))) == fields.split()


def test_conversions_are_chosen_by_asset(sim: Sim) -> None:
    pairs = {(each["fromAsset"], each["toAsset"]) for each in sim.answer(USDM + "convert/exchangeInfo")}
    assert pairs == {("BTC", "USDT")}
    for query, found in (
        ("fromAsset=BTC", 1),
        ("fromAsset=BTC&toAsset=USDT", 1),
        ("fromAsset=USDT", 0),
        ("toAsset=X", 0),
    ):
        assert len(sim.answer(USDM + "convert/exchangeInfo", query)) == found


@pytest.mark.parametrize("path", LISTS)
def test_one_symbol_is_its_element_of_all(sim: Sim, path: str) -> None:
    for _ in range(3):
        every = sim.answer(path)
        for element in every:
            single = sim.answer(path, f"symbol={element['symbol']}")
            assert single == ([element] if path.startswith(COINM) else element)
        sim.now += 7_001
        assert sim.answer(path) != every


@pytest.mark.parametrize("path", LISTS)
def test_last_prices_are_the_open_candle_s(sim: Sim, path: str) -> None:
    prefix = path[: path.index("ticker")]
    for step in (0, 1, 250, 60_000):
        sim.now += step
        ticker = one(sim.answer(path, f"symbol={SYMBOLS[prefix]}"))
        (row,) = sim.rows(f"symbol={SYMBOLS[prefix]}&interval=1m&limit=1", prefix + "klines")
        if path.endswith("bookTicker"):
            assert row[4] in {ticker["bidPrice"], ticker["askPrice"]}
            assert Decimal(ticker["bidPrice"]) < Decimal(ticker["askPrice"])
        else:
            assert ticker.get("lastPrice", ticker.get("price")) == row[4]


@pytest.mark.parametrize("symbol", ["BTCUSDT", "QUIETUSDT"])
def test_the_last_24_hours_are_a_merge_of_candles(sim: Sim, symbol: str) -> None:
    sim.now = T0 + 7 * HOUR + 59_999
    ticker = sim.answer(SPOT + "ticker/24hr", f"symbol={symbol}")
    rows = [row for row in sim.parts(symbol, "1m", sim.now + 1 - DAY, sim.now + 1) if row[0] > sim.now - DAY]
    open_, high, low, close, volume, turnover, trades, *_ = merged(rows)
    assert (ticker["openPrice"], ticker["highPrice"], ticker["lowPrice"]) == (open_, high, low)
    assert (ticker["lastPrice"], ticker["volume"], ticker["quoteVolume"]) == (close, volume, turnover)
    assert ticker["count"] == trades
    assert abs(Decimal(ticker["weightedAvgPrice"]) * Decimal(volume) - Decimal(turnover)) < Decimal("0.1")


def test_the_stretches_of_tickers(sim: Sim) -> None:
    for size, length in (("1m", MINUTE), ("59m", 59 * MINUTE), ("23h", 23 * HOUR), ("7d", 7 * DAY)):
        ticker = sim.answer(SPOT + "ticker", f"symbol=BTCUSDT&windowSize={size}")
        assert (ticker["openTime"], ticker["closeTime"]) == ((sim.now - length) // MINUTE * MINUTE, sim.now)
    day = sim.answer(SPOT + "ticker/tradingDay", "symbol=BTCUSDT&timeZone=8")
    (row,) = sim.rows("symbol=BTCUSDT&interval=1d&limit=1&timeZone=8")
    assert [day["openTime"], day["openPrice"], day["closeTime"], day["quoteVolume"]] == [*row[:2], *row[6:8]]
    assert sim.answer(USDM + "ticker/24hr", "symbol=BTCUSDT")["openTime"] == (sim.now - DAY) // MINUTE * MINUTE
    for path in ("ticker/24hr", "ticker", "ticker/tradingDay"):
        plain = sim.answer(SPOT + path, "symbol=BTCUSDT")
        micros = sim.answer(SPOT + path, "symbol=BTCUSDT", x_mbx_time_unit="MICROSECOND")
        assert (micros["openTime"], micros["closeTime"] // 1000) == (plain["openTime"] * 1000, plain["closeTime"])


def test_symbols_that_do_not_trade(sim: Sim) -> None:
    halted = sim.answer(SPOT + "ticker/24hr", "symbol=OLDUSDT")
    assert (halted["count"], halted["firstId"], halted["lastId"], halted["volume"]) == (0, -1, -1, "0.00000000")
    assert halted["lastPrice"] == sim.answer(SPOT + "ticker/price", "symbol=OLDUSDT")["price"] != "0.00000000"
    assert sim.answer(SPOT + "ticker/bookTicker", "symbol=OLDUSDT")["askPrice"] == "0.00000000"
    assert sim.answer(SPOT + "depth", "symbol=OLDUSDT")["bids"] == []
    assert sim.answer(SPOT + "referencePrice", "symbol=OLDUSDT")["referencePrice"] is None
    assert sim.answer(SPOT + "trades", "symbol=OLDUSDT")[-1]["time"] < T0 - 19 * DAY
    sim.now = T0
    coming = sim.answer(SPOT + "ticker/24hr", "symbol=NEWUSDT")
    assert (coming["lastPrice"], coming["count"], coming["closeTime"]) == ("0.00000000", 0, T0)
    assert sim.answer(SPOT + "trades", "symbol=NEWUSDT") == []


def test_lists_of_symbols_and_statuses(sim: Sim) -> None:
    def names(query: str, path: str = SPOT + "ticker/price") -> list[str]:
        found = sim.answer(path, query)
        return [each["symbol"] for each in (found if isinstance(found, list) else found["symbolRules"])]

    assert names('symbols=["QUIETUSDT","BTCUSDT"]') == ["QUIETUSDT", "BTCUSDT"]
    assert names("symbols=%5B%22BTCUSDT%22%2C%22OLDUSDT%22%5D", SPOT + "ticker") == ["BTCUSDT", "OLDUSDT"]
    assert names("symbolStatus=BREAK") == names("symbolStatus=BREAK", SPOT + "executionRules") == ["OLDUSDT"]
    assert names('symbols=["BTCUSDT","OLDUSDT"]&symbolStatus=TRADING') == ["BTCUSDT"]
    assert names("symbol=BTCUSDT", SPOT + "executionRules") == ["BTCUSDT"]
    assert names("", USDM + "ticker/price") == names("", USDM + "premiumIndex") == ["BTCUSDT", "BTCUSDT_231229"]
    assert names("pair=BTCUSD", COINM + "ticker/24hr") == ["BTCUSD_PERP"]
    assert names("symbol=NOPE", USDM + "fundingInfo") == ["BTCUSDT"]
    assert names("", USDM + "assetIndex") == ["BTCUSD"]


@pytest.mark.parametrize("prefix", SYMBOLS)
def test_trades(sim: Sim, prefix: str) -> None:
    query = f"symbol={SYMBOLS[prefix]}"
    newest = sim.answer(prefix + "trades", query)
    assert len(newest) == 500
    numbers, times = ([trade[name] for trade in newest] for name in ("id", "time"))
    assert numbers == list(range(numbers[0], numbers[0] + 500))
    assert times == sorted(times)
    assert newest[-3:] == sim.answer(prefix + "trades", query + "&limit=3")
    aggregates = sim.answer(prefix + "aggTrades", f"{query}&fromId={numbers[7]}&limit=5")
    assert [(each["a"], each["T"], each["p"]) for each in aggregates] == [
        (trade["id"], trade["time"], trade["price"]) for trade in newest[7:12]
    ]
    sim.now += 5_000
    later = sim.answer(prefix + "trades", query + "&limit=1000")
    assert newest[-1] in later
    assert later[-1]["id"] > newest[-1]["id"]
    window = f"{query}&startTime={times[3]}&endTime={times[9]}"
    assert times[3] <= sim.answer(prefix + "aggTrades", window)[0]["T"]
    assert sim.answer(prefix + "aggTrades", window)[-1]["T"] <= times[9]


def test_an_outage_has_no_trades(sim: Sim) -> None:
    path = SPOT + "aggTrades"
    assert sim.answer(path, f"symbol=BTCUSDT&startTime={GAP.start_ms}&endTime={GAP.end_ms - 1}") == []
    after = sim.answer(path, f"symbol=BTCUSDT&startTime={GAP.start_ms}&limit=1")[0]
    before = sim.answer(path, f"symbol=BTCUSDT&endTime={GAP.end_ms - 1}&limit=1")[0]
    assert before["T"] < GAP.start_ms < GAP.end_ms <= after["T"]
    assert sim.answer(path, f"symbol=BTCUSDT&fromId={before['a'] + 1}&limit=1") == [after]


@pytest.mark.parametrize("prefix", SYMBOLS)
def test_order_books(sim: Sim, prefix: str) -> None:
    query = f"symbol={SYMBOLS[prefix]}"
    book = sim.answer(prefix + "depth", query + "&limit=100")
    for side, best in (("bids", max), ("asks", min)):
        prices = [Decimal(price) for price, _ in book[side]]
        assert len(set(prices)) == 100
        assert prices == sorted(prices, reverse=side == "bids")
        assert prices[0] == best(prices)
        assert all(Decimal(quantity) > 0 for _, quantity in book[side])
    top = one(sim.answer(prefix + "ticker/bookTicker", query))
    assert book["bids"][0] + book["asks"][0] == [top[name] for name in TOP.split()]
    assert sim.answer(prefix + "depth", query + "&limit=5")["asks"] == book["asks"][:5]
    sim.now += 250
    assert sim.answer(prefix + "depth", query + "&limit=100")["lastUpdateId"] == book["lastUpdateId"] + 1


def test_depths(sim: Sim) -> None:
    for path, query, levels in (
        (SPOT + "depth", "", 100), (SPOT + "depth", "&limit=7", 7), (SPOT + "depth", "&limit=6000", 5000),
        (USDM + "depth", "", 500), (USDM + "rpiDepth", "", 1000),
    ):  # fmt: skip
        assert len(sim.answer(path, "symbol=BTCUSDT" + query)["bids"]) == levels


def test_mark_and_index_prices_are_the_klines(sim: Sim) -> None:
    for path, symbol, pair in ((USDM, "BTCUSDT", "BTCUSDT"), (COINM, "BTCUSD_PERP", "BTCUSD")):
        premium = one(sim.answer(path + "premiumIndex", f"symbol={symbol}"))
        assert premium["markPrice"] == sim.rows(f"symbol={symbol}&interval=1m&limit=1", path + "markPriceKlines")[0][4]
        assert premium["indexPrice"] == sim.rows(f"pair={pair}&interval=1m&limit=1", path + "indexPriceKlines")[0][4]
        assert (premium["nextFundingTime"], premium["time"]) == (T0 + 8 * HOUR, sim.now)
    quarter = sim.answer(USDM + "premiumIndex", "symbol=BTCUSDT_231229")
    assert (quarter["lastFundingRate"], quarter["nextFundingTime"]) == ("0.00000000", 0)


def test_funding(sim: Sim) -> None:
    path = USDM + "fundingRate"
    every = sim.answer(path, "symbol=BTCUSDT&startTime=0&limit=1000")
    assert [each["fundingTime"] for each in every] == list(
        range(-(-LISTED // (8 * HOUR)) * 8 * HOUR, sim.now, 8 * HOUR)
    )
    assert sim.answer(path, "symbol=BTCUSDT") == sim.answer(path) == every[-100:]
    window = f"symbol=BTCUSDT&startTime={every[3]['fundingTime']}&endTime={every[6]['fundingTime']}"
    assert sim.answer(path, window) == every[3:7]
    assert sim.answer(path, window + "&limit=2") == every[3:5]
    assert sim.answer(path, "symbol=BTCUSDT_231229") == []
    assert every[-1]["fundingRate"] == sim.answer(USDM + "premiumIndex", "symbol=BTCUSDT")["lastFundingRate"]


@pytest.mark.parametrize("name", ["openInterestHist", "takerlongshortRatio", "globalLongShortAccountRatio"])
def test_statistics_stand_on_their_period(sim: Sim, name: str) -> None:
    path, query = STATISTICS + name, "symbol=BTCUSDT&period=15m"
    rows = sim.answer(path, query)
    times = [row["timestamp"] for row in rows]
    assert times == list(range(T0 - 15 * MINUTE, T0 + 7 * HOUR + 1, 15 * MINUTE))
    assert sim.answer(path, f"{query}&startTime={times[4]}&endTime={times[9]}") == rows[4:10]
    assert sim.answer(path, f"{query}&startTime={times[4]}&limit=2") == rows[4:6]
    assert sim.answer(path, f"{query}&endTime={times[9]}&limit=2") == rows[8:10]
    assert sim.answer(path, "symbol=BTCUSDT&period=1d&limit=500")[0]["timestamp"] == T0 - 29 * DAY


def test_statistics_by_pair_and_symbol(sim: Sim) -> None:
    path = STATISTICS + "globalLongShortAccountRatio"
    pair = sim.answer(path, "pair=BTCUSD&period=4h")
    assert pair == sim.answer(path, "symbol=BTCUSD&period=4h") == sim.answer(path, "symbol=BTCUSD_PERP&period=4h")
    assert sim.answer(STATISTICS + "basis", "pair=BTCUSD&contractType=NEXT_QUARTER&period=5m") == []
    assert sim.answer(STATISTICS + "openInterestHist", "pair=BTCUSD&contractType=ALL&period=5m")
    deliveries = [each["deliveryTime"] for each in sim.answer(STATISTICS + "delivery-price", "pair=BTCUSD")]
    assert deliveries == sorted(deliveries, reverse=True) != []
