"""What is read, and how often: each fact once, however many ask for it, and in whatever form.

Rule: docs/design.md#purpose, #windows, #flights.
"""

import asyncio
import random

import pytest

from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.ranges import FOREVER_MS
from mdcache.candles.stored_blocks import evict_block
from mdcache.errors import DeadlinePassed, Refusal
from mdcache.sim import SimConfig
from mdcache.upstream.governor import GovernorSettings
from tests.support.examples import long
from tests.support.random_klines import draw
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon, ready

pytestmark = pytest.mark.virtual

SPOT = "/api/v3/klines"
PLENTY = SimConfig(spot_limit=1_000_000, futures_limit=1_000_000)
MINUTE, DAY = 60_000, 86_400_000


ELEVEN_FORMS = [
    "limit=500",
    "limit=499",
    "limit=1",
    "limit=1000",
    "",
    "startTime={now-30000000}",
    "startTime={now-30000000}&limit=37",
    "endTime={now}&limit=100",
    "endTime={now-600000}&limit=100",
    "startTime={now-36000000}&endTime={now-600000}",
    "startTime={now-3600001}&endTime={now}&limit=7",
]


def form(template: str, now_ms: int) -> str:
    for offset in (30_000_000, 36_000_000, 3_600_001, 600_000):
        template = template.replace(f"{{now-{offset}}}", str(now_ms - offset))
    return template.replace("{now}", str(now_ms))


@pytest.mark.parametrize(
    ("path", "symbol"), [(SPOT, "BTCUSDT"), ("/fapi/v1/klines", "BTCUSDT"), ("/dapi/v1/klines", "BTCUSD_PERP")]
)
@pytest.mark.parametrize("latency_s", [0.0, 0.2])
async def test_a_crowd_of_330_in_eleven_forms_costs_two_calls(path: str, symbol: str, latency_s: float) -> None:
    w = VirtualDaemon(PLENTY)
    await ready(w, "ETHUSD_PERP" if "dapi" in path else "ETHUSDT", path)
    w.exchange.control.latency(before_s=latency_s / 2, after_s=latency_s / 2)
    before, now = len(w.calls()), w.clock.true_ms()
    queries = [f"symbol={symbol}&interval=1m&{form(ELEVEN_FORMS[n % 11], now)}".rstrip("&") for n in range(330)]
    random.Random(5).shuffle(queries)
    answers = await asyncio.gather(*(w.ask(path, query) for query in queries))
    assert len(w.calls()) - before <= 2, w.calls(before)
    w.as_of_error_ms = [0, *range(90, 111)]
    for query, answer in zip(queries[:40], answers, strict=False):
        assert answer.body in [w.exchange.truth(path, query, at_ms=answer.as_of_ms + off) for off in w.as_of_error_ms]


@pytest.mark.parametrize("interval", ["1s", "1m", "1h", "1d", "3d", "1w", "1M"])
async def test_a_listing_probe_and_a_halted_symbol_cost_three_calls_at_most(interval: str) -> None:
    w = await ready(VirtualDaemon(PLENTY))
    for query in (
        f"symbol=BTCUSDT&interval={interval}&startTime=0&limit=1",
        f"symbol=BCCUSDT&interval={interval}&limit=500",
        f"symbol=NEWUSDT&interval={interval}&limit=1000&endTime={w.clock.true_ms()}",
    ):
        before = len(w.calls())
        first = await w.ask(SPOT, query)
        assert len(w.calls()) - before <= 3, w.calls(before)
        assert first.body == w.exchange.truth(SPOT, query, at_ms=first.as_of_ms)
        before = len(w.calls())
        await w.ask(SPOT, query)
        assert len(w.calls()) == before


