"""`/udf/…` as TradingView's charts ask it, and `/v1/series`."""

import json
from typing import Any

import pytest

from tests.support.candles_questions import MINUTE, get, truth, world

pytestmark = pytest.mark.virtual


async def ask(w: Any, name: str, query: str = "") -> Any:
    reply = await get(w, query, f"/udf/{name}")
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


async def test_a_chart_finds_a_symbol_and_opens_on_it() -> None:
    w = world()
    config = await ask(w, "config")
    assert config["supports_search"]
    assert config["supports_time"]
    assert {"1S", "1", "60", "1D", "1M"} <= set(config["supported_resolutions"])
    found = await ask(w, "search", "query=btc&type=&exchange=&limit=10")
    assert {"spot:BTCUSDT", "usdm:BTCUSDT", "coinm:BTCUSD_PERP"} <= {each["ticker"] for each in found}
    (spot,) = await ask(w, "search", "query=BTCUSDT&exchange=spot&limit=1")
    assert spot["symbol"] == "BTCUSDT"
    symbol = await ask(w, "symbols", "symbol=spot:BTCUSDT")
    assert (symbol["ticker"], symbol["session"], symbol["timezone"]) == ("spot:BTCUSDT", "24x7", "Etc/UTC")
    assert symbol["pricescale"] == 100  # as many decimals as its prices have
    assert symbol["has_seconds"]
    future = await ask(w, "symbols", "symbol=usdm:BTCUSDT")
    assert "1S" not in future["supported_resolutions"]
    assert abs(await ask(w, "time") - w.clock.true_ms() // 1000) <= 1


@pytest.mark.parametrize(("resolution", "interval"), [("1", "1m"), ("60", "1h"), ("1D", "1d"), ("D", "1d")])
async def test_history_is_binances_candles_as_columns(resolution: str, interval: str) -> None:
    w = world()
    to = w.clock.true_ms() // 1000 + 60
    query = f"symbol=spot:ETHUSDT&resolution={resolution}&to={to}&countback=50"
    reply = await get(w, query, "/udf/history")
    found = json.loads(reply.body)
    rows = truth(w, "spot", "ETHUSDT", interval, int(reply.headers["x-mdcache-as-of"]), "limit=50")
    assert found["s"] == "ok"
    assert found["t"] == [row[0] // 1000 for row in rows]
    for place, name in enumerate("ohlcv", 1):
        assert found[name] == [float(row[place]) for row in rows]


async def test_a_span_of_history_and_what_is_before_it() -> None:
    w = world()
    to = w.clock.true_ms() // MINUTE * 60
    found = await ask(w, "history", f"symbol=usdm:BTCUSDT&resolution=1&from={to - 3600}&to={to}")
    assert found["t"] == list(range(to - 3600, to, 60))
    early = await ask(w, "history", "symbol=usdm:BTCUSDT&resolution=1&from=946684800&to=946688400")
    assert early == {"s": "no_data"}
    hole = await ask(w, "history", "symbol=usdm:BTCUSDT&resolution=1&from=1650200000&to=1650203600")
    assert hole == {"s": "no_data", "nextTime": 1650152640}


async def test_all_candles_between_two_moments_come_at_once_however_many() -> None:
    w = world(deadline_s=60.0)
    to = w.clock.true_ms() // MINUTE * 60 + 60
    first = to - 5_000 * 60
    found = await ask(w, "history", f"symbol=spot:BTCUSDT&resolution=1&from={first}&to={to}")
    assert found["t"] == list(range(first, to, 60))
    assert {len(found[name]) for name in "ohlcv"} == {5_000}
    counted = await ask(w, "history", f"symbol=spot:BTCUSDT&resolution=1&from={to - 60}&to={to}&countback=4999")
    assert counted["t"] == found["t"][1:]  # 'from' does not count then
    ahead = await ask(w, "history", f"symbol=spot:BTCUSDT&resolution=1&from={to + 600}&to={to + 1200}")
    assert ahead == {"s": "no_data", "nextTime": to - 60}


@pytest.mark.parametrize(
    ("name", "query", "said"),
    [
        ("symbols", "symbol=spot:NOSUCHUSDT", "Invalid symbol"),
        ("symbols", "symbol=moon:BTCUSDT", "market:name"),
        ("symbols", "", "'symbol'"),
        ("history", "symbol=spot:BTCUSDT&resolution=7&to=1793795371", "'resolution' must be one of"),
        ("history", "symbol=usdm:BTCUSDT&resolution=1S&to=1793795371", "1S on spot only"),
        ("history", "symbol=spot:BTCUSDT&resolution=1&to=NaN", "whole seconds"),
        ("history", "symbol=spot:BTCUSDT&resolution=1&to=1793795371&countback=x", "whole number"),
        ("history", "symbol=spot:BTCUSDT&resolution=1&from=0&to=1793795371", "at most 100000"),
        ("history", "symbol=spot:BTCUSDT&resolution=1&to=1793795371&countback=100001", "at most 100000"),
        ("history", "symbol=spot:BTCUSDT&resolution=1&from=1793795371&to=1793795371", "later than 'from'"),
        ("search", "query=BTC&limit=many", "whole number"),
    ],
)
async def test_errors_are_in_the_protocols_form(name: str, query: str, said: str) -> None:
    reply = await get(world(), query, f"/udf/{name}")
    error = json.loads(reply.body)
    assert (reply.status, error["s"], said in error["errmsg"]) == (400, "error", True), error
    assert error["errmsg"] == error["msg"]


async def test_in_a_ban_a_chart_is_told_when_to_come_back() -> None:
    w = world()
    w.exchange.control.ban("spot", 300.0)
    reply = await get(w, "symbol=spot:BTCUSDT&resolution=1&to=1793795371", "/udf/history")
    assert (reply.status, json.loads(reply.body)["s"]) == (503, "error")
    assert int(reply.headers["retry-after"]) > 200


async def test_what_is_kept_of_each_series() -> None:
    w = world()
    assert json.loads((await get(w, "", "/v1/series")).body) == {"series": []}
    await get(w, "market=spot&symbols=BTCUSDT&intervals=1m&limit=50")
    (found,) = json.loads((await get(w, "", "/v1/series")).body)["series"]
    assert (found["market"], found["symbol"], found["interval"], found["source"]) == ("spot", "BTCUSDT", "1m", "rest")
    assert found["last_open"] == w.clock.true_ms() // MINUTE * MINUTE
    assert found["first_open"] <= found["last_open"] - 49 * MINUTE
    assert found["rows"] == (found["last_open"] - found["first_open"]) // MINUTE + 1
    assert (found["holes"], found["age_s"] < 1) == (0, True)
    for query, count in (("market=spot&symbol=btcusdt&interval=1m", 1), ("interval=1h", 0), ("market=usdm", 0)):
        assert len(json.loads((await get(w, query, "/v1/series")).body)["series"]) == count
    assert (await get(w, "market=moon", "/v1/series")).status == 400
    assert (await w.get("/v1/series", b"", host="evil.example")).status == 403


async def test_charts_may_accept_what_they_like() -> None:
    w = world()
    await get(w, "market=spot&symbols=BTCUSDT&intervals=1m&limit=1")
    for name in ("time", "config"):
        assert (await get(w, "", f"/udf/{name}", accept="text/plain")).status == 200
