"""Streams of trades, books, tickers and prices: they agree with candles, with REST and with each other."""

import json
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from tests.sim.helpers import MINUTE, SECOND, T0, Sim
from tests.sim.stream_listener import Listener

START = T0 + 7 * 3_600_000 - 20 * SECOND
REST = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}
SYMBOLS = {"spot": "BTCUSDT", "usdm": "BTCUSDT", "coinm": "BTCUSD_PERP"}
MARKET = {"spot": "/ws", "usdm": "/usdm/market/ws", "coinm": "/coinm/ws"}
PUBLIC = {"spot": "/ws", "usdm": "/usdm/public/ws", "coinm": "/coinm/ws"}
FIELDS = {
    ("spot", "trade"): "e E s t p q T m M",
    ("coinm", "trade"): "e E T s t p q X m st",
    ("spot", "aggTrade"): "e E s a p q f l T m M",
    ("usdm", "aggTrade"): "e E a s p q nq f l T m st",
    ("coinm", "aggTrade"): "e E a s p q f l T m st",
    ("spot", "miniTicker"): "e E s c o h l v q",
    ("usdm", "miniTicker"): "e E s c o h l v q ps st",
    ("spot", "ticker"): "e E s p P w x c Q b B a A o h l v q O C F L n",
    ("usdm", "ticker"): "e E s p P w c Q o h l v q O C F L n ps st",
    ("coinm", "ticker"): "e E s p P w c Q o h l v q O C F L n ps st",
    ("spot", "ticker_1h"): "e E s p P o h l c w v q O C F L n",
    ("spot", "avgPrice"): "e E s i w T",
    ("usdm", "markPrice@1s"): "e E s p ap P i r T st",
    ("coinm", "markPrice@1s"): "e E s p P i r T st",
}
PUBLIC_FIELDS = {
    ("usdm", "trade"): "e E T s t p q X m st",
    ("spot", "depth@100ms"): "e E s U u b a",
    ("usdm", "depth@100ms"): "e E T s U u pu b a ps st",
    ("coinm", "depth"): "e E T s ps U u pu b a st",
    ("spot", "depth5"): "lastUpdateId bids asks",
    ("usdm", "depth10"): "e E T s U u pu b a ps st",
    ("spot", "bookTicker"): "u s b B a A",
    ("usdm", "bookTicker"): "e u E T s ps b B a A st",
    ("coinm", "bookTicker"): "e u s b B a A T E ps st",
}


@pytest.fixture
def sim() -> Sim:
    return Sim(now=START)


def listen(sim: Sim, market: str, kind: str, seconds: float, paths: dict[str, str] | None = None) -> list[Any]:
    topic = f"{SYMBOLS[market].lower()}@{kind}"
    return Listener(sim, f"{(paths or MARKET)[market]}/{topic}").listen(seconds).events


def at(sim: Sim, market: str, endpoint: str, at_ms: int, more: str = "") -> Any:
    """What REST answers about the market's symbol at a moment."""
    body = sim.exchange.truth(REST[market] + endpoint, f"symbol={SYMBOLS[market]}{more}", at_ms=at_ms)
    found = json.loads(body)
    return found[0] if market == "coinm" and isinstance(found, list) else found


@pytest.mark.parametrize(("market", "kind"), FIELDS)
def test_fields_are_binance_s_in_their_order(sim: Sim, market: str, kind: str) -> None:
    events = listen(sim, market, kind, 10)
    assert {" ".join(event) for event in events} == {FIELDS[market, kind]}


@pytest.mark.parametrize(("market", "kind"), PUBLIC_FIELDS)
def test_fields_on_the_public_route_are_binance_s_in_their_order(sim: Sim, market: str, kind: str) -> None:
    events = listen(sim, market, kind, 10, PUBLIC)
    assert {" ".join(event) for event in events} == {PUBLIC_FIELDS[market, kind]}


# ----------------------------------------------------------------------------------------------- trades


