"""`/v1/candles`: many series in one answer, as Binance has them, with errors in their places.

Rule: docs/design.md#native.
"""

import asyncio
import gc
import json
from typing import Any

import pytest

from mdcache.serving.native.found_rows import KeptRows
from tests.support.candles_questions import MINUTE, TWO, get, series, truth, world

pytestmark = pytest.mark.virtual


@pytest.mark.parametrize(
    ("market", "symbols", "streams"),
    [
        ("spot", "BTCUSDT,ETHUSDT", False),
        ("usdm", "BTCUSDT", False),
        ("coinm", "BTCUSD_PERP", True),
        pytest.param("spot", "BTCUSDT,ETHUSDT", True, marks=pytest.mark.exhaustive),
        pytest.param("usdm", "BTCUSDT", True, marks=pytest.mark.exhaustive),
    ],
)
async def test_rows_are_binances_own_at_the_series_as_of(market: str, symbols: str, streams: bool) -> None:
    w = world(streams=streams, derive=False)
    for wait_s in (0.0, 1.0, 31.0, 60.0):
        await w.clock.sleep(wait_s)
        found = await series(w, f"market={market}&symbols={symbols}&intervals=1m,1h&limit=50")
        assert [(each["symbol"], each["interval"]) for each in found] == [
            (symbol, interval) for symbol in symbols.split(",") for interval in ("1m", "1h")
        ]
        for each in found:
            expected = truth(w, market, each["symbol"], each["interval"], each["as_of"], "limit=50")
            assert each["rows"] == expected
            assert each["market"] == market
            assert not each["stale"]


@pytest.mark.parametrize(
    ("market", "symbol"),
    [
        ("spot", "BTCUSDT"),
        pytest.param("usdm", "BTCUSDT", marks=pytest.mark.exhaustive),
        pytest.param("coinm", "BTCUSD_PERP", marks=pytest.mark.exhaustive),
    ],
)
async def test_many_rows_are_read_page_by_page_and_none_is_missing_or_twice(market: str, symbol: str) -> None:
    w = world(deadline_s=60.0)
    (found,) = await series(w, f"market={market}&symbols={symbol}&intervals=1m&limit=11500")
    times = [row[0] for row in found["rows"]]
    assert len(times) == 11_500
    assert times == list(range(times[0], times[0] + 11_500 * MINUTE, MINUTE))
    start, end = times[0], times[-1]
    (same,) = await series(w, f"market={market}&symbols={symbol}&intervals=1m&start={start}&end={end}")
    assert [row[:6] for row in same["rows"][:-1]] == [row[:6] for row in found["rows"][:-1]]
    assert len(same["rows"]) == 11_500


async def test_a_span_of_coinm_may_be_longer_than_binance_takes_at_once() -> None:
    w = world(deadline_s=60.0)
    (found,) = await series(w, "market=coinm&symbols=BTCUSD_PERP&intervals=1d&limit=500")
    assert len(found["rows"]) == 500
    start = found["rows"][0][0]
    (same,) = await series(w, f"market=coinm&symbols=BTCUSD_PERP&intervals=1d&start={start}")
    assert [row[0] for row in same["rows"]] == [row[0] for row in found["rows"]]


async def test_older_rows_are_counted_back_from_a_moment() -> None:
    """What scrolls back through a chart asks for the rows before the first that it has, down to the listing."""
    w = world(deadline_s=60.0)
    question = "market=spot&symbols=BTCUSDT&intervals=1M"
    (whole,) = await series(w, f"{question}&limit=500")
    paged: list[list[Any]] = []
    end = whole["rows"][-1][0]
    while rows := (await series(w, f"{question}&limit=50&end={end}"))[0]["rows"]:
        paged[:0] = rows
        end = rows[0][0] - 1
    assert [row[:11] for row in paged[:-1]] == [row[:11] for row in whole["rows"][:-1]]
    assert len(paged) == len(whole["rows"]) > 100
    (before,) = await series(w, f"{question}&limit=2&closed=true&end={paged[9][0]}")
    assert before["rows"] == paged[8:10]


