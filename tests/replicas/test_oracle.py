"""Any history of three replicas, against the exchange's own truth.

Replicas are killed, stopped in the middle and started again; Redis is lost, emptied, slow and deaf; clocks differ.
No byte is ever wrong; for a caller who says what it saw, time never runs back, whichever replica answers; and what one
replica was told, another one that can reach Redis does not ask Binance for.
"""

import random

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.cache.answers import CacheStatus
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.persistence import SeriesFilter
from mdcache.exchange.markets import KLINE_ENDPOINTS
from mdcache.upstream.governor import GovernorSettings
from tests.support.examples import examples
from tests.support.kline_oracle import PLENTY, STEPS_S, KlineOracle, key_of
from tests.support.memory_shared_rows import MemoryRowServer, MemorySharedRows
from tests.support.random_klines import RandomQuestion, draw
from tests.support.sim_transport import SimTransport
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon
from tests.support.virtual_time import run

GIVEN_S = 0.1  # docs/design.md#replicas


class Late(SimTransport):
    """Its replies take longer than its requests: a clock measured by them is late by half the difference."""

    back_s = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reply = await super().handle_async_request(request)
        await self._clock.sleep(self.back_s)
        return reply


class RandomReplicas:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.worlds: list[VirtualDaemon] = []
        self.behind_ms = rng.choice([[0, 0, 0], [0, 25, 100], [100, 0, 0]])
        self.lags_ms = rng.choice([[0], [0], [0, 1_500]])
        options = DaemonOptions(
            ttl_s=rng.choice([0.5, 2.0, 10.0]),
            memory_mb=rng.choice([0.5, 512.0, 512.0]),
            limits=GovernorSettings(weight_share=0.9),
        )
        for n, behind_ms in enumerate(self.behind_ms):
            world = VirtualDaemon(PLENTY, options, beside=self.worlds[0] if n else None)
            if not n:
                self.server = MemoryRowServer(world.clock)
            late = Late(world.exchange, world.clock)
            late.back_s = behind_ms / 500
            world.transport = late
            self.worlds.append(world)
            self.start(world)
        exchange = self.worlds[0].exchange
        exchange.control.set_replicas(self.lags_ms, mode="alternate")
        off_ms = sorted({0, *(ms + off for ms in self.behind_ms if ms for off in (-1, 0, 1))})
        self.oracle = KlineOracle(exchange, self.lags_ms, off_ms)

    def start(self, world: VirtualDaemon) -> None:
        """A new process; what is left of an old one can't reach the others any more."""
        if isinstance(world.row_store, MemorySharedRows):
            world.row_store.cut = True
        world.row_store = MemorySharedRows(self.server)
        world.restart()

    def trouble(self) -> None:
        """One thing goes wrong, or is right again."""
        server, rng = self.server, self.rng
        match rng.choice(["kill", "stall", "down", "up", "up", "empty", "deaf", "slow", "lose", "nothing"]):
            case "kill":
                self.start(rng.choice(self.worlds))
            case "stall":
                self.commons_of(rng.choice(self.worlds)).stalled_s = rng.choice([0.0, 0.0, 1.5, 5.0])
            case "down":
                server.up = False
            case "up":
                server.up, server.drops_messages, server.slow_s = True, False, 0.001
            case "empty":
                server.empty()
            case "deaf":
                server.drops_messages = True
            case "slow":
                server.slow_s = 0.05
            case "lose":
                server.lose(rng)

    def commons_of(self, world: VirtualDaemon) -> MemorySharedRows:
        assert isinstance(world.row_store, MemorySharedRows)
        return world.row_store

    @property
    def healthy(self) -> bool:
        sound = self.server.up and not any(self.commons_of(world).stalled_s for world in self.worlds)
        return sound and self.lags_ms == [0] and self.worlds[0].options.memory_mb > 1


async def history(seed: int, steps: int) -> None:
    rng = random.Random(seed)
    fleet = RandomReplicas(rng)
    paths = rng.sample(sorted(KLINE_ENDPOINTS), 2)
    asked = draw(rng, fleet.worlds[0].clock.true_ms(), paths=paths)
    for _ in range(steps):
        if rng.random() < 0.5:
            asked = draw(rng, fleet.worlds[0].clock.true_ms(), paths=paths)
        world = rng.choice(fleet.worlds)
        key = key_of(asked)
        answer = await fleet.oracle.ask(world, asked, FreshnessDirectives(min_as_of_ms=fleet.oracle.shown.get(key)))
        fleet.oracle.goes_on(asked, answer)
        if fleet.healthy:
            await world.clock.sleep(GIVEN_S)
            await _cost_nothing(fleet, asked, whole=answer.settled and answer.cache_status is CacheStatus.MISS)
        if rng.random() < 0.3:
            fleet.trouble()
        if rng.random() < 0.03:
            await world.cache.purge.run(SeriesFilter(subject=key.subject))
        await world.clock.sleep(rng.choice(STEPS_S))
    for world in fleet.worlds:
        await world.aclose()


async def _cost_nothing(fleet: RandomReplicas, asked: RandomQuestion, *, whole: bool) -> None:
    """Ask another replica what was just answered: if all of it was read, the other replica sends no read."""
    other = fleet.rng.choice(fleet.worlds)
    await other.ask("/api/v3/klines", "symbol=ETHUSDT&interval=1d&limit=1&startTime=0&endTime=1")  # knows the symbols
    before = len(other.calls())
    await fleet.oracle.ask(other, asked)
    key = key_of(asked)
    (series,) = [each for each in other.library if each.key == key]
    if whole and not len(series.empty_ranges):  # empty ranges are checked again in the background
        name, interval = f"={key.subject}&", f"interval={key.interval}&"
        calls = [
            call for call in other.calls(before) if call.startswith(asked.path) and name in call and interval in call
        ]
        assert calls == [], asked


@pytest.mark.untraced
@given(seed=st.integers(0, 2**32))
@examples(8, 400)
def test_any_history_of_three_replicas(seed: int) -> None:
    run(history(seed, 14))
