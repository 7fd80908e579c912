"""The topics of a market are bounded, and no client can take all the room: neither by many topics nor by odd names."""

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from mdcache.exchange.markets import Market
from mdcache.exchange.symbols import MarketSymbols
from mdcache.exchange.topics import in_micros
from mdcache.relay.topic_room import MOST_TOPICS, TopicRoom, names_nothing
from tests.support.relay_listener import FakeListener
from tests.upstream.streams.world import StreamWorld

pytestmark = pytest.mark.virtual

FULL = (1013, "no room for more topics")
GIVES_WAY = (1013, "no room for names that no symbol has")
KNOWN = [f"coin{number}usdt@trade" for number in range(2_000)]
SYMBOLS = MarketSymbols(names=frozenset(name.partition("@")[0].upper() for name in KNOWN))


@dataclass(frozen=True)
class Owner:
    client: str


def junk(number: int, topics: int = 1_024) -> list[str]:
    return [f"junk{number}x{place}usdt@trade" for place in range(topics)]


def taken(world: StreamWorld) -> int:
    return next(one.topics for one in world.relay.status() if one.market == "spot")


async def test_a_flood_from_one_client_leaves_room_for_sixty_bots_of_20_topics() -> None:
    world = StreamWorld()
    flood = [FakeListener(world.relay, Market.SPOT, *junk(number), client="flood") for number in range(10)]
    assert {one.closed for one in flood} == {None, FULL}
    assert taken(world) <= 0.8 * MOST_TOPICS
    bots = [
        FakeListener(world.relay, Market.SPOT, *KNOWN[20 * number : 20 * number + 20], client=f"bot {number}")
        for number in range(62)
    ]
    assert {one.closed for one in bots} == {None}
    assert taken(world) < MOST_TOPICS
    again = FakeListener(world.relay, Market.SPOT, *junk(10), client="flood")
    assert again.closed == FULL
    assert {one.closed for one in bots} == {None}


async def test_big_bots_with_nobody_else_have_all_they_want() -> None:
    world = StreamWorld()
    world.symbols = SYMBOLS
    bots = [FakeListener(world.relay, Market.SPOT, *KNOWN[:1_024]), FakeListener(world.relay, Market.SPOT, *junk(1))]
    bots += [FakeListener(world.relay, Market.SPOT, *junk(number)) for number in range(2, 7)]
    assert {one.closed for one in bots} == {None}
    assert taken(world) == 7 * 1_024


async def test_a_shared_topic_counts_once_and_passes_to_the_account_of_who_stays() -> None:
    world = StreamWorld()
    first = FakeListener(world.relay, Market.SPOT, *junk(1), client="first")
    second = FakeListener(world.relay, Market.SPOT, *junk(1), client="second")
    assert taken(world) == 1_024
    room = world.relay._rooms[Market.SPOT]
    assert room._held == {"first": 1_024}
    first.leave()
    assert room._held == {"second": 1_024}
    second.leave()
    assert room._held == {}
    assert taken(world) == 0


async def test_names_that_no_symbol_has_give_way_whoever_sends_them() -> None:
    world = StreamWorld()
    world.symbols = SYMBOLS
    flood = [FakeListener(world.relay, Market.SPOT, *junk(n, 10), client=f"flood {n}") for n in range(1_000)]
    held = [one for one in flood if one.closed is None]
    assert taken(world) == MOST_TOPICS
    slip = FakeListener(world.relay, Market.SPOT, KNOWN[0], "btcustd@trade", client="slip")
    honest = FakeListener(world.relay, Market.SPOT, *KNOWN[20:60], client="honest")
    big = FakeListener(world.relay, Market.SPOT, *KNOWN[100:1_124], client="big")
    assert slip.closed is honest.closed is big.closed is None
    gone = [one for one in held if one.closed is not None]
    assert {one.closed for one in gone} == {GIVES_WAY}
    assert len(gone) < len(held)
    another = FakeListener(world.relay, Market.SPOT, *junk(1_001, 10), client="another")
    assert slip.closed is honest.closed is big.closed is None
    assert another.closed in {None, FULL}


