"""`/v1/candles`: many series in one answer, as Binance has them, with errors in their places and tokens.

Rule: docs/design.md#native.
"""

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest

from mdcache.serving.http.response_cycle import PARTS
from mdcache.serving.native import native_app
from mdcache.serving.native.tokens import write_token
from mdcache.sim import SimConfig
from tests.support.asgi_client import REMOTE_PEER, Response, ask
from tests.support.served_daemon import ServedDaemon
from tests.support.virtual_daemon import DaemonOptions

pytestmark = pytest.mark.virtual

PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
PREFIX = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}
PATH = "/v1/candles"
TWO = "market=spot&symbols=BTCUSDT,ETHUSDT&intervals=1m,1h"
MINUTE = 60_000


def world(**options: Any) -> ServedDaemon:
    w = ServedDaemon(PLENTY, DaemonOptions(**options))
    w.exchange.control.latency(before_s=0.03, after_s=0.03)
    return w


async def get(w: ServedDaemon, query: str, path: str = PATH, **headers: str) -> Response:
    return await w.get(path, query.encode(), **headers)


def truth(w: ServedDaemon, market: str, symbol: str, interval: str, as_of_ms: int, rest: str) -> list[list[Any]]:
    """What Binance sends at a moment, as the native API prints it."""
    path = f"{PREFIX[market]}klines"
    sent = w.exchange.truth(path, f"symbol={symbol}&interval={interval}&{rest}", {}, at_ms=as_of_ms)
    return [[*row[:11], row[6] < as_of_ms] for row in json.loads(sent)]


async def series(w: ServedDaemon, query: str, **headers: str) -> list[dict[str, Any]]:
    reply = await get(w, query, **headers)
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = json.loads(reply.body)["series"]
    return found


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


async def test_a_token_names_what_changed_and_nothing_new_is_no_content() -> None:
    w = world(derive=False)
    first = json.loads((await get(w, f"{TWO}&closed=true")).body)
    since = f"{TWO}&closed=true&since={first['token']}"
    none = await get(w, since)
    assert (none.status, none.body) == (204, b"")
    assert int(none.headers["x-mdcache-as-of"]) > 0
    await w.clock.sleep(60.0)
    second = json.loads((await get(w, since)).body)
    assert [(each["symbol"], each["interval"]) for each in second["series"]] == [("BTCUSDT", "1m"), ("ETHUSDT", "1m")]
    assert all(len(each["rows"]) == 500 for each in second["series"])
    assert (await get(w, f"{TWO}&closed=true&since={second['token']}")).status == 204
    w.restart()
    assert (await get(w, f"{TWO}&closed=true&since={second['token']}")).status == 204


async def test_that_a_series_becomes_stale_or_fails_is_news_and_so_is_its_return() -> None:
    w = world(max_stale_s=200.0)
    query = "market=spot&symbols=BTCUSDT&intervals=1h&closed=true"
    token = json.loads((await get(w, query)).body)["token"]
    w.exchange.control.ban("spot", 60.0)
    await w.clock.sleep(30.0)
    stale = json.loads((await get(w, f"{query}&since={token}")).body)
    assert stale["series"][0]["stale"] is True
    assert (await get(w, f"{query}&since={stale['token']}")).status == 204
    await w.clock.sleep(60.0)
    fresh = json.loads((await get(w, f"{query}&since={stale['token']}")).body)
    assert fresh["series"][0]["stale"] is False


async def test_a_token_that_cant_be_used_is_refused_with_what_would_be_right() -> None:
    w = world()
    token = json.loads((await get(w, TWO)).body)["token"]
    name, _, packed = token.split(".")
    await w.clock.sleep(30.0)  # a question with another token would be asked again
    calls = len(w.calls())
    for since, said in (
        ("garbage", "not a token"),
        ("%00%ff", "Illegal"),
        (f"{'0' * 16}.{w.clock.true_ms() // 60_000:x}.{packed}", "another question, or to an mdcache with another"),
        (write_token(name, w.clock.true_ms() - 7 * 86_400_000, [b"123456"] * 4), "more than a day old"),
        (write_token(name, w.clock.true_ms() + 600_000, [b"123456"] * 4), "ahead"),
        (token[:-1], "cut off"),
        (token[:-8], "cut off"),
    ):
        reply = await get(w, f"{TWO}&since={since}")
        assert reply.status == 400, since
        assert said in json.loads(reply.body)["msg"]
    assert (await get(w, f"{TWO}&limit=7&since={token}")).status == 400
    assert len(w.calls()) == calls


async def test_a_token_is_taken_after_a_start_with_a_wrong_wall_clock() -> None:
    """Until the exchange's time is known, no token is too old, and none lies ahead."""
    w = world()
    token = json.loads((await get(w, TWO)).body)["token"]
    for step_ms in (2 * 86_400_000, -2 * 86_400_000):
        w.clock.step_ms = step_ms
        w.restart()
        assert (await get(w, f"{TWO}&since={token}")).status in {200, 204}


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


