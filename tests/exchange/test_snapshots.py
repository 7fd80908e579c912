"""Questions other than klines: each in one form, or refused as Binance would (docs/binance.md#query-rules)."""

from urllib.parse import quote

import pytest

from mdcache.errors import Refusal
from mdcache.exchange.snapshots import SnapshotQuestion, parse_forwarded, parse_snapshot

SPOT_24H, USDM_24H, COINM_PRICE = "/api/v3/ticker/24hr", "/fapi/v1/ticker/24hr", "/dapi/v1/ticker/price"
DEPTH = "/api/v3/depth"


def parse(path: str, query: str, time_unit: str | None = None) -> SnapshotQuestion:
    return parse_snapshot(path, query, time_unit)


@pytest.mark.parametrize(
    ("path", "queries"),
    [
        (DEPTH, ["symbol=BTCUSDT", "symbol=BTCUSDT&limit=100", "limit=0100&symbol=BTCUSDT", "symbol=%42TCUSDT"]),
        (DEPTH, ["symbol=BTCUSDT&limit=5000", "symbol=BTCUSDT&limit=9999"]),  # cut at the largest
        (USDM_24H, ["symbol=BTCUSDT", "symbol=btcusdt", "symbol=BTCUSDT&unknown=1"]),
        (SPOT_24H, ["type=FULL", ""]),
        (
            SPOT_24H,
            ['symbols=["BTCUSDT","ETHUSDT"]', "symbols=" + quote('[ "BTCUSDT", "ETHUSDT" ]')],
        ),
        ("/api/v3/ticker/tradingDay", ["symbol=BTCUSDT&timeZone=0", "symbol=BTCUSDT&timeZone=%2B0:00"]),
    ],
)
def test_requests_that_mean_the_same_are_one_question(path: str, queries: list[str]) -> None:
    assert len({parse(path, query) for query in queries}) == 1


def test_the_order_of_named_symbols_is_kept_for_it_is_the_answers_order() -> None:
    assert parse(SPOT_24H, 'symbols=["A1","B1"]') != parse(SPOT_24H, 'symbols=["B1","A1"]')


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        (DEPTH, "", -1102),
        (DEPTH, "symbol=BTCUSDT&limit=0", -1130),
        (DEPTH, "symbol=BTCUSDT&limit=x", -1100),
        (DEPTH, "symbol=btcusdt", -1100),
        (DEPTH, "symbol=BTCUSDT&sybol=1", -1104),
        (DEPTH, "symbol=BTCUSDT&symbol=ETHUSDT", -1101),
        (DEPTH, "symbol=", -1105),
        ("/fapi/v1/depth", "symbol=BTCUSDT&limit=7", -4021),
        ("/fapi/v1/aggTrades", "symbol=BTCUSDT&limit=1001", -1130),
        (SPOT_24H, 'symbol=BTCUSDT&symbols=["BTCUSDT"]', -1128),
        (SPOT_24H, "symbols=BTCUSDT", -1135),
        (SPOT_24H, "symbols=[]", -1135),
        (SPOT_24H, 'symbols=["A1","A1"]', -1151),
        (SPOT_24H, "type=HALF", -1139),
        ("/api/v3/ticker", "", -1102),  # one of symbol and symbols is needed
        ("/api/v3/ticker", f"symbols=[{','.join(f'%22A{n}%22' for n in range(101))}]", -1102),
        ("/api/v3/ticker/tradingDay", "symbol=BTCUSDT&timeZone=15", -1130),
        (COINM_PRICE, "symbol=BTCUSD_PERP&pair=BTCUSD", -1128),
    ],
)
def test_what_binance_refuses_is_refused_alike(path: str, query: str, code: int) -> None:
    with pytest.raises(Refusal) as caught:
        parse(path, query)
    assert (caught.value.status, caught.value.code) == (400, code)


@pytest.mark.parametrize(
    ("path", "query", "weight"),
    [
        (DEPTH, "symbol=BTCUSDT", 5),
        (DEPTH, "symbol=BTCUSDT&limit=101", 25),
        (DEPTH, "symbol=BTCUSDT&limit=5000", 250),
        (SPOT_24H, "symbol=BTCUSDT", 2),
        (SPOT_24H, "", 80),
        (SPOT_24H, f"symbols=[{','.join(f'%22A{n}%22' for n in range(21))}]", 40),
        (USDM_24H, "symbol=BTCUSDT", 1),
        (USDM_24H, "", 40),
        ("/api/v3/ticker/price", "symbol=BTCUSDT", 2),
        ("/api/v3/ticker/price", 'symbols=["BTCUSDT"]', 4),  # a list of one costs what all cost
        ("/api/v3/ticker", 'symbols=["BTCUSDT","ETHUSDT"]', 8),
        ("/fapi/v1/fundingRate", "", 0),  # counted by requests
    ],
)
def test_a_question_weighs_what_the_documents_say(path: str, query: str, weight: int) -> None:
    assert parse(path, query).weight == weight


@pytest.mark.parametrize(
    ("path", "query", "listed"),
    [
        (SPOT_24H, "symbol=BTCUSDT&type=MINI", "/api/v3/ticker/24hr?type=MINI"),
        (USDM_24H, "symbol=BTCUSDT", "/fapi/v1/ticker/24hr?"),
        (COINM_PRICE, "pair=BTCUSD", "/dapi/v1/ticker/price?"),
        (SPOT_24H, "", None),  # it is the list
        (DEPTH, "symbol=BTCUSDT", None),
    ],
)
def test_the_list_of_which_an_answer_is_an_element(path: str, query: str, listed: str | None) -> None:
    found = parse(path, query).list_question()
    assert (None if found is None else str(found)) == listed


@pytest.mark.parametrize(
    ("query", "market"),
    [
        ("symbol=BTCUSDT&period=5m", "usdm"),
        ("pair=BTCUSD&contractType=ALL&period=5m", "coinm"),
    ],
)
def test_both_futures_markets_share_a_path(query: str, market: str) -> None:
    assert parse("/futures/data/openInterestHist", query).market == market


def test_times_in_microseconds_are_another_question() -> None:
    plain, micros = parse(DEPTH, "symbol=BTCUSDT"), parse(DEPTH, "symbol=BTCUSDT", "microsecond")
    assert plain != micros
    assert micros.headers == (("X-MBX-TIME-UNIT", "MICROSECOND"),)
    with pytest.raises(Refusal):
        parse(DEPTH, "symbol=BTCUSDT", "NANOSECOND")
    assert parse("/fapi/v1/depth", "symbol=BTCUSDT", "anything").headers == ()  # futures ignore it


def test_a_forwarded_question_keeps_what_was_sent() -> None:
    endpoint = parse(DEPTH, "symbol=BTCUSDT").endpoint
    assert parse_forwarded(endpoint, "b=2&a=%20").query == "a=%20&b=2"