@pytest.mark.parametrize("limit", [1, 500, pytest.param(5_000, marks=pytest.mark.exhaustive)])
async def test_closed_leaves_out_the_open_candle_and_still_returns_as_many(limit: int) -> None:
    w = world(deadline_s=60.0)
    for _ in range(3):
        for each in await series(w, f"{TWO}&limit={limit}&closed=true"):
            assert len(each["rows"]) == limit
            assert all(row[11] is True for row in each["rows"])
            length = MINUTE if each["interval"] == "1m" else 60 * MINUTE
            assert each["rows"][-1][0] == each["as_of"] // length * length - length
        await w.clock.sleep(41.0)


async def test_start_and_end_may_be_written_as_dates() -> None:
    w = world()
    by_date = await series(w, f"{TWO}&start=2026-11-04T10:00:00Z&end=2026-11-04T11:59:59.999%2B00:00")
    by_number = await series(w, f"{TWO}&start=1793786400000&end=1793793599999")
    assert [each["rows"] for each in by_date] == [each["rows"] for each in by_number]
    assert [len(each["rows"]) for each in by_date] == [120, 2, 120, 2]


async def test_a_series_that_cant_be_answered_does_not_fail_the_others() -> None:
    w = world()
    good, bad = await series(w, "market=spot&symbols=BTCUSDT,NOSUCHUSDT&intervals=1m&limit=3")
    assert len(good["rows"]) == 3
    assert bad == {
        "market": "spot",
        "symbol": "NOSUCHUSDT",
        "interval": "1m",
        "error": {"code": -1121, "msg": "Invalid symbol."},
    }


async def test_an_answer_without_any_series_is_an_error() -> None:
    w = world()
    reply = await get(w, "market=spot&symbols=NOSUCHUSDT&intervals=1m")
    assert (reply.status, json.loads(reply.body)["code"]) == (400, -1121)
    w.exchange.control.ban("spot", 300.0)
    banned = await get(w, TWO)
    assert banned.status == 503
    assert int(banned.headers["retry-after"]) > 200


async def test_in_a_ban_what_is_known_is_marked_and_what_is_not_says_when_to_come_back() -> None:
    w = world()
    await series(w, "market=spot&symbols=BTCUSDT&intervals=1m&limit=5")
    w.exchange.control.ban("spot", 300.0)
    await w.clock.sleep(5.0)
    reply = await get(w, "market=spot&symbols=BTCUSDT,ETHUSDT&intervals=1m&limit=5")
    good, bad = json.loads(reply.body)["series"]
    assert good["stale"] is True
    assert bad["error"]["code"] == -1003
    assert bad["error"]["retry_after"] > 200
    assert "detail=stale" in reply.headers["cache-status"]
    assert int(reply.headers["age"]) == 5
    assert good["as_of"] == int(reply.headers["x-mdcache-as-of"])
    fresh = await get(w, "market=spot&symbols=BTCUSDT&intervals=1m&limit=5", cache_control="max-age=3")
    assert fresh.status == 503


async def test_the_directives_count_as_everywhere() -> None:
    w = world()
    await series(w, TWO)
    calls = len(w.calls())
    await series(w, TWO)
    assert len(w.calls()) == calls
    await series(w, TWO, cache_control="no-cache")
    assert len(w.calls()) > calls
    await w.clock.sleep(3.0)
    assert (await get(w, TWO, cache_control="only-if-cached")).status == 504
    as_of = w.clock.true_ms()
    assert all(each["as_of"] >= as_of for each in await series(w, TWO, x_mdcache_min_as_of=str(as_of)))


