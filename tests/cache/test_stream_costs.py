"""What 20 symbols × 6 timeframes × 3 consumers cost with streams, at the default settings: the figures of the incident.

Rule: docs/design.md#stream-fed, #silence.
"""

import asyncio
import random

import pytest

from mdcache.exchange.markets import Market
from mdcache.sim import SimConfig
from mdcache.sim.default_symbols import default_symbols
from tests.support.examples import exhaustive, long
from tests.support.kline_oracle import KlineOracle
from tests.support.polled_streams import PATHS, READ_AGES_MS, ROUND_TRIP_S
from tests.support.random_klines import RandomQuestion
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

pytestmark = [pytest.mark.virtual, pytest.mark.untraced]

INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
CONSUMERS, EVERY_S = 3, 5.0
MIN_TRADES_A_DAY = 40_000  # one in two seconds
EVENLY, TOGETHER = (EVERY_S / CONSUMERS, 0.2), (0.5, 2.0)  # apart by, each round within
STARTS = pytest.mark.parametrize(("apart_s", "round_s"), [EVENLY, TOGETHER])


def busy_symbols(market: Market, count: int) -> SimConfig:
    found = [
        spec
        for spec in default_symbols()
        if spec.market == market.value and spec.symbol.endswith("USDT") and spec.symbol.isascii()
        if spec.trades_per_day >= MIN_TRADES_A_DAY and spec.halted_ms is None and spec.announced_ms is None
    ]
    assert len(found) >= count
    return SimConfig(symbols=tuple(found[:count]))


class Incident:
    """The consumers of one market's symbols; one answer in fifty is compared with the exchange's truth."""

    def __init__(self, market: Market, symbols: int, seed: int = 1) -> None:
        config = busy_symbols(market, symbols)
        assert config.symbols is not None
        self.world = VirtualDaemon(config, DaemonOptions(ttl_s=None, connections=True))
        self.world.exchange.control.latency(before_s=ROUND_TRIP_S / 2, after_s=ROUND_TRIP_S / 2)
        self._oracle = KlineOracle(self.world.exchange, [0], READ_AGES_MS)
        self._rng = random.Random(seed)
        self._asked = [
            RandomQuestion(PATHS[market], f"symbol={spec.symbol}&interval={interval}&limit=500")
            for spec in config.symbols
            for interval in INTERVALS
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._seen = 0

    async def start(self, second: float, apart_s: float = 0.5, round_s: float = 2.0, span_s: int = 60) -> None:
        """Begin at a second of a span: a consumer every `apart_s`, each asking for everything within `round_s`."""
        await self.world.governor.start()
        await self.world.clock.sleep(span_s - self.world.clock.true_ms() / 1000 % span_s + second)
        for consumer in range(CONSUMERS):
            for asked in self._asked:
                first_s = self._rng.random() * round_s + consumer * apart_s
                self._tasks.append(asyncio.create_task(self._consume(asked, first_s)))

    async def _consume(self, asked: RandomQuestion, first_s: float) -> None:
        await self.world.clock.sleep(first_s)
        while True:
            if self._rng.random() < 0.02:
                await self._oracle.ask(self.world, asked)
            else:
                await self.world.ask(asked.path, asked.query)
            await self.world.clock.sleep(EVERY_S)

    async def minute(self) -> int:
        """The weight of the next minute."""
        done, _ = await asyncio.wait(self._tasks, timeout=60.0)
        for task in done:  # it never ends unless it failed
            task.result()
        log = list(self.world.exchange.log)
        seen, self._seen = self._seen, len(log)
        return sum(entry.weight for entry in log[seen:])

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.mark.parametrize(("apart_s", "round_s"), [*exhaustive(EVENLY), *long(TOGETHER)])
async def test_the_incident_on_spot_fits_the_share_many_times(apart_s: float, round_s: float) -> None:
    incident = Incident(Market.SPOT, 20)
    await incident.start(20.0, apart_s, round_s)
    cold = await incident.minute()
    warm = [await incident.minute() for _ in range(3)]  # each with a close
    await incident.stop()
    assert cold <= 280
    assert max(warm) <= 20


@pytest.mark.exhaustive
@STARTS
async def test_a_tenth_of_the_incident_on_spot(apart_s: float, round_s: float) -> None:
    incident = Incident(Market.SPOT, 2)
    await incident.start(20.0, apart_s, round_s)
    first = 23  # the clock and the symbols
    assert await incident.minute() <= first + 2 * 2 * len(INTERVALS)
    assert max([await incident.minute() for _ in range(3)]) <= 2
    await incident.stop()


@STARTS
async def test_a_start_just_after_a_close_costs_no_more(apart_s: float, round_s: float) -> None:
    """Candles that are read within `SETTLE_S` of their close are confirmed by the count of their trades."""
    incident = Incident(Market.SPOT, 2)
    await incident.start(0.5, apart_s, round_s, span_s=900)
    first = 23
    assert await incident.minute() <= first + 2 * 2 * len(INTERVALS)
    await incident.stop()


@pytest.mark.long
async def test_on_futures_each_close_costs_one_read_a_series() -> None:
    """The final frame comes two seconds after the close."""
    symbols = 4
    incident = Incident(Market.USDM, symbols)
    await incident.start(20.0)
    await incident.minute()
    warm = [await incident.minute() for _ in range(3)]
    await incident.stop()
    assert max(warm) <= symbols + 4
