"""The incident without streams, at default settings: it fits the default share, and no answer is older than its TTL."""

import asyncio

import pytest

from mdcache.candles.freshness import FreshnessDirectives
from mdcache.settings import Settings
from mdcache.sim import SimConfig
from mdcache.sim.config import DAY_MS
from mdcache.sim.default_symbols import default_symbols
from tests.support.examples import exhaustive, long
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon, ready

pytestmark = [pytest.mark.virtual, pytest.mark.untraced]

PATH = "/api/v3/klines"
SYMBOLS, CONSUMERS, EVERY_S, MINUTES = 20, 3, 5.0, 2
ASKED = ("1m", "5m", "15m", "1h", "4h", "1d")


@pytest.mark.parametrize(("derive", "most"), [*long((False, 2_100)), *exhaustive((True, 1_200))])
async def test_the_incident_fits_the_default_share_with_room(*, derive: bool, most: int) -> None:
    w = VirtualDaemon(SimConfig(), DaemonOptions(ttl_s=None, derive=derive))
    settings = Settings()
    now_ms = w.clock.true_ms()
    listed = [each for each in default_symbols() if each.market == "spot" and each.status_at(now_ms) == "TRADING"]
    names = [each.symbol for each in listed if each.visible(now_ms - 30 * DAY_MS)][:SYMBOLS]
    assert len(names) == SYMBOLS
    questions = [(symbol, interval) for symbol in names for interval in ASKED]
    await w.clock.sleep(60 - w.clock.true_ms() / 1000 % 60)
    start_s = w.clock.now()
    ages_s: dict[str, list[float]] = {interval: [] for interval in ASKED}

    async def consumer(number: int) -> None:
        first = number * len(questions) // CONSUMERS
        mine = questions[first:] + questions[:first]
        for turn in range(round(MINUTES * 60 / EVERY_S)):
            for place, (symbol, interval) in enumerate(mine):
                await w.clock.sleep(start_s + (turn + place / len(mine)) * EVERY_S - w.clock.now())
                answer = await w.ask(PATH, f"symbol={symbol}&interval={interval}&limit=500")
                assert not answer.stale
                ages_s[interval].append((w.clock.true_ms() - answer.as_of_ms) / 1000)

    await asyncio.gather(*(consumer(number) for number in range(CONSUMERS)))
    assert sum(map(len, ages_s.values())) == MINUTES * 60 / EVERY_S * CONSUMERS * len(questions)
    for interval, found in ages_s.items():
        assert max(found) <= settings.candle_ttl_s(interval) + 0.1, interval  # the way of a read
    used = [0] * MINUTES
    for entry in w.exchange.log:
        used[(entry.at_ms - w.exchange.log[0].at_ms) // 60_000] += entry.weight
    assert max(used) <= most
    assert most <= 0.7 * 6_000 * settings.weight_share


async def test_a_caller_that_needs_it_fresher_says_so_and_pays_for_one_read_a_second_however_many_it_is() -> None:
    w = await ready(VirtualDaemon(SimConfig(), DaemonOptions(ttl_s=None)))
    query, before = "symbol=BTCUSDT&interval=1d&limit=500", len(w.calls())

    async def caller(number: int) -> None:
        for turn in range(40):
            await w.clock.sleep(start_s + turn * 0.25 + number * 0.1 - w.clock.now())
            answer = await w.ask(PATH, query, directives=FreshnessDirectives(max_age_s=1.0))
            assert w.clock.true_ms() - answer.as_of_ms <= 1_100

    start_s = w.clock.now()
    await asyncio.gather(*(caller(number) for number in range(3)))
    assert 9 <= len(w.calls(before)) <= 11
    await w.ask(PATH, query)
    await w.clock.sleep(15.0)
    assert w.clock.true_ms() - (await w.ask(PATH, query)).as_of_ms > 14_000  # the others' TTL is what it was