async def test_nothing_is_asked_twice_at_the_far_end_or_in_a_hole() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    outage = 1_518_049_694_788  # BTCUSDT, 2018-02-08
    queries = [
        f"symbol=BTCUSDT&interval=1h&startTime={outage + 3_600_000}&endTime={outage + 4 * 3_600_000}",
        f"symbol=BTCUSDT&interval=1h&startTime={outage}&limit=3",
        f"symbol=BTCUSDT&interval=1h&endTime={outage + 3_600_000}&limit=3",
        "symbol=BTCUSDT&interval=1h&startTime=0&limit=10",
        "symbol=BTCUSDT&interval=1h&startTime=1000&endTime=1500000000000",
        "symbol=BCCUSDT&interval=1h&startTime=1600000000000",
        "symbol=BCCUSDT&interval=1h&endTime=1600000000000&limit=2",
        f"symbol=BTCUSDT&interval=1h&startTime={w.clock.true_ms() + DAY}",
    ]
    for query in queries:
        await w.ask(SPOT, query)
    await w.clock.sleep(20)
    before = len(w.calls())
    for query in queries:
        answer = await w.ask(SPOT, query)
        assert answer.body == w.exchange.truth(SPOT, query, at_ms=answer.as_of_ms), query
    assert w.calls(before) == [f"{SPOT}?symbol=BCCUSDT&interval=1h&limit=100"]  # an end is trusted for seconds


@pytest.mark.parametrize("path", [SPOT, "/fapi/v1/klines"])
async def test_a_half_known_range_costs_one_call(path: str) -> None:
    w = await ready(VirtualDaemon(PLENTY), path=path)
    t = 1_700_000_000_000 - 1_700_000_000_000 % MINUTE
    await w.ask(path, f"symbol=BTCUSDT&interval=1m&startTime={t}&endTime={t + 399 * MINUTE}&limit=400")
    await w.ask(path, f"symbol=BTCUSDT&interval=1m&startTime={t + 2000 * MINUTE}&endTime={t + 2100 * MINUTE}&limit=101")
    before = len(w.calls())
    query = f"symbol=BTCUSDT&interval=1m&startTime={t}&endTime={t + 1900 * MINUTE}&limit=1000"
    answer = await w.ask(path, query)
    assert answer.body == w.exchange.truth(path, query, at_ms=answer.as_of_ms)
    assert len(w.calls()) - before <= 1


async def test_two_hundred_clients_half_of_them_leaving_cost_one_call() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    w.exchange.control.latency(before_s=0.1, after_s=0.1)
    before = len(w.calls())
    tasks = [asyncio.create_task(w.ask(SPOT, "symbol=BTCUSDT&interval=5m&limit=500")) for _ in range(200)]
    rng = random.Random(1)
    for leaving in rng.sample(tasks, 100):
        await w.clock.sleep(rng.choice([0.0, 0.0, 0.001, 0.003]))
        leaving.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    answered = [a for a in answers if not isinstance(a, BaseException)]
    assert len(answered) == 100
    assert all(a.rows == 500 for a in answered)
    assert len(w.calls()) - before == 1
    assert len(w.flights) == 0


async def test_the_only_client_leaving_wastes_nothing_that_was_sent() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    w.exchange.control.latency(after_s=0.3)
    task = asyncio.create_task(w.ask(SPOT, "symbol=BTCUSDT&interval=5m&limit=500"))
    await w.clock.sleep(0.1)
    task.cancel()
    await w.clock.sleep(1.0)
    before = len(w.calls())
    assert (await w.ask(SPOT, "symbol=BTCUSDT&interval=5m&limit=500")).rows == 500
    assert len(w.calls()) == before


@pytest.mark.exhaustive
@pytest.mark.untraced
@pytest.mark.parametrize("seed", [2, *long(0, 1, 3)])
async def test_pools_survive_clients_that_leave_at_any_moment(seed: int) -> None:
    rng = random.Random(seed)
    w = await ready(VirtualDaemon(PLENTY))
    w.exchange.control.latency(before_s=0.02, after_s=0.02, jitter_s=0.05)
    tasks = []
    for _ in range(80):
        asked = draw(rng, w.clock.true_ms(), paths=[SPOT, "/api/v3/uiKlines"])
        tasks.append(asyncio.create_task(w.ask(asked.path, asked.query, headers=dict(asked.headers))))
        await w.clock.sleep(rng.choice([0, 0, 0.001, 0.01]))
        if rng.random() < 0.7:
            rng.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await w.clock.sleep(30)
    assert len(w.flights) == 0
    answers = await asyncio.gather(
        *(w.ask(SPOT, f"symbol={s}&interval=1m&limit=5") for s in ("LTCUSDT", "ADAUSDT", "XRPUSDT") * 10)
    )
    assert len(answers) == 30


