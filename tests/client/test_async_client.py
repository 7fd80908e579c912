"""The client against a daemon in virtual time: what it returns, and what it refuses to return."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mdcache.client import AsyncClient, Candle, Refused, StaleData, Unavailable
from mdcache.client.calls import ExchangeTime
from tests.support.app_transport import AppTransport
from tests.support.candles_questions import MINUTE, truth, world
from tests.support.served_daemon import ServedDaemon

pytestmark = pytest.mark.virtual

BOTH = ["BTCUSDT", "ETHUSDT"]


@asynccontextmanager
async def connected(w: ServedDaemon) -> AsyncIterator[tuple[AsyncClient, AppTransport]]:
    transport = AppTransport(w.app)
    async with AsyncClient("http://daemon.test", transport=transport) as client:
        client._time = ExchangeTime(asyncio.get_running_loop().time)
        yield client, transport


async def test_candles_are_binances_own() -> None:
    w = world()
    async with connected(w) as (client, _):
        found = await client.candles("spot", BOTH, ["1m", "1h"], limit=20)
        for each in found.series:
            expected = truth(w, "spot", each.symbol, each.interval, each.as_of, "limit=20")
            assert [list(row[3:]) for row in each.rows] == expected
        assert len(found.rows) == 80
        assert found.rows[0].key == ("spot", "BTCUSDT", "1m", found.rows[0].open_time)


async def test_only_what_changed_and_waiting_for_it() -> None:
    w = world()
    async with connected(w) as (client, _):
        first = await client.candles("spot", BOTH, ["1m"], limit=20, closed=True)
        same = await client.candles("spot", BOTH, ["1m"], limit=20, closed=True, since=first.token)
        assert (same.token, same.rows) == (first.token, [])
        later = await client.candles("spot", BOTH, ["1m"], limit=20, closed=True, since=first.token, wait_s=60)
        assert [each.rows[-1].open_time for each in later.series] == [w.clock.true_ms() // MINUTE * MINUTE - MINUTE] * 2


async def test_the_price_at_a_moment() -> None:
    w = world()
    async with connected(w) as (client, _):
        at = w.clock.true_ms() - 86_400_000
        found = await client.price_at("spot", "BTCUSDT", at)
        assert found.candle.open_time <= at <= found.candle.close_time
        assert found.price == found.candle.close
        with pytest.raises(Refused, match="ahead"):
            await client.price_at("spot", "BTCUSDT", "2030-01-01T00:00:00Z")


async def test_ccxts_shape() -> None:
    w = world()
    async with connected(w) as (client, _):
        for symbol, market, native in (
            ("BTC/USDT", "spot", "BTCUSDT"),
            ("BTC/USDT:USDT", "usdm", "BTCUSDT"),
            ("BTC/USD:BTC", "coinm", "BTCUSD_PERP"),
            ("BTCUSDT", "spot", "BTCUSDT"),
        ):
            rows = await client.fetch_ohlcv(symbol, "1h", limit=3)
            expected = (await client.candles(market, [native], ["1h"], limit=3)).rows
            assert rows == [[row.open_time, *map(float, row[4:9])] for row in expected]
            since = rows[0][0] - 10 * 60 * MINUTE
            old = await client.fetch_ohlcv(symbol, "1h", since=int(since), limit=4)
            assert [row[0] for row in old] == [since + n * 60 * MINUTE for n in range(4)]
        first, *_ = await client.fetch_ohlcv("BTC/USDT", "1d", since=1_000_000_000_000, limit=3)
        assert first[0] == 1_502_928_000_000  # of the listing, years later
        over_a_hole = await client.fetch_ohlcv("BTC/USDT", "1m", since=1_679_663_000_000, limit=2)
        assert len(over_a_hole) == 2
        with pytest.raises(Refused, match="interval"):
            await client.fetch_ohlcv("BTC/USDT", "7x", since=1_679_663_000_000)


async def test_old_data_is_refused_with_its_age_and_none_with_when_to_come_back() -> None:
    w = world()
    async with connected(w) as (client, _):
        await client.candles("spot", ["BTCUSDT"], ["1m"], max_age_s=5)
        w.exchange.control.ban("spot", 300.0)
        await w.clock.sleep(4.0)
        await client.candles("spot", ["BTCUSDT"], ["1m"], max_age_s=5)
        await w.clock.sleep(16.0)
        with pytest.raises(StaleData) as stale:
            await client.candles("spot", ["BTCUSDT"], ["1m"], max_age_s=5)
        assert 19.9 <= stale.value.age_s <= 20.5
        assert (await client.candles("spot", ["BTCUSDT"], ["1m"], max_age_s=30)).series[0].stale
        with pytest.raises(Unavailable) as unavailable:
            await client.candles("spot", ["ETHUSDT"], ["1m"], max_age_s=5)
        assert unavailable.value.retry_after_s > 200
        with pytest.raises(Unavailable):
            await client.candles("spot", BOTH, ["1m"])
        partial = await client.candles("spot", BOTH, ["1m"], partial=True)
        assert [each.symbol for each in partial.series] == ["BTCUSDT"]
        assert isinstance(partial.errors["ETHUSDT", "1m"], Unavailable)


def test_a_clock_that_stood_still_makes_no_data_younger() -> None:
    now_s = 100.0
    time = ExchangeTime(lambda: now_s)
    time.note(99.9, 1_000_000)
    assert time.age_s(990_000) == pytest.approx(10.1)
    now_s = 101.0
    time.note(100.0, 1_000_900)  # a slow reply says nothing new
    assert time.age_s(990_000) == pytest.approx(11.1, abs=1e-3)
    now_s = 102.0  # an hour later: the machine was suspended
    time.note(101.9, 4_600_000)
    assert time.age_s(4_590_000) == pytest.approx(10.1)


async def test_an_exchange_that_does_not_answer_is_no_reason_to_trust_old_data() -> None:
    w = world()
    async with connected(w) as (client, _):
        await client.candles("spot", ["BTCUSDT"], ["1m"], max_age_s=5)
        w.exchange.control.latency(before_s=1e6)
        await w.clock.sleep(10.0)
        with pytest.raises((StaleData, Unavailable)):
            await client.candles("spot", ["BTCUSDT"], ["1m"], max_age_s=5)


async def test_a_wrong_question_and_a_daemon_that_is_gone() -> None:
    w = world()
    async with connected(w) as (client, transport):
        with pytest.raises(Refused, match="Invalid symbol") as refused:
            await client.candles("spot", ["NOSUCHUSDT"], ["1m"])
        assert refused.value.code == -1121
        with pytest.raises(Refused, match="1000000"):
            await client.candles("spot", BOTH, ["1m"], limit=10**9)
        transport.app = None
        with pytest.raises(Unavailable, match="does not answer"):
            await client.candles("spot", BOTH, ["1m"])


@pytest.mark.exhaustive
async def test_each_close_comes_once_whatever_happens_to_daemon_and_client() -> None:
    w = world(streams=True)
    seen: list[Candle] = []
    async with connected(w) as (client, transport):
        began_ms, position = w.clock.true_ms(), None
        for _ in range(3):  # the client is restarted
            changes = client.changed("spot", BOTH, ["1m"], after=position)
            ends_s = w.clock.now() + 150.0
            while (left_s := ends_s - w.clock.now()) > 0:
                try:
                    async with asyncio.timeout(left_s):
                        seen.append(await anext(changes))
                except TimeoutError:
                    break
                if len(seen) == 4:  # the daemon is restarted
                    w.app.drain(0.0)
                    transport.app = None
                    await w.clock.sleep(90.0)
                    transport.app = w.app
                    w.app._listeners._draining = False
            position = changes.position
        assert position
    for symbol in BOTH:
        times = [candle.open_time for candle in seen if candle.symbol == symbol]
        assert times == list(range(times[0], times[0] + len(times) * MINUTE, MINUTE))
        assert times[0] <= began_ms <= times[-1]
        assert times[-1] >= w.clock.true_ms() - 3 * MINUTE
    assert all(candle.closed for candle in seen)


async def test_all_events_of_a_stream() -> None:
    w = world(streams=True)
    async with connected(w) as (client, _):
        names = set()
        async for event in client.stream("spot", ["BTCUSDT"], ["1m"]):
            names.add(event.name)
            assert event.candle is not None
            assert event.position
            if names >= {"candle", "closed"}:
                break
