"""Tails that streams feed: they cost next to nothing, and every answer is the exchange's at its as-of.

Rule: docs/design.md#stream-fed, #stream-settling.
"""

import asyncio

import msgspec
import pytest

from mdcache.candles.freshness import FreshnessDirectives
from mdcache.exchange.markets import Market
from mdcache.exchange.streams import MINI_TICKERS
from tests.support.examples import exhaustive
from tests.support.kline_oracle import KlineOracle
from tests.support.random_klines import RandomQuestion
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon, few_symbols, ready

pytestmark = pytest.mark.virtual

SPOT, USDM, COINM = "/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"
PLENTY = few_symbols("BTCUSDT", "ETHUSDT", "BNBUSDT", "QUIETUSDT", "BTCUSD_PERP")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")


async def streamed_world() -> tuple[VirtualDaemon, KlineOracle]:
    w = await ready(VirtualDaemon(PLENTY, DaemonOptions(streams=True)))
    w.exchange.control.latency(before_s=0.03, after_s=0.03)
    return w, KlineOracle(w.exchange, [0], [0, 30, 29, 31, 1])  # a read is answered as of 30 ms after it was sent


async def poll(
    w: VirtualDaemon, oracle: KlineOracle, asked: RandomQuestion, seconds: float, every_s: float, first_s: float = 0.0
) -> list[int]:
    """Ask again and again; return the ages of the answers."""
    ages: list[int] = []
    await w.clock.sleep(first_s)
    end_s = w.clock.now() + seconds
    while w.clock.now() < end_s:
        answer = await oracle.ask(w, asked)
        oracle.goes_on(asked, answer)
        ages.append(w.clock.true_ms() - answer.as_of_ms)
        await w.clock.sleep(every_s)
    return ages


def reads(w: VirtualDaemon, since: int) -> int:
    return len(w.calls()) - since


@pytest.mark.exhaustive
@pytest.mark.parametrize("consumers", [1, 2])
async def test_the_warm_minute_costs_next_to_nothing(consumers: int) -> None:
    w, oracle = await streamed_world()
    series = [
        RandomQuestion(SPOT, f"symbol={symbol}&interval={interval}&limit=20")
        for symbol in SYMBOLS
        for interval in INTERVALS
    ]
    asking = [
        poll(w, oracle, each, 190.0, 5.0, place * 0.27 + consumer * 0.1)
        for place, each in enumerate(series)
        for consumer in range(consumers)
    ]
    polling = asyncio.gather(*asking)
    await w.clock.sleep(60.0)
    cold = len(w.calls())
    assert cold <= len(series) + len(SYMBOLS)  # one each, and those that met a close before their first frame
    ages = [age for found in await polling for age in found]
    assert reads(w, cold) == 0
    assert max(ages) <= 2_700


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("path", "symbol"), [(SPOT, "BTCUSDT"), (USDM, "BTCUSDT"), *exhaustive((COINM, "BTCUSD_PERP"))]
)
async def test_a_client_that_polls_fast_sees_each_close_once_and_rightly(path: str, symbol: str) -> None:
    w, oracle = await streamed_world()
    asked = RandomQuestion(path, f"symbol={symbol}&interval=1m&limit=5")
    await poll(w, oracle, asked, 20.0, 5.0)
    before = len(w.calls())
    ages = await poll(w, oracle, asked, 130.0, 0.11)
    closes = 3
    assert reads(w, before) <= (0 if path == SPOT else closes)
    assert max(ages) <= 2_700


@pytest.mark.exhaustive
async def test_topics_of_a_symbol_that_trades_now_and_then_vouch_for_one_another() -> None:
    """The list names the symbol after the frame that shows its trade: alone, each series would be read."""
    w, oracle = await streamed_world()
    w.exchange.control.list_symbol("spot", "SLOWUSDT", listed_ms=w.clock.true_ms() - 86_400_000, trades_per_day=40_000)
    await w.clock.sleep(61.0)
    series = [RandomQuestion(SPOT, f"symbol=SLOWUSDT&interval={interval}&limit=20") for interval in INTERVALS]
    polling = asyncio.gather(*(poll(w, oracle, each, 180.0, 1.0, place * 0.17) for place, each in enumerate(series)))
    await w.clock.sleep(60.0)
    before = len(w.calls())
    ages = [age for found in await polling for age in found]
    assert reads(w, before) <= 8
    assert max(ages) <= 2_700


