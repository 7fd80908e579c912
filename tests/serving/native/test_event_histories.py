"""Random histories: listeners come and go, read slowly, and the exchange fails; no close is lost or repeated."""

import random
from pathlib import Path

import pytest

from mdcache.upstream.governor import GovernorSettings
from tests.serving.native.test_event_streams import PLENTY, check_closed, truth
from tests.support.event_client import EventClient, ReceivedEvent
from tests.support.examples import exhaustive, long
from tests.support.served_daemon import ServedDaemon
from tests.support.virtual_daemon import DaemonOptions

pytestmark = [pytest.mark.virtual, pytest.mark.untraced]

QUERIES = (
    "market=spot&symbols=BTCUSDT&intervals=1s",
    "market=spot&symbols=BTCUSDT,ETHUSDT&intervals=1m",
    "market=spot&symbols=ETHUSDT,BTCUSDT&intervals=1s,1m&closed=true",
    "market=usdm&symbols=BTCUSDT&intervals=1m,3m",
)
FAULTS = ("500", "drop", "truncate", "nan")
STREAM_FAULTS = ("silent", "garbage", "stuck", "dropped", "late", "no_finals")


class Chain:
    """One listener through all its connections."""

    def __init__(self, world: ServedDaemon, query: str) -> None:
        self.world = world
        self.query = query
        self.client: EventClient | None = EventClient(world.app, query)
        self.began_ms = world.clock.true_ms()
        self.last_id = ""
        self.events: list[ReceivedEvent] = []

    async def leave(self) -> None:
        if self.client is not None:
            await self.client.close()
            self.events += self.client.events
            self.last_id = self.client.last_id
            self.client = None

    def come(self) -> None:
        if self.client is None:
            if not self.last_id:
                self.began_ms = self.world.clock.true_ms()
            self.client = EventClient(self.world.app, self.query, self.last_id)


async def happen(w: ServedDaemon, rng: random.Random, chains: list[Chain]) -> None:
    """Let one thing happen."""
    control, chain = w.exchange.control, rng.choice(chains)
    match rng.randrange(8):
        case 0:
            await chain.leave()
        case 1 | 2:
            chain.come()
        case 3:
            control.fault(rng.choice(FAULTS), path="/api/v3/klines", count=rng.randrange(1, 4))
        case 4:
            control.clear_faults()
            control.stream_fault(rng.choice(STREAM_FAULTS), life_s=1.0, delay_s=3.0)
        case 5:
            control.clear_stream_faults()
            w.net.unplugged = rng.random() < 0.3
        case 6 if chain.client is not None:
            (chain.client.reads.clear if rng.random() < 0.5 else chain.client.reads.set)()
        case 7 if rng.random() < 0.3:
            for each in chains:
                await each.leave()
            await w.aclose()
            w.restart()


@pytest.mark.parametrize("seed", [1, *exhaustive(2, 3), *long(*range(4, 9))])
async def test_no_close_is_lost_or_repeated(seed: int, tmp_path: Path) -> None:
    steps = 10 if seed == 1 else 40
    rng = random.Random(seed)
    options = DaemonOptions(connections=rng.random() < 0.7, limits=GovernorSettings(weight_share=0.9))
    w = ServedDaemon(PLENTY, options, tmp_path)
    control = w.exchange.control
    control.latency(before_s=0.03, after_s=0.03)
    chains = [Chain(w, query) for query in QUERIES]
    for _ in range(steps):
        await w.clock.sleep(rng.choice([0.001, 0.3, 1.0, 2.1, 5.0, 20.0]))
        await happen(w, rng, chains)
    w.net.unplugged = False
    control.clear_faults()
    control.clear_stream_faults()
    for chain in chains:
        chain.come()
        if chain.client is not None:
            chain.client.reads.set()
    await w.clock.sleep(75.0)
    for chain in chains:
        await chain.leave()
        for series in {event.series for event in chain.events}:
            own = [event for event in chain.events if event.series == series]
            closes = [event.row[6] for event in own if event.name == "closed"]
            ended = [row[6] for row in truth(w, own[0], w.clock.true_ms()) if row[6] < w.clock.true_ms() - 5_000]
            if closes:
                check_closed(w, own, min(closes) - 1, max(closes))
            assert [close_ms for close_ms in ended if chain.began_ms < close_ms < min(closes, default=0)] == []
            assert max(closes, default=chain.began_ms) >= max(ended)
