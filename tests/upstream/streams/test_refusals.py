"""One odd name for which a whole SUBSCRIBE is refused: it is found, its listeners are told, and the others live."""

import json
import math
import random

import pytest

from mdcache.exchange.markets import Market
from mdcache.upstream.streams.subscriptions import Subscriptions
from tests.support.relay_listener import FakeListener
from tests.upstream.streams.world import StreamWorld

NAMES = [f"s{number}@trade" for number in range(100)]


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_all_topics_but_the_refused_ones_are_subscribed_to_in_few_messages(seed: int, *, numbered: bool) -> None:
    rng = random.Random(seed)
    odd = set(rng.sample(NAMES, rng.randrange(6)))
    subscriptions, sent, accepted = Subscriptions(dict.fromkeys(NAMES)), 0, set[str]()
    alone: list[str] = []
    while (message := subscriptions.next_message(0.0, 0.0)) is not None and message.subscribed:
        sent += 1
        number = json.loads(message.text)["id"]
        if odd.isdisjoint(message.subscribed):
            accepted.update(message.subscribed)
            subscriptions.record_acknowledgement(number)
        elif (found := subscriptions.record_refusal(number if numbered else None, 0.0)) is not None:
            alone.append(found)
    assert accepted == set(NAMES) - odd
    assert sorted(alone) == sorted(odd)
    assert sent <= 2 + len(odd) * 2 * math.ceil(math.log2(len(NAMES)))


def test_a_refused_topic_is_asked_for_alone_later_and_later_until_nobody_wants_it() -> None:
    wanted = dict.fromkeys(["odd", "good"])
    subscriptions = Subscriptions(wanted)
    asked: list[int] = []
    for now_s in range(7_200):
        while (message := subscriptions.next_message(now_s, now_s)) is not None:
            number = json.loads(message.text)["id"]
            if "odd" in message.subscribed:
                asked.append(now_s)
                assert len(message.subscribed) == 1 or len(asked) == 1
                subscriptions.record_refusal(number, now_s)
            else:
                subscriptions.record_acknowledgement(number)
    assert 10 < len(asked) < 20
    assert asked[-1] - asked[-2] == 600
    del wanted["odd"]
    while (message := subscriptions.next_message(8_000, 8_000)) is not None:
        assert "odd" not in message.text
    wanted["odd"] = None
    message = subscriptions.next_message(8_001, 8_001)
    assert message is not None
    assert message.subscribed == ("odd",)


@pytest.mark.exhaustive
@pytest.mark.virtual
async def test_listeners_are_told_what_the_exchange_says_and_others_get_their_frames() -> None:
    world = StreamWorld()
    world.control.stream_fault("refused", topic="ltcusdt@")
    topics = [f"{name}usdt@{kind}" for name in ("btc", "eth", "bnb", "sol", "xrp") for kind in ("trade", "ticker")]
    good = FakeListener(world.relay, Market.SPOT, *topics)
    odd = FakeListener(world.relay, Market.SPOT, "ltcusdt@trade", topics[0])
    await world.wait(15)
    assert {frame.topic for frame in good.frames} == set(topics)
    assert {frame.topic for frame in odd.frames} == {topics[0]}
    late = FakeListener(world.relay, Market.SPOT, "ltcusdt@trade")
    assert odd.told == late.told == [(2, "ltcusdt@trade: Invalid request: invalid stream")]
    await world.wait(60)
    assert len(odd.told) == len(late.told) == 1
    assert good.told == []
    assert good.closed is odd.closed is None
    (connection,) = world.net.connections
    assert sum('"SUBSCRIBE"' in text for _, text in connection.sent) < 20
    world.control.clear_stream_faults()
    await world.wait(70)
    assert {frame.topic for frame in late.frames} == {"ltcusdt@trade"}
    assert FakeListener(world.relay, Market.SPOT, "ltcusdt@trade").told == []