async def test_what_frames_brought_is_settled_by_few_reads() -> None:
    w, oracle = await streamed_world()
    asked = RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=100")
    w.streams.mini_tickers = False
    await poll(w, oracle, asked, 60.0, 5.0)
    before = len(w.calls())
    await poll(w, oracle, asked, 3_600.0, 60.0)
    assert 2 <= reads(w, before) <= 3
    (series,) = [each for each in w.library if each.key.subject == "BTCUSDT"]
    assert series.tail is not None
    assert len(series.tail_rows) <= 25


async def test_a_series_that_nobody_asks_for_is_not_followed() -> None:
    w, oracle = await streamed_world()
    asked = RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
    await oracle.ask(w, asked)
    assert not w.streams.topics[Market.SPOT]  # asked once
    await oracle.ask(w, asked)
    assert w.streams.topics[Market.SPOT] == {"btcusdt@kline_1m"}
    before = len(w.calls())
    await w.clock.sleep(320.0)
    assert not w.streams.topics[Market.SPOT]
    assert reads(w, before) == 0


async def test_a_scan_of_one_interval_follows_nothing_and_the_second_interval_of_a_symbol_both() -> None:
    w, oracle = await streamed_world()
    for symbol in ("BTCUSDT", "BNBUSDT"):
        await oracle.ask(w, RandomQuestion(SPOT, f"symbol={symbol}&interval=1h&limit=5"))
    assert not w.streams.topics[Market.SPOT]
    await oracle.ask(w, RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=5"))
    assert w.streams.topics[Market.SPOT] == {"btcusdt@kline_1m", "btcusdt@kline_1h"}


async def test_pages_of_history_follow_nothing() -> None:
    w, oracle = await streamed_world()
    now_ms = w.clock.true_ms()
    for page in range(3):
        start_ms = now_ms - (4 - page) * 60_000_000
        await oracle.ask(w, RandomQuestion(SPOT, f"symbol=BTCUSDT&interval=1m&limit=1000&startTime={start_ms}"))
        await oracle.ask(w, RandomQuestion(SPOT, f"symbol=BTCUSDT&interval=1m&limit=100&endTime={start_ms}"))
    assert not w.streams.topics[Market.SPOT]
    for _ in range(2):  # the last page of a download, and what a poller asks
        await oracle.ask(w, RandomQuestion(SPOT, f"symbol=BTCUSDT&interval=1m&limit=10&startTime={now_ms - 500_000}"))
    assert w.streams.topics[Market.SPOT] == {"btcusdt@kline_1m"}


async def test_a_series_that_left_the_memory_is_not_followed_until_it_is_asked_for_again() -> None:
    w = await ready(VirtualDaemon(PLENTY, DaemonOptions(streams=True, memory_mb=0.2)))
    asked = RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
    oracle = KlineOracle(w.exchange, [0])
    await poll(w, oracle, asked, 10.0, 1.0)
    await w.ask(SPOT, "symbol=ETHUSDT&interval=1m&limit=1000")
    await w.ask(SPOT, "symbol=BNBUSDT&interval=1m&limit=1000")
    await w.clock.sleep(13.0)
    assert w.streams.topics[Market.SPOT] == set()
    await poll(w, oracle, asked, 3.0, 1.0)
    assert w.streams.topics[Market.SPOT] == {"btcusdt@kline_1m"}


async def test_without_frames_it_is_polled_by_the_ttl_and_frames_take_over_at_once_when_they_return() -> None:
    w, oracle = await streamed_world()
    asked = RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
    await poll(w, oracle, asked, 30.0, 1.0)
    w.streams.cut = True
    before = len(w.calls())
    ages = await poll(w, oracle, asked, 20.0, 1.0)
    assert 5 <= reads(w, before) <= 10
    assert max(ages) <= 2_700
    w.streams.cut = False
    await poll(w, oracle, asked, 5.0, 1.0)
    before = len(w.calls())
    await poll(w, oracle, asked, 40.0, 1.0)
    assert reads(w, before) <= 1


async def test_late_frames_show_their_age_and_do_not_pass_for_new() -> None:
    w, oracle = await streamed_world()
    w.streams.lag_s = 8.0
    asked = RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
    ages = await poll(w, oracle, asked, 200.0, 1.0)
    assert max(ages) <= 2_700


async def test_who_wants_no_cache_is_read_for() -> None:
    w, oracle = await streamed_world()
    asked = RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
    await poll(w, oracle, asked, 30.0, 5.0)
    before = len(w.calls())
    answer = await oracle.ask(w, asked, FreshnessDirectives(no_cache=True))
    oracle.goes_on(asked, answer)
    assert reads(w, before) == 1


async def test_a_burst_of_bots_at_a_close_on_futures_costs_one_read_a_series() -> None:
    """The final frame comes 2 s after the close: until then, the close is read."""
    w, oracle = await streamed_world()
    bots = [RandomQuestion(USDM, f"symbol=BTCUSDT&interval=1m&limit={limit}") for limit in range(60, 100)]
    await poll(w, oracle, bots[0], 20.0, 5.0)
    left_s = 60.0 - w.clock.true_ms() % 60_000 / 1000
    await w.clock.sleep(left_s + 0.1)
    before = len(w.calls())
    answers = await asyncio.gather(*(oracle.ask(w, each) for each in bots))
    assert reads(w, before) == 1
    closed_ms = w.clock.true_ms() // 60_000 * 60_000
    assert all(answer.as_of_ms >= closed_ms for answer in answers)
    await w.clock.sleep(1.5)
    await asyncio.gather(*(oracle.ask(w, each) for each in bots))
    assert reads(w, before) == 1


def sent_ahead(w: VirtualDaemon, ahead_ms: int) -> None:
    """The last frame comes again, as if a server's clock were wrong."""
    assert w.streams.last is not None
    market, topic, data = w.streams.last
    event = msgspec.json.decode(data)
    events = event if isinstance(event, list) else [event]
    for each in events:
        each["E"] = w.clock.true_ms() + ahead_ms
    w.streams.take(market, topic, msgspec.json.encode(event))


async def test_no_as_of_lies_in_the_future_whatever_the_clock_of_a_server_says() -> None:
    w, oracle = await streamed_world()
    w.streams.mini_tickers = False
    asked = RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
    await poll(w, oracle, asked, 6.0, 1.0)
    w.streams.cut = True
    for ahead_ms in (900, 1_500):
        sent_ahead(w, ahead_ms)
        assert w.clock.true_ms() - 2_700 < (await w.ask(asked.path, asked.query)).as_of_ms <= w.clock.true_ms() + 30


async def test_silence_ends_no_later_than_now() -> None:
    w, oracle = await streamed_world()
    asked = RandomQuestion(SPOT, "symbol=QUIETUSDT&interval=1h&limit=5")
    await poll(w, oracle, asked, 12.0, 1.0)
    w.streams.cut = True
    assert w.streams.last is not None
    assert w.streams.last[1] == MINI_TICKERS
    sent_ahead(w, 900)
    answer = await w.ask(asked.path, asked.query)
    assert w.clock.true_ms() - 100 < answer.as_of_ms <= w.clock.true_ms() + 30


async def test_frames_count_as_memory() -> None:
    w, oracle = await streamed_world()
    w.streams.mini_tickers = False
    await poll(w, oracle, RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1s&limit=5"), 10.0, 2.0)
    before = w.library.memory.held_bytes
    await w.clock.sleep(100.0)
    assert 100 * 200 < w.library.memory.held_bytes - before < 100 * 500


async def test_nothing_is_left_of_a_series_that_is_not_followed_any_more() -> None:
    w, oracle = await streamed_world()
    await poll(w, oracle, RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=5"), 10.0, 1.0)
    tails = w.cache.stream_tails
    assert tails is not None
    w.streams.cut = True
    (key,) = tails.followed
    assert not await tails._frames.wait(key, 1.0)
    await w.clock.sleep(320.0)
    frames = tails._frames
    assert (tails._asked_s, tails._followed, frames._taken_s, frames._waiting, frames._keys) == ({}, set(), {}, {}, {})


async def test_a_burst_of_frames_after_a_close_is_no_final_frame() -> None:
    """As after a stalled connection: each of them ended a wait, and the eighth the question."""
    w, oracle = await streamed_world()
    w.streams.mini_tickers = False
    asked = RandomQuestion(SPOT, "symbol=BTCUSDT&interval=1m&limit=5")
    await poll(w, oracle, asked, 6.0, 1.0)
    await poll(w, oracle, asked, 59.8 - w.clock.true_ms() % 60_000 / 1000, 0.1)
    w.streams.cut = True
    await w.clock.sleep(60.02 - w.clock.true_ms() % 60_000 / 1000)

    async def burst() -> None:
        for _ in range(20):
            sent_ahead(w, 0)
            await w.clock.sleep(0.02)

    before = len(w.calls())
    coming = asyncio.create_task(burst())
    asked_ms = w.clock.true_ms()
    answer = await w.ask(asked.path, asked.query)
    await coming
    assert answer.as_of_ms >= asked_ms
    assert reads(w, before) == 1
    assert w.clock.true_ms() - asked_ms < 600