async def test_only_what_is_served_is_accepted() -> None:
    w = world()
    refused = await get(w, TWO, accept="application/xml, image/*")
    assert refused.status == 406
    assert "text/csv" in json.loads(refused.body)["msg"]
    assert not w.exchange.log
    for accept, expected in (
        ("*/*", "json"),
        ("text/csv", "csv"),
        ("text/*;q=0.5, application/json", "json"),
        ("text/html, */*;q=0.1", "json"),
    ):
        reply = await get(w, f"{TWO}&limit=2", accept=accept)
        assert expected in reply.headers["content-type"]


async def test_head_options_and_other_methods() -> None:
    w = world()
    head = await ask(w.app, PATH, TWO.encode(), method="HEAD")
    assert (head.status, head.body, head.headers["content-type"]) == (200, b"", "application/json")
    assert (await ask(w.app, PATH, TWO.encode(), method="OPTIONS")).status == 204
    assert (await ask(w.app, PATH, TWO.encode(), method="POST")).status == 405


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_http_1_0_has_no_chunks(encoding: str) -> None:
    w = world()
    query = f"{TWO}&limit=1000&closed=true&format=csv"
    plain = await get(w, query)
    old = await ask(
        w.app, PATH, query.encode(), headers={"accept-encoding": encoding}, peer=REMOTE_PEER, http_version="1.0"
    )
    assert old.headers["content-length"] == str(len(old.body))
    assert (gzip.decompress(old.body) if "content-encoding" in old.headers else old.body) == plain.body
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_app, "_WHOLE_BYTES", len(old.body) - 1)
        long = await ask(
            w.app, PATH, query.encode(), headers={"accept-encoding": encoding}, peer=REMOTE_PEER, http_version="1.0"
        )
    assert (long.status, json.loads(long.body)["code"]) == (400, -1130)
    assert "HTTP/1.1" in json.loads(long.body)["msg"]


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_kept_rows_are_written_together_where_the_server_can(encoding: str) -> None:
    w = world()
    query = f"{TWO}&limit=1000&closed=true".encode()
    for asked in range(4):
        plain = await get(w, query.decode())
        headers = {"accept-encoding": encoding}
        whole = await ask(w.app, PATH, query, headers=headers, peer=REMOTE_PEER, extensions={PARTS: {}})
        body = gzip.decompress(whole.body) if encoding else whole.body
        assert json.loads(body)["series"] == json.loads(plain.body)["series"]
        if asked > 1:
            assert int(whole.headers["content-length"]) == len(whole.body)
    head = await ask(w.app, PATH, query, method="HEAD", extensions={PARTS: {}})
    assert (head.status, head.body) == (200, b"")


async def test_gzip_where_asked_for() -> None:
    w = world()
    query = f"{TWO}&limit=1000&closed=true"
    for asked in range(3):  # printed anew, kept printed, kept compressed
        plain = await get(w, query)
        packed = await ask(w.app, PATH, query.encode(), headers={"accept-encoding": "gzip"}, peer=REMOTE_PEER)
        assert packed.headers["content-encoding"] == "gzip"
        for unpacked in (gzip.decompress(packed.body), zlib.decompressobj(31).decompress(packed.body)):
            assert json.loads(unpacked)["series"] == json.loads(plain.body)["series"]
        assert len(packed.body) < len(plain.body) / 2
        assert ("content-length" in packed.headers) == (asked == 2)
    w.exchange.control.ban("spot", 600.0)
    await w.clock.sleep(25.0)
    marked = await ask(w.app, PATH, query.encode(), headers={"accept-encoding": "gzip"}, peer=REMOTE_PEER)
    assert {each["stale"] for each in json.loads(gzip.decompress(marked.body))["series"]} == {True}


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


async def test_a_table_has_the_same_rows_and_fails_as_a_whole_unless_partial() -> None:
    w = world()
    found = await series(w, f"{TWO}&limit=20")
    table = await get(w, f"{TWO}&limit=20", f"{PATH}.csv")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    header, *lines = table.body.decode().splitlines()
    assert header == (
        "market,symbol,interval,open_time,open,high,low,close,volume,close_time,quote_volume,trades,"
        "taker_buy_volume,taker_buy_quote_volume,closed"
    )
    expected = [
        ",".join(["spot", each["symbol"], each["interval"], *map(str, row[:11]), str(row[11]).lower()])
        for each in found
        for row in each["rows"]
    ]
    assert lines == expected
    assert int(table.headers["x-mdcache-as-of"]) == min(each["as_of"] for each in found)
    query = "market=spot&symbols=BTCUSDT,NOSUCHUSDT&intervals=1m&limit=3&format=csv"
    assert (await get(w, query)).status == 400
    partial = await get(w, f"{query}&partial=true")
    assert (partial.status, len(partial.body.splitlines())) == (200, 4)