def candle_of(trades: Iterable[dict[str, Any]]) -> list[Any]:
    prices = [Decimal(trade["p"]) for trade in trades]
    volume = sum(Decimal(trade["q"]) for trade in trades)
    return [prices[0], max(prices), min(prices), prices[-1], volume, len(prices)]


@pytest.mark.parametrize("market", MARKET)
@pytest.mark.parametrize(("kind", "number"), [("trade", "t"), ("aggTrade", "a")])
def test_trades_add_up_to_the_candles(sim: Sim, market: str, kind: str, number: str) -> None:
    trades = listen(sim, market, kind, 2 * 60 + 21, PUBLIC if kind == "trade" else MARKET)
    numbers = [trade[number] for trade in trades]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert all(trade["T"] <= trade["E"] < trade["T"] + 250 for trade in trades)
    row: list[Any] = []
    of_it: list[dict[str, Any]] = []
    for open_ms in (START + 20 * SECOND, START + 80 * SECOND):
        row = at(sim, market, "klines", sim.now, f"&interval=1m&startTime={open_ms}&endTime={open_ms}")
        row = row if market == "coinm" else row[0]
        of_it = [trade for trade in trades if open_ms <= trade["T"] < open_ms + MINUTE]
        assert candle_of(of_it) == [*map(Decimal, row[1:6]), row[8]]
    whole = Decimal(row[5])
    bought = sum(Decimal(trade["q"]) for trade in of_it if not trade["m"])
    assert abs(bought - Decimal(row[9])) < whole / 20, "a trade that is both sides' counts as one side's"


def test_trades_have_the_numbers_of_candle_streams(sim: Sim) -> None:
    events = Listener(sim, "/ws/btcusdt@trade/btcusdt@kline_1m").listen(90).events
    final = next(event["k"] for event in events if event["e"] == "kline" and event["k"]["x"])
    later = [event["t"] for event in events if event["e"] == "trade" and event["T"] > final["T"]]
    assert later[0] == final["L"] + 1


def test_microseconds_are_printed(sim: Sim) -> None:
    query = "streams=btcusdt@trade/btcusdt@depth/btcusdt@ticker/btcusdt@miniTicker&timeUnit=MICROSECOND"
    events = [event["data"] for event in Listener(sim, "/stream", query).listen(5).events]
    assert {event["e"] for event in events} == {"trade", "depthUpdate", "24hrTicker", "24hrMiniTicker"}
    assert all(event["E"] > START * 1000 for event in events)
    assert all(event[name] > 10**15 for event in events for name in ("T", "O", "C") if name in event)


def test_liquidations_are_rare_and_of_both_futures_markets(sim: Sim) -> None:
    own = listen(sim, "usdm", "forceOrder", 15 * 60)
    assert 1 < len(own) < 30
    assert {" ".join(event) for event in own} == {"e E o ps st"}
    assert {" ".join(event["o"]) for event in own} == {"s S o f q p ap X l z T"}
    everybody = Listener(sim, "/coinm/ws/!forceOrder@arr").listen(30 * 60).events
    assert {(event["o"]["s"], event["st"]) for event in everybody} >= {("BTCUSDT", 1), ("BTCUSD_PERP", 2)}
    assert {"ps" in event["o"] for event in everybody if event["st"] == 2} == {True}


# ------------------------------------------------------------------------------------------------ books


def apply(book: dict[str, dict[str, str]], event: dict[str, Any]) -> None:
    for side in ("b", "a"):
        for price, quantity in event[side]:
            if Decimal(quantity):
                book[side][price] = quantity
            else:
                assert book[side].pop(price, None), "only what stood there goes"


def top(book: dict[str, dict[str, str]], count: int) -> dict[str, list[list[str]]]:
    return {
        side: [[price, book[side][price]] for price in sorted(book[side], key=Decimal, reverse=side == "b")[:count]]
        for side in ("b", "a")
    }