@pytest.mark.parametrize(
    ("query", "code", "said"),
    [
        ("", -1102, "market"),
        ("market=moon&symbols=BTCUSDT&intervals=1m", -1130, "spot, usdm or coinm"),
        (f"market=spot&symbols={','.join(f'S{n}USDT' for n in range(1_001))}&intervals=1m", -1130, "1000"),
        (f"{TWO}&limit=1000000000", -1130, "1000000"),
        (f"{TWO}&limit=0", -1130, "1 to 1000000"),
        (f"{TWO}&limit=NaN", -1130, "whole number"),
        (f"{TWO}&limit=-5", -1130, "whole number"),
        (f"{TWO}&limit=500000", -1130, "2000000 rows: ask for at most 1000000"),
        ("market=spot&symbols=BTCUSDT&intervals=1s&start=2020-01-01T00:00:00Z", -1130, "at most 1000000"),
        (f"{TWO}&limit=5&start=1793786400000", -1130, "either 'limit'"),
        (f"{TWO}&end=1793786400000", -1130, "'end' needs 'start'"),
        (f"{TWO}&start=1793786400", -1130, "would be 1793786400000"),
        (f"{TWO}&start=1793786400000000", -1130, "micro"),
        (f"{TWO}&start=NaN", -1130, "RFC 3339"),
        (f"{TWO}&start=2026-11-04T10:00:00", -1130, "with a zone"),
        (f"{TWO}&start=0001-01-01T00:00:00%2B14:00", -1130, "milliseconds"),
        (f"{TWO}&start=1793786400000&end=1793786300000", -1130, "before 'start'"),
        (f"{TWO}&wait=5", -1130, "'wait' needs 'since'"),
        (f"{TWO}&since=x&wait=1e9", -1130, "from 0 to 60"),
        (f"{TWO}&since=x&wait=-1", -1130, "from 0 to 60"),
        (f"{TWO}&since=x&wait=61", -1130, "from 0 to 60"),
        (f"{TWO}&closed=maybe", -1130, "true or false"),
        (f"{TWO}&format=xml", -1130, "json, csv or arrow"),
        (f"{TWO}&foo=1", -1104, "foo"),
        (f"{TWO}&market=usdm", -1101, "Duplicate"),
        (f"{TWO}&{'a' * 33_000}=1", -1100, "longer than"),
    ],
)
async def test_a_wrong_question_says_what_would_be_right_and_costs_nothing(query: str, code: int, said: str) -> None:
    w = world()
    reply = await get(w, query)
    assert reply.status == (414 if code == -1100 else 400)
    error = json.loads(reply.body)
    assert (error["code"], said in error["msg"]) == (code, True), error
    assert reply.headers["content-type"] == "application/json"
    assert not w.exchange.log


async def test_a_question_of_a_thousand_series_ends_by_the_deadline_and_shows_what_it_got() -> None:
    w = world(deadline_s=2.0)
    await w.get(query=b"symbol=BTCUSDT&interval=1m")
    symbols = [each["symbol"] for each in json.loads((await w.get("/api/v3/exchangeInfo", b"")).body)["symbols"]]
    w.exchange.control.latency(before_s=0.5, after_s=0.5)
    began_s = asyncio.get_running_loop().time()
    found = await series(w, f"market=spot&symbols={','.join(symbols[:15])}&intervals=1m,5m,1h,1d&limit=2")
    assert asyncio.get_running_loop().time() - began_s <= 2.1
    errors = [each["error"] for each in found if "error" in each]
    assert errors
    assert len(errors) < len(found)
    assert {each["code"] for each in errors} == {-1008}
    assert all(each["retry_after"] >= 1 for each in errors)


async def test_rows_that_newer_ones_replace_leave_the_memory_at_once() -> None:
    """They may be megabytes, of which the garbage collector would know nothing until it has seen 10,000 objects."""
    w = world(derive=False)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            await w.clock.sleep(10)
            for _ in range(3):
                await series(w, "market=spot&symbols=BTCUSDT&intervals=1m&limit=50")
        assert sum(isinstance(each, KeptRows) for each in gc.get_objects()) == 1
    finally:
        gc.enable()
