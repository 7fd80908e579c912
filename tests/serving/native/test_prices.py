"""`/v1/price`: the price at a moment, with the row that it comes from, or why there is none."""

import json
from datetime import UTC, datetime

import pytest

from mdcache.candles.persistence import SeriesFilter
from mdcache.exchange.markets import Market
from tests.support.candles_questions import MINUTE, PREFIX, get, world
from tests.support.relay_listener import FakeListener

pytestmark = pytest.mark.virtual

PATH = "/v1/price"


@pytest.mark.parametrize(
    ("market", "symbol", "interval"),
    [("spot", "BTCUSDT", "1s"), ("usdm", "btcusdt", "1m"), ("coinm", "BTCUSD_PERP", "1m")],
)
async def test_it_is_the_close_of_the_shortest_candle(market: str, symbol: str, interval: str) -> None:
    w = world()
    for ago_ms in (3 * 86_400_000 + 123, 5_001):
        at = w.clock.true_ms() - ago_ms
        reply = await get(w, f"market={market}&symbol={symbol}&at={at}", PATH)
        assert reply.status == 200, reply.body
        found = json.loads(reply.body)
        length = 1_000 if interval == "1s" else MINUTE
        query = f"symbol={symbol.upper()}&interval={interval}&startTime={at // length * length}&endTime={at}"
        (row,) = json.loads(w.exchange.truth(f"{PREFIX[market]}klines", query, {}, at_ms=w.clock.true_ms()))
        assert (found["market"], found["symbol"], found["interval"]) == (market, symbol.upper(), interval)
        assert found["row"][:6] == row[:6]
        assert found["price"] == found["row"][4]
        assert found["row"][0] <= at <= found["row"][6]
        date = datetime.fromtimestamp(at / 1000, UTC).isoformat().replace("+00:00", "Z")
        assert (await get(w, f"market={market}&symbol={symbol}&at={date}", PATH)).body == reply.body


@pytest.mark.parametrize(
    ("market", "symbol", "pair"), [("usdm", "BTCUSDT", "btcusdt"), ("coinm", "BTCUSD_PERP", "btcusd")]
)
async def test_on_futures_a_second_that_somebody_listened_to_is_known(market: str, symbol: str, pair: str) -> None:
    w = world(streams=True)
    assert w.cache.relay is not None
    listener = FakeListener(w.cache.relay, Market(market), f"{pair}_perpetual@continuousKline_1s")
    await w.clock.sleep(30.0)
    finals = [candle for frame in listener.frames if (candle := json.loads(frame.data)["k"])["x"]]
    assert len(finals) > 10
    before = len(w.calls())
    for candle in finals:
        reply = await get(w, f"market={market}&symbol={symbol}&at={candle['t'] + 321}", PATH)
        found = json.loads(reply.body)
        assert (found["interval"], found["price"]) == ("1s", candle["c"])
        assert found["row"] == [*(candle[name] for name in ("t", *"ohlcv", "T", *"qnVQ")), True]
        assert dict(reply.headers)["cache-status"] == "mdcache; hit; detail=stream"
    assert len(w.calls()) == before
    long_ago = await get(w, f"market={market}&symbol={symbol}&at={finals[0]['t'] - 1}", PATH)
    assert json.loads(long_ago.body)["interval"] == "1m"
    listener.leave()
    await w.cache.purge.run(SeriesFilter(subject=symbol))
    purged = await get(w, f"market={market}&symbol={symbol}&at={finals[0]['t']}", PATH)
    assert json.loads(purged.body)["interval"] == "1m"


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("market=spot&symbol=BTCUSDT&at=946684800000", 400, "first traded in the week"),
        ("market=coinm&symbol=BTCUSD_PERP&at=946684800000", 400, "first traded in the week"),
        ("market=spot&symbol=BTCUSDT&at=1893456000000", 400, "lies ahead"),
        ("market=spot&symbol=BTCUSDT&at=1793761334", 400, "would be 1793761334000"),
        ("market=spot&symbol=BTCUSDT&at=NaN", 400, "RFC 3339"),
        ("market=spot&symbol=BTCUSDT&at=1793761334000&limit=5", 400, "limit"),
        ("market=spot&symbol=NOSUCHUSDT&at=1793761334000", 400, "Invalid symbol"),
        ("market=spot&symbol=BTCUSDT", 400, "'at'"),
        ("symbol=BTCUSDT&at=1793761334000", 400, "'market'"),
    ],
)
async def test_what_has_no_price_says_why(query: str, status: int, said: str) -> None:
    reply = await get(world(), query, PATH)
    assert (reply.status, said in json.loads(reply.body)["msg"]) == (status, True), reply.body


async def test_a_hole_is_told_as_one() -> None:
    w = world()
    for market, at in (("spot", 1_679_663_000_500), ("usdm", 1_650_200_000_000)):
        before = len(w.calls())
        reply = await get(w, f"market={market}&symbol=BTCUSDT&at={at}", PATH)
        assert (reply.status, "a hole" in json.loads(reply.body)["msg"]) == (404, True), reply.body
        assert len(w.calls()) - before <= 4
        before = len(w.calls())
        assert (await get(w, f"market={market}&symbol=BTCUSDT&at={at}", PATH)).status == 404
        assert len(w.calls()) == before


async def test_a_second_that_no_frame_has_shown_yet_is_no_hole() -> None:
    w = world(streams=True)
    for _ in range(8):  # frames of 1s candles come once a second: each shows the second that ends
        assert (await get(w, "market=spot&symbols=BTCUSDT&intervals=1s&limit=1")).status == 200
        await w.clock.sleep(0.9)
    before, seconds = len(w.calls()), set()
    for _ in range(20):
        at = w.clock.true_ms() - 5
        reply = await get(w, f"market=spot&symbol=BTCUSDT&at={at}", PATH)
        assert reply.status == 200, reply.body
        row = json.loads(reply.body)["row"]
        assert row[0] <= at <= row[6]
        seconds.add(row[0])
        await w.clock.sleep(0.53)
    assert len(w.calls()) - before <= len(seconds)


async def test_a_candle_that_binance_does_not_show_so_far_is_no_hole() -> None:
    w = world(streams=False)
    w.exchange.control.set_replicas([2_500])
    reply = await get(w, f"market=spot&symbol=BTCUSDT&at={w.clock.true_ms() - 5}", PATH)
    assert (reply.status, "lagging" in json.loads(reply.body)["msg"]) == (502, True), reply.body


async def test_in_a_ban_there_is_no_price_of_a_moment_that_nobody_has_seen() -> None:
    w = world(streams=False)
    began = w.clock.true_ms()
    await w.clock.sleep((75_000 - began % MINUTE) / 1000)  # early in a minute, whose candle goes on
    seen = w.clock.true_ms()
    for market in ("spot", "usdm"):
        assert (await get(w, f"market={market}&symbol=BTCUSDT&at={seen}", PATH)).status == 200
    w.exchange.control.ban("spot", 300.0)
    w.exchange.control.ban("futures", 300.0)
    await w.clock.sleep(10.0)
    for market in ("spot", "usdm"):
        reply = await get(w, f"market={market}&symbol=BTCUSDT&at={w.clock.true_ms() - 1_000}", PATH)
        assert (reply.status, json.loads(reply.body)["code"]) == (503, -1003), (market, reply.body)
        assert int(reply.headers["retry-after"]) > 200
    known = await get(w, f"market=usdm&symbol=BTCUSDT&at={seen - 1_000}", PATH)
    assert "detail=stale" in known.headers["cache-status"]
