"""Topics and troubles at random: whatever happened, all that is wanted comes again, within every limit."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from mdcache.exchange.markets import Market
from mdcache.upstream.streams.limits import LIMITS
from tests.support.examples import seeds
from tests.upstream.streams.world import StreamWorld

pytestmark = [pytest.mark.virtual, pytest.mark.untraced]

POOL = {
    Market.SPOT: [f"{name}usdt@kline_{interval}" for name in ("btc", "eth", "sol", "xrp") for interval in ("1m", "5m")],
    Market.USDM: [f"{name}usdt@kline_1m" for name in ("btc", "eth", "sol", "xrp", "doge")],
    Market.COINM: ["btcusd_perp@kline_1m", "ethusd_perp@kline_1m", "btcusd_perp@kline_1h"],
}
HANDSHAKES = ("500", "503", "timeout", "drop")
PATHS = ("/stream", "/usdm", "/coinm")
STREAMS = ("silent", "half", "stuck", "garbage", "late", "dropped", "ended")


def _change_topics(world: StreamWorld, wanted: set[tuple[Market, str]], rng: random.Random) -> None:
    market = rng.choice(list(Market))
    topic = rng.choice(POOL[market])
    if (market, topic) in wanted and rng.random() < 0.4:
        wanted.discard((market, topic))
        world.streams.unsubscribe(market, topic)
    else:
        wanted.add((market, topic))
        world.streams.subscribe(market, topic)


def _make_trouble(world: StreamWorld, rng: random.Random) -> None:
    match rng.randrange(5):
        case 0:
            world.control.stream_fault(rng.choice(STREAMS), seconds=rng.uniform(1, 60))
        case 1:
            world.control.fault(rng.choice(HANDSHAKES), path=rng.choice(PATHS), count=rng.randint(1, 5))
        case 2:
            world.control.close_streams(notice_s=rng.choice([0.0, 0.5, 10.0]))
        case 3:
            world.net.pull_the_cable()
        case _:
            world.net.unplugged = False


def _assert_within_limits(world: StreamWorld) -> None:
    assert world.most_connects_a_minute() <= 20
    for connection in world.net.connections:
        times = [at for at, _ in connection.sent]
        market = Market(connection.session.market)
        assert all(after - before >= LIMITS[market].message_every_s - 1e-6 for before, after in pairwise(times))
    carrying = Counter(connection.session.market for connection in world.net.open)
    assert max(carrying.values(), default=0) <= 1, "one connection a market is enough for so few topics"


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", seeds(3, 24))
async def test_whatever_happened_all_that_is_wanted_comes_again(seed: int) -> None:
    world, rng, wanted = StreamWorld(seed), random.Random(seed), set[tuple[Market, str]]()
    await world.governor.start()
    for _ in range(40):
        for _ in range(rng.randrange(3)):
            _change_topics(world, wanted, rng)
        if rng.random() < 0.4:
            _make_trouble(world, rng)
        await world.wait(rng.expovariate(0.2))
    world.net.unplugged = False
    world.control.clear_faults()
    world.control.clear_stream_faults()
    end_s = world.clock.now()
    await world.wait(45)
    late = {key: found for key in wanted if (found := world.consumer.since(end_s, key[0], key[1])[0]) > 20}
    assert late == {}
    subscribed = {
        (Market(connection.session.market), topic)
        for connection in world.net.open
        for topic in connection.session.topics
        if topic != "!miniTicker@arr"
    }
    assert subscribed == wanted
    _assert_within_limits(world)