@pytest.mark.parametrize(
    ("market", "kind"),
    [("spot", "depth"), ("spot", "depth@100ms"), ("usdm", "depth"), ("usdm", "depth@500ms"), ("coinm", "depth@100ms")],
)
def test_a_local_book_stays_the_exchange_s(sim: Sim, market: str, kind: str) -> None:
    """Kept as Binance's page says: buffer, take REST's book, drop what is older, apply what follows."""
    listener = Listener(sim, f"{PUBLIC[market]}/{SYMBOLS[market].lower()}@{kind}").listen(3)
    snapshot = at(sim, market, "depth", sim.now, "&limit=1000")
    events = listener.listen(40).events
    known = snapshot["lastUpdateId"]
    for one, following in pairwise(events):
        assert following["U"] == one["u"] + 1
        assert following.get("pu", one["u"]) == one["u"]
    book = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}
    later = [event for event in events if event["u"] > known]
    if market == "spot":
        assert later[0]["U"] <= known + 1 <= later[0]["u"]
    else:
        assert any(event["U"] <= known <= event["u"] for event in events)
    checked = 0
    for event in later:
        if event["U"] <= known:  # begun before REST's book: what it says of it may have gone already
            for side in ("b", "a"):
                book[side] |= {price: quantity for price, quantity in event[side] if Decimal(quantity)}
                for price, quantity in event[side]:
                    if not Decimal(quantity):
                        book[side].pop(price, None)
        else:
            apply(book, event)
        rest = at(sim, market, "depth", event["E"], "&limit=50")
        assert rest["lastUpdateId"] == event["u"]
        assert top(book, 50) == {"b": rest["bids"], "a": rest["asks"]}
        checked += 1
    assert checked >= 35


@pytest.mark.parametrize("market", MARKET)
def test_best_levels_are_the_book_s(sim: Sim, market: str) -> None:
    partial = listen(sim, market, "depth20@100ms", 20, PUBLIC)
    newest = at(sim, market, "depth", sim.now)["lastUpdateId"]
    assert len(partial) == 80, "only when the book has changed"
    for event in partial:
        number = event.get("lastUpdateId", event.get("u"))
        rest = at(sim, market, "depth", sim.now - (newest - number) * 250, "&limit=20")
        assert number == rest["lastUpdateId"]
        assert (event.get("b") or event["bids"], event.get("a") or event["asks"]) == (rest["bids"], rest["asks"])


@pytest.mark.parametrize("market", MARKET)
def test_the_best_price_is_told_when_it_changes(sim: Sim, market: str) -> None:
    events = listen(sim, market, "bookTicker", 30.1, PUBLIC)
    assert len(events) > 20
    numbers = [event["u"] for event in events]
    assert numbers == sorted(set(numbers))
    levels = [[event[name] for name in "bBaA"] for event in events]
    assert all(one != following for one, following in pairwise(levels))
    rest = at(sim, market, "ticker/bookTicker", sim.now)
    assert levels[-1] == [rest[name] for name in ("bidPrice", "bidQty", "askPrice", "askQty")]


def test_a_halted_symbol_s_book_says_nothing_and_its_numbers_leave_a_gap(sim: Sim) -> None:
    listener = Listener(sim, "/ws/btcusdt@depth@100ms").listen(5)
    sim.control.halt("spot", "BTCUSDT")
    sim.now += SECOND
    told = len(listener.texts)
    assert len(listener.listen(10).texts) == told
    sim.control.relist("spot", "BTCUSDT")
    events = listener.listen(5).events
    assert len(events) > told
    assert events[told]["U"] > events[told - 1]["u"] + 1