async def test_names_that_no_symbol_has_give_way_behind_one_proxy_too() -> None:
    world = StreamWorld()
    world.symbols = SYMBOLS
    flood = [FakeListener(world.relay, Market.SPOT, *junk(number), client="proxy") for number in range(10)]
    bots = [FakeListener(world.relay, Market.SPOT, *KNOWN[start : start + 500], client="proxy") for start in (0, 500)]
    assert {one.closed for one in bots} == {None}
    assert {one.closed for one in flood} == {None, GIVES_WAY}


async def test_topics_with_frames_never_give_way_even_before_their_symbol_is_listed() -> None:
    world = StreamWorld()
    world.symbols = SYMBOLS
    early = FakeListener(world.relay, Market.SPOT, "btcusdt@trade", client="early")
    await world.wait(5)
    assert early.frames
    for number in range(12):
        FakeListener(world.relay, Market.SPOT, *junk(number), client=f"flood {number}")
    honest = FakeListener(world.relay, Market.SPOT, *KNOWN[:1_024], client="honest")
    assert early.closed is honest.closed is None


@pytest.mark.parametrize(
    ("topic", "nothing"),
    [
        ("btcusdt@trade", False),
        ("BTCUSDT@trade", True),
        ("btcustd@trade", True),
        ("!miniTicker@arr", False),
        ("btcusd_perpetual@continuousKline_1m", False),
        ("btcusd@indexPriceKline_1m", False),
        ("ethusd_perpetual@continuousKline_1m", True),
        (in_micros("btcusdt@trade"), False),
        (in_micros("btcustd@trade"), True),
    ],
)
def test_which_names_no_symbol_has(topic: str, nothing: bool) -> None:
    symbols = MarketSymbols(names=frozenset({"BTCUSDT"}), pairs=frozenset({"BTCUSD"}))
    assert names_nothing(symbols, topic) is nothing
    assert not names_nothing(MarketSymbols(), topic)  # nothing is known yet


@pytest.mark.parametrize("greedy", [1, 10, 1_000])
@pytest.mark.parametrize("in_turn", [True, False])
def test_clients_that_take_what_they_can_leave_room_for_62_clients(greedy: int, *, in_turn: bool) -> None:
    room, rng = TopicRoom(), random.Random(greedy)
    clients = [Owner(str(number)) for number in range(greedy)]
    while room.taken < 8_000:  # what comes after that is theirs who have few
        one = clients[0] if in_turn else rng.choice(clients)
        if in_turn and room.taken % 1_024 == 0:
            clients = [*clients[1:], one]
        assert room.admits(one)
        room.take(one)
    for number in range(62):
        honest = Owner(f"honest {number}")
        for _ in range(32):
            assert room.admits(honest)
            room.take(honest)
        assert not room.admits(honest)
    assert room.taken <= MOST_TOPICS


def test_the_accounts_add_up_whatever_happens() -> None:
    room, rng = TopicRoom(), random.Random(5)
    owner: dict[str, Owner] = {}
    doubtful: set[str] = set()
    for number in range(5_000):
        client, topic = Owner(str(rng.randrange(5))), rng.choice(list(owner)) if owner else ""
        match rng.randrange(5):
            case 0 if topic:
                room.give_back(owner.pop(topic), topic)
                doubtful.discard(topic)
            case 1 if topic:
                room.move(topic, owner[topic], client)
                owner[topic] = client
            case 2 if topic:
                room.doubt(owner[topic], topic)
                doubtful.add(topic)
            case 3 if topic:
                room.trust(owner[topic], topic)
                doubtful.discard(topic)
            case _:
                room.take(client)
                owner[f"t{number}"] = client
        assert room.taken == len(owner)
    assert room._held == Counter(one.client for one in owner.values())
    most = Counter(owner[topic] for topic in doubtful)
    (_, number), *_ = most.most_common(1)
    assert len(room.to_give_way(Owner("nobody"))) == number
    assert room.to_give_way(most.most_common(1)[0][0]) == []
