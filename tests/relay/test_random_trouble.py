"""Listeners, tails and troubles at random, against what clients get that are connected by themselves and never lose.

Whatever happens, a listener gets frames in order and once; of topics of which each frame counts, all of them from the
first to the last, or it is closed.
"""

import random

import pytest

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import TopicKind, frame_position, in_micros, kline_mark, topic_kind
from mdcache.relay import sliced_work
from tests.relay.direct_client import DirectClient
from tests.support.examples import seeds
from tests.support.relay_listener import FakeListener
from tests.upstream.streams.world import StreamWorld

pytestmark = [pytest.mark.virtual, pytest.mark.untraced]

POOL = {
    Market.SPOT: (
        *("btcusdt@kline_1m", "ethusdt@trade", "solusdt@bookTicker", "xrpusdt@depth5", "bnbusdt@aggTrade"),
        *map(in_micros, ("btcusdt@kline_1m", "ethusdt@trade", "!miniTicker@arr")),
    ),
    Market.USDM: ("btcusdt@kline_1m", "ethusdt@aggTrade", "solusdt@trade", "solusdt@depth", "xrpusdt@bookTicker"),
}
NOBODYS = "nobodys@topic"


class _Crowd:
    """Listeners, some of which have gone."""

    def __init__(self, world: StreamWorld, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self.present: list[FakeListener] = []
        self.gone: list[FakeListener] = []

    def change(self) -> None:
        market = self._rng.choice(list(POOL))
        topics = self._rng.sample([*POOL[market], NOBODYS], self._rng.randint(1, 3))
        match self._rng.randrange(6):
            case 0 if self.present:
                listener = self.present.pop(self._rng.randrange(len(self.present)))
                listener.leave()
                self.gone.append(listener)
            case 1:
                self._world.subscribe(POOL[market][0], market=market)
            case 2:
                self._world.streams.unsubscribe(market, POOL[market][0])
            case _ if self._world.relay.refusal(market) is None:
                self.present.append(FakeListener(self._world.relay, market, *topics))
            case _:
                pass
        self.gone += [one for one in self.present if one.closed is not None]
        self.present = [one for one in self.present if one.closed is None]


def _make_trouble(world: StreamWorld, rng: random.Random) -> None:
    match rng.randrange(7):
        case 0:
            world.control.stream_fault(rng.choice(("dropped", "ended")), seconds=rng.uniform(1, 20))
        case 1:
            world.control.fault(rng.choice(("500", "timeout", "drop")), path="/stream", count=rng.randint(1, 3))
        case 2 | 3:
            world.control.close_streams(notice_s=rng.choice([0.0, 0.5, 10.0]))
        case 4:
            world.net.pull_the_cable()
        case 5:
            topic = rng.choice(["", "@trade", "@aggTrade", "solusdt@depth"])
            world.control.stream_fault("broken", topic=topic, seconds=rng.choice([0.3, 3.0]))
        case _:
            world.net.unplugged = False


def _check(listener: FakeListener, truth: DirectClient) -> None:
    for topic in {frame.topic for frame in listener.frames}:
        heard, kind = listener.of(topic), topic_kind(topic)
        positions = [frame_position(topic, data) or 0 for data in heard]
        assert positions == sorted(positions)
        assert len(set(heard)) == len(heard)
        finals = [mark.open_ms for data in heard if (mark := kline_mark(data)) is not None and mark.final]
        assert len(set(finals)) == len(finals)
        if kind is TopicKind.LOSSLESS:
            assert heard == truth.since(topic, heard[0], heard[-1]), topic
        elif kind is TopicKind.CONFLATABLE:
            assert set(heard) <= set(truth.of(topic)), topic


@pytest.mark.parametrize("seed", seeds(2, 16))
async def test_listeners_get_the_truth_or_are_told(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2 == 0:  # as if there were always too many at once
        monkeypatch.setattr(sliced_work, "_SLICE_S", 0.0)
    world, rng = StreamWorld(seed), random.Random(seed)
    await world.governor.start()
    truths = {market: DirectClient(world, market, *topics) for market, topics in POOL.items()}
    crowd = _Crowd(world, rng)
    for _ in range(20):
        for _ in range(rng.randrange(4)):
            crowd.change()
        if rng.random() < 0.4:
            _make_trouble(world, rng)
        await world.wait(rng.expovariate(0.3))
    world.net.unplugged = False
    world.control.clear_faults()
    world.control.clear_stream_faults()
    await world.wait(25)
    assert all(world.relay.refusal(market) is None for market in POOL)
    crowd.change()
    calm = {listener: len(listener.frames) for listener in crowd.present}
    await world.wait(25)
    for listener, heard in calm.items():
        topics = {topic for _, topic in world.relay._outboxes[listener].topics}
        assert {frame.topic for frame in listener.frames[heard:]} == topics - {NOBODYS}
    assert crowd.gone
    for listener in crowd.present + crowd.gone:
        _check(listener, truths[listener.market])
        listener.leave()
    await world.wait(0.1)
    for market, pool in POOL.items():
        world.streams.unsubscribe(market, pool[0])
    assert not world.relay._topics
    await world.wait(65)
    assert not world.net.open
    assert world.most_connects_a_minute() <= 20