async def test_a_stalled_flight_frees_its_key_and_ends_by_itself() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    w.exchange.control.fault("timeout", count=1, path=SPOT)
    query = "symbol=BTCUSDT&interval=5m&limit=500"
    first = asyncio.create_task(w.ask(SPOT, query))
    await w.clock.sleep(7)
    assert (await w.ask(SPOT, query)).rows == 500
    assert (await first).rows == 500  # its second try


async def test_a_client_waits_no_longer_than_its_deadline() -> None:
    w = await ready(VirtualDaemon(PLENTY, DaemonOptions(deadline_s=3.0)))
    w.exchange.control.fault("timeout", path=SPOT)
    began = w.clock.now()
    with pytest.raises(DeadlinePassed):
        await w.ask(SPOT, "symbol=BTCUSDT&interval=5m&limit=500")
    assert w.clock.now() - began == pytest.approx(3.0, abs=0.01)


async def test_invented_symbols_cost_one_refresh_and_no_memory() -> None:
    w = await ready(VirtualDaemon(PLENTY))
    await w.clock.sleep(61)
    before, series = len(w.exchange.log), len(w.library)

    async def refused(n: int) -> int:
        with pytest.raises(Refusal) as caught:
            await w.ask(SPOT, f"symbol=FAKE{n}USDT&interval=1m")
        return caught.value.code

    codes = await asyncio.gather(*(refused(n) for n in range(2_600)))
    assert set(codes) == {-1121}
    assert [entry.path for entry in list(w.exchange.log)[before:]] == ["/api/v3/exchangeInfo"]
    assert len(w.library) == series


@pytest.mark.parametrize(
    ("path", "symbol"), [(SPOT, "BTCUSDT"), ("/fapi/v1/klines", "BTCUSDT"), ("/dapi/v1/klines", "BTCUSD_PERP")]
)
@pytest.mark.parametrize("form", ["limit=5", "limit=300", "startTime={}", "startTime={}&endTime={}"])
async def test_evicted_rows_that_settled_just_now_are_read_with_the_tail(path: str, symbol: str, form: str) -> None:
    w = await ready(VirtualDaemon(PLENTY), symbol, path)
    minute = w.clock.true_ms() // 60_000 * 60_000
    query = f"symbol={symbol}&interval=1m&" + form.format(minute - 900_000, minute + 600_000)
    await w.ask(path, query)
    await w.clock.sleep((minute + 60_000 - w.clock.true_ms()) / 1000)
    for _ in range(12):  # two reads agree on the minute that ended: it is settled before a minute has passed
        await w.ask(path, query)
        await w.clock.sleep(1.0)
    await w.ask(path, query)
    (series,) = [one for one in w.library if one.key.interval == "1m"]
    assert series.tail is not None
    assert series.tail.start_ms == minute + 60_000
    for index in series.blocks.indexes(0, FOREVER_MS):
        evict_block(series, index)
    before = len(w.calls())
    answer = await w.ask(path, query)
    assert answer.body == w.exchange.truth(path, query, at_ms=answer.as_of_ms)
    assert len(w.calls()) - before == 1


@pytest.mark.exhaustive
async def test_the_memory_bound_holds_while_a_series_is_never_idle() -> None:
    """Polls that overlap pin a series for ever; its history must go all the same."""

    w = VirtualDaemon(PLENTY, DaemonOptions(memory_mb=2.0, limits=GovernorSettings(weight_share=0.9)))
    await ready(w)
    w.exchange.control.latency(before_s=0.5, after_s=0.5)
    stop = asyncio.Event()
    queries = [f"symbol=BTCUSDT&interval=1m&limit={n}" for n in (5, 6)]

    async def poll(query: str) -> None:
        while not stop.is_set():
            await w.ask(SPOT, query, directives=FreshnessDirectives(no_cache=True))

    polls = [asyncio.create_task(poll(queries[0]))]
    await asyncio.sleep(0.5)
    polls.append(asyncio.create_task(poll(queries[1])))
    now = w.clock.true_ms()
    held = []
    for page in range(60):
        start = now - 90_000 * MINUTE + page * 1_000 * MINUTE
        answer = await w.ask(SPOT, f"symbol=BTCUSDT&interval=1m&startTime={start}&limit=1000")
        assert answer.rows == 1_000
        held.append(w.library.memory.held_bytes)
    stop.set()
    await asyncio.gather(*polls)
    assert max(held) <= 2_500_000, max(held)