@pytest.mark.parametrize("topic", ["kline_1m", "trade"])
def test_an_event_from_before_a_halt_that_is_taken_after_it_keeps_nothing_trading(sim: Sim, topic: str) -> None:
    listener = Listener(sim, f"/ws/btcusdt@{topic}").listen(5)
    sim.now += 900  # what is due is taken late
    halted = sim.now
    sim.control.halt("spot", "BTCUSDT")
    told = listener.listen(50).events
    assert told[-1]["E"] > halted - 2 * SECOND
    after = [event for event in told if event["E"] > halted]
    assert all(event["T"] <= halted if topic == "trade" else event["k"]["n"] == told[-1]["k"]["n"] for event in after)
    assert len(after) <= 20


# --------------------------------------------------------------------------------------------- the rest


def test_tickers_are_those_of_rest(sim: Sim) -> None:
    for market in MARKET:
        event = listen(sim, market, "ticker", 5)[-1]
        rest = at(sim, market, "ticker/24hr", event["E"])
        names = {
            "p": "priceChange", "P": "priceChangePercent", "w": "weightedAvgPrice", "c": "lastPrice", "o": "openPrice",
            "h": "highPrice", "l": "lowPrice", "v": "volume", "O": "openTime", "C": "closeTime", "n": "count",
        }  # fmt: skip
        assert {short: event[short] for short in names} == {short: rest[name] for short, name in names.items()}
        assert event["L"] - event["F"] + 1 == event["n"]


