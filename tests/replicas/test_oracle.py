"""Any history of three replicas, against the exchange's own truth.

Replicas are killed, stopped in the middle and started again; Redis is lost, emptied, slow and deaf; clocks differ.
No byte is ever wrong; for a caller who says what it saw, time never runs back, whichever replica answers; and what one
replica was told, another one that can reach Redis does not ask Binance for.
"""

import random

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdcache.cache.answers import How
from mdcache.candles.atrest import Which
from mdcache.candles.freshness import Wishes
from mdcache.exchange.markets import KLINE_PATHS
from mdcache.upstream.governor import Limits
from tests.cache.oracle import PLENTY, STEPS_S, Oracle, key_of
from tests.cache.questions import Asked, draw
from tests.world.commons import FakeCommons, Server
from tests.world.loop import run
from tests.world.network import SimTransport
from tests.world.world import Options, World

GIVEN_S = 0.1  # 6.8.3


class Late(SimTransport):
    """Its replies take longer on the way back: whoever measures the exchange's clock by them is behind by half."""

    back_s = 0.0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reply = await super().handle_async_request(request)
        await self._clock.sleep(self.back_s)
        return reply


class Fleet:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.worlds: list[World] = []
        self.behind_ms = rng.choice([[0, 0, 0], [0, 25, 100], [100, 0, 0]])
        self.lags_ms = rng.choice([[0], [0], [0, 1_500]])
        options = Options(
            ttl_s=rng.choice([0.5, 2.0, 10.0]),
            memory_mb=rng.choice([0.5, 512.0, 512.0]),
            limits=Limits(weight_share=0.9),
        )
        for n, behind_ms in enumerate(self.behind_ms):
            world = World(PLENTY, options, beside=self.worlds[0] if n else None)
            if not n:
                self.server = Server(world.clock)
            late = Late(world.exchange, world.clock)
            late.back_s = behind_ms / 500
            world.transport = late
            self.worlds.append(world)
            self.start(world)
        exchange = self.worlds[0].exchange
        exchange.control.set_replicas(self.lags_ms, mode="alternate")
        off_ms = sorted({0, *(ms + off for ms in self.behind_ms if ms for off in (-1, 0, 1))})
        self.oracle = Oracle(exchange, self.lags_ms, off_ms)

    def start(self, world: World) -> None:
        """A new process; what is left of an old one can't reach the others any more."""
        if isinstance(world.commons, FakeCommons):
            world.commons.cut = True
        world.commons = FakeCommons(self.server)
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
                server.up, server.deaf, server.slow_s = True, False, 0.001
            case "empty":
                server.empty()
            case "deaf":
                server.deaf = True
            case "slow":
                server.slow_s = 0.05
            case "lose":
                server.lose(rng)

    def commons_of(self, world: World) -> FakeCommons:
        assert isinstance(world.commons, FakeCommons)
        return world.commons

    @property
    def healthy(self) -> bool:
        sound = self.server.up and not any(self.commons_of(world).stalled_s for world in self.worlds)
        return sound and self.lags_ms == [0] and self.worlds[0].options.memory_mb > 1


async def history(seed: int, steps: int) -> None:
    rng = random.Random(seed)
    fleet = Fleet(rng)
    paths = rng.sample(sorted(KLINE_PATHS), 2)
    asked = draw(rng, fleet.worlds[0].clock.true_ms(), paths=paths)
    for _ in range(steps):
        if rng.random() < 0.5:
            asked = draw(rng, fleet.worlds[0].clock.true_ms(), paths=paths)
        world = rng.choice(fleet.worlds)
        key = key_of(asked)
        answer = await fleet.oracle.ask(world, asked, Wishes(min_as_of_ms=fleet.oracle.shown.get(key)))
        fleet.oracle.goes_on(asked, answer)
        if fleet.healthy:
            await world.clock.sleep(GIVEN_S)
            await _cost_nothing(fleet, asked, whole=answer.settled and answer.how is How.MISS)
        if rng.random() < 0.3:
            fleet.trouble()
        if rng.random() < 0.03:
            which = Which(subject=key.subject)
            await world.forget(which)
            await world.flights.sharing.purge(which)
        await world.clock.sleep(rng.choice(STEPS_S))
    for world in fleet.worlds:
        await world.aclose()


async def _cost_nothing(fleet: Fleet, asked: Asked, *, whole: bool) -> None:
    """What was just answered is asked of another replica: if all was read for it, the other asks nobody else."""
    other = fleet.rng.choice(fleet.worlds)
    await other.ask("/api/v3/klines", "symbol=ETHUSDT&interval=1d&limit=1&startTime=0&endTime=1")  # knows the symbols
    before = len(other.calls())
    await fleet.oracle.ask(other, asked)
    key = key_of(asked)
    series = other.library.find(key)
    assert series is not None
    if whole and not len(series.voids):  # emptiness is looked at again behind an answer
        name, interval = f"={key.subject}&", f"interval={key.interval}&"
        calls = [
            call for call in other.calls(before) if call.startswith(asked.path) and name in call and interval in call
        ]
        assert calls == [], asked


@pytest.mark.untraced
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_any_history_of_three_replicas(seed: int) -> None:
    run(history(seed, 14))