def test_windows_and_averages_are_those_of_rest(sim: Sim) -> None:
    hour = listen(sim, "spot", "ticker_1h", 5)[-1]
    rest = at(sim, "spot", "ticker", hour["E"], "&windowSize=1h")
    assert [hour[name] for name in "ohlcvqOn"] == [
        rest[name]
        for name in ("openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "openTime", "count")
    ]
    mean = listen(sim, "spot", "avgPrice", 5)[-1]
    assert mean["w"] == at(sim, "spot", "avgPrice", mean["E"])["price"]


@pytest.mark.parametrize("market", ["usdm", "coinm"])
def test_mark_prices_are_those_of_rest(sim: Sim, market: str) -> None:
    slow, events = listen(sim, market, "markPrice", 12), listen(sim, market, "markPrice@1s", 12)
    for told, gap in ((slow, 3_000), (events, 1_000)):
        assert {following["E"] - one["E"] for one, following in pairwise(told)} == {gap}
    rest = at(sim, market, "premiumIndex", events[-1]["E"])
    assert [events[-1][name] for name in "pirT"] == [
        rest[name] for name in ("markPrice", "indexPrice", "lastFundingRate", "nextFundingTime")
    ]


def test_arrays_name_all_that_traded(sim: Sim) -> None:
    for path, symbols in (
        ("/usdm/market/ws/!ticker@arr", {"BTCUSDT", "BTCUSDT_231229", "BTCUSD_PERP"}),
        ("/coinm/ws/!ticker@arr", {"BTCUSDT", "BTCUSDT_231229", "BTCUSD_PERP"}),
        ("/usdm/market/ws/!markPrice@arr@1s", {"BTCUSDT", "BTCUSDT_231229"}),
        ("/coinm/ws/btcusd@markPrice", {"BTCUSD_PERP"}),
        ("/ws/!ticker_4h@arr", {"BTCUSDT", "币安人生USDT"}),
    ):
        events = Listener(sim, path).listen(10).events
        assert {one["s"] for event in events for one in event} >= symbols
        assert all(one["s"] != "OLDUSDT" for event in events for one in event)
    (event, *_) = Listener(sim, "/coinm/ws/btcusd@indexPrice@1s").listen(3).events
    assert " ".join(event) == "e E i p"


def test_a_quiet_symbol_s_ticker_is_quiet(sim: Sim) -> None:
    events = Listener(sim, "/ws/quietusdt@ticker/quietusdt@trade").listen(20 * 60).events
    kinds = [event["e"] for event in events]
    assert 0 < kinds.count("24hrTicker") <= kinds.count("trade") < 30


@pytest.mark.parametrize(
    ("path", "topics"),
    [
        ("/ws", "BTCUSDT@trade nosuch@trade btcusdt@depth7 btcusdt@depth@250ms btcusdt@markPrice btcusdt@forceOrder"),
        ("/ws", "!ticker@arr !miniTicker !bookTicker btcusdt@trade@100ms btcusdt@trade5 btcusdt@ticker_2h"),
        ("/usdm/ws", "btcusdt@aggTrade btcusdt@markPrice !ticker@arr btcusdt@kline_1m"),
        ("/usdm/public/ws", "btcusdt@kline_1m btcusdt@aggTrade btcusdt@markPrice !miniTicker@arr btcusdt@forceOrder"),
        ("/usdm/market/ws", "btcusdt@depth btcusdt@depth5@100ms btcusdt@bookTicker !bookTicker btcusdt@trade"),
        ("/usdm/private/ws", "btcusdt@depth btcusdt@trade"),
        ("/coinm/market/ws", "btcusd_perp@depth btcusd_perp@bookTicker"),
        ("/coinm/ws", "btcusd@trade btcusdt@avgPrice btcusd_perp@indexPrice"),
    ],
)
def test_a_topic_that_a_path_has_not_is_silent(sim: Sim, path: str, topics: str) -> None:
    listener = Listener(sim, path)
    listener.subscribe(*topics.split())
    assert listener.listen(15).texts == []


def test_books_and_trades_are_on_the_public_path_and_without_a_route(sim: Sim) -> None:
    for path in ("/usdm/ws", "/usdm/public/ws", "/public/ws", "/coinm/public/ws"):
        symbol = "btcusd_perp" if path.startswith("/coinm") else "btcusdt"
        listener = Listener(sim, path)
        listener.subscribe(*(f"{symbol}@{kind}" for kind in ("depth@100ms", "depth5", "bookTicker", "trade")))
        events = listener.listen(5).events
        assert len(events) > 40
        assert {event["e"] for event in events} == {"depthUpdate", "bookTicker", "trade"}


def test_raw_frames_have_a_path_that_ccxt_takes_for_spot_s(sim: Sim) -> None:
    listener = Listener(sim, "/stream/ws/0")
    listener.subscribe("btcusdt@trade")
    assert {event["e"] for event in listener.listen(3).events} == {"trade"}


@pytest.mark.parametrize("kind", ["trade", "depth@100ms", "bookTicker", "miniTicker"])
def test_all_listeners_get_the_same(sim: Sim, kind: str) -> None:
    first = Listener(sim, f"/ws/btcusdt@{kind}").listen(7.3)
    second = Listener(sim, f"/ws/btcusdt@{kind}")
    before, start = len(first.texts), sim.now
    first.listen(10)
    sim.now = start
    assert second.listen(10).texts == first.texts[before:]
    assert second.texts


def test_nothing_is_lost_by_who_comes_late_but_a_leap_of_the_clock_begins_anew(sim: Sim) -> None:
    prompt, late = Listener(sim, "/ws/btcusdt@trade"), Listener(sim, "/ws/btcusdt@trade")
    prompt.listen(40)
    assert late.listen(0).texts == prompt.texts
    sim.now += 3_600_000
    numbers = [event["t"] for event in prompt.listen(0).events]
    assert numbers == sorted(set(numbers))
    assert len(numbers) < 100 * 60


def test_faults_are_of_these_topics_too(sim: Sim) -> None:
    sim.control.stream_fault("silent", topic="btcusdt@trade")
    events = Listener(sim, "/stream", "streams=btcusdt@trade/btcusdt@depth").listen(5).events
    assert {event["stream"] for event in events} == {"btcusdt@depth"}
    sim.control.clear_stream_faults()
    sim.control.stream_fault("stuck", topic="@bookTicker")
    assert len({json.dumps(event) for event in listen(sim, "spot", "bookTicker", 10)}) == 1
    sim.control.stream_fault("late", topic="@aggTrade", delay_s=8)
    late = listen(sim, "usdm", "aggTrade", 20)
    assert late
    assert max(event["E"] for event in late) <= sim.now - 8_000
