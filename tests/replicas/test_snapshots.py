"""Replicas that share whole answers, in virtual time: one of them reads `exchangeInfo` and each other snapshot."""

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.cache.answers import Answer, CacheStatus, Caller
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.persistence import SeriesFilter
from mdcache.errors import GateClosed, InvalidBody, Refusal, UpstreamUnavailable
from mdcache.exchange.exchange_info import SymbolSelection
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.snapshots import SnapshotBody, parse_snapshot
from tests.support.examples import examples
from tests.support.memory_shared_bodies import MemorySharedBodies
from tests.support.virtual_daemon import VirtualDaemon
from tests.support.virtual_replicas import QUERY, SPOT, VirtualReplicas, virtual_replicas
from tests.support.virtual_time import run

pytestmark = pytest.mark.virtual

INFO, DEPTH, PRICE = "/api/v3/exchangeInfo", "/api/v3/depth", "/api/v3/ticker/price"
BTC = "symbol=BTCUSDT"


async def snapshot(
    world: VirtualDaemon, path: str = DEPTH, query: str = BTC, directives: FreshnessDirectives | None = None
) -> Answer:
    return await world.snapshots.answer(
        parse_snapshot(path, query, None), directives or FreshnessDirectives(), Caller()
    )


async def info(
    world: VirtualDaemon, selection: SymbolSelection | None = None, directives: FreshnessDirectives | None = None
) -> Answer:
    chosen = selection or SymbolSelection(("BTCUSDT",), permission_sets=False)
    return await world.info.answer(Market.SPOT, chosen, directives or FreshnessDirectives(), Caller())


def reads(made: VirtualReplicas, path: str) -> int:
    return sum(entry.path == path for entry in made[0].exchange.log)


async def of_all(made: VirtualReplicas, *args: Any) -> list[Answer | BaseException]:
    return await asyncio.gather(*(snapshot(world, *args) for world in made), return_exceptions=True)


@pytest.mark.parametrize("latency_s", [0.0, 0.3])
async def test_symbols_are_read_once_by_replicas_that_start_together(latency_s: float) -> None:
    made = await virtual_replicas(ready=False)
    made[0].exchange.control.latency(before_s=latency_s)
    answers = await asyncio.gather(*(world.ask(SPOT, QUERY) for world in made))
    assert len({answer.body for answer in answers}) == 1
    assert reads(made, INFO) == 1


async def test_one_that_starts_later_knows_the_symbols_from_another_and_also_in_a_ban() -> None:
    a, b, _ = await virtual_replicas()
    await a.ask(SPOT, QUERY)
    await a.clock.sleep(2 * 3_600)
    b.restart()
    await b.governor.clocks.ensure(Market.SPOT)
    b.governor.close_gate(Family.SPOT, 60.0)
    answer = await info(b)
    assert (answer.stale, b"BTCUSDT" in answer.body) == (True, True)
    with pytest.raises(GateClosed):  # its symbol is known: what it lacks are rows
        await b.ask(SPOT, "symbol=BTCUSDT&interval=3d&limit=5")


async def test_the_list_is_read_once_per_ttl_by_any_replica() -> None:
    made = await virtual_replicas()
    before, began = reads(made, INFO), made[0].clock.now()
    while made[0].clock.now() - began < 3_000:
        for world in made:
            await world.ask(SPOT, QUERY)
            await info(world)
            await world.clock.sleep(15.0)
    assert reads(made, INFO) - before <= 3_000 / (0.9 * 300) + 1


async def test_a_symbol_listed_since_is_known_to_one_that_asks_again() -> None:
    a, b, _ = made = await virtual_replicas()
    await a.clock.sleep(120.0)
    a.exchange.control.list_symbol("spot", "BRANDNEWUSDT")
    before = reads(made, INFO)
    for world in (a, b):
        assert (await world.ask(SPOT, "symbol=BRANDNEWUSDT&interval=1m")).body == b"[]"
        with pytest.raises(Refusal):
            await world.ask(SPOT, "symbol=NOSUCHUSDT&interval=1m")
    assert reads(made, INFO) - before == 1


async def test_permission_sets_are_read_once_too() -> None:
    made = await virtual_replicas()
    before = reads(made, INFO)
    answers = await asyncio.gather(
        *(info(world, SymbolSelection(("BTCUSDT",), permission_sets=True)) for world in made)
    )
    assert reads(made, INFO) - before == 1
    assert all(b"permissionSets" in answer.body for answer in answers)


@pytest.mark.parametrize("latency_s", [0.0, 0.3])
async def test_a_snapshot_is_read_once_for_three(latency_s: float) -> None:
    made = await virtual_replicas()
    made[0].exchange.control.latency(before_s=latency_s)
    answers = await of_all(made)
    assert reads(made, DEPTH) == 1
    assert len({(answer.body, answer.as_of_ms) for answer in answers if isinstance(answer, Answer)}) == 1


async def test_a_replica_applies_what_another_read_and_hits_do_not_ask_redis() -> None:
    a, b, _ = made = await virtual_replicas()
    first = await snapshot(a)
    await a.clock.sleep(0.1)
    trips = made.server.trips
    second = await snapshot(b)
    assert (second.body, second.as_of_ms, second.cache_status) == (first.body, first.as_of_ms, CacheStatus.HIT)
    assert made.server.trips - trips == 1
    again = await snapshot(b)
    assert again.body == first.body
    assert made.server.trips - trips == 1


async def test_it_is_as_fresh_as_was_asked_for() -> None:
    a, b, c = made = await virtual_replicas(max_stale_s=30.0)
    first = await snapshot(a)
    await a.clock.sleep(0.5)
    assert (await snapshot(b, DEPTH, BTC, FreshnessDirectives(no_cache=True))).as_of_ms > first.as_of_ms
    assert reads(made, DEPTH) == 2
    await a.clock.sleep(0.2)
    second = await snapshot(c, DEPTH, BTC, FreshnessDirectives(max_age_s=0.3))
    assert reads(made, DEPTH) == 2  # the other's is of 0.2 s ago
    await a.clock.sleep(0.2)
    third = await snapshot(a, DEPTH, BTC, FreshnessDirectives(min_as_of_ms=second.as_of_ms))
    assert third.as_of_ms >= second.as_of_ms
    assert reads(made, DEPTH) == 2
    ahead_ms = a.governor.clocks.now(Market.SPOT).ms + 700
    fourth = await snapshot(a, DEPTH, BTC, FreshnessDirectives(min_as_of_ms=ahead_ms))
    assert fourth.as_of_ms >= ahead_ms


async def test_the_as_of_never_decreases_for_a_client_that_sends_its_last_one() -> None:
    made = await virtual_replicas()
    saw = 0
    for n in range(60):
        answer = await snapshot(made[n % 3], PRICE, BTC, FreshnessDirectives(min_as_of_ms=saw))
        assert answer.as_of_ms >= saw
        saw = answer.as_of_ms
        await made[0].clock.sleep(0.3)
    assert reads(made, PRICE) <= 20


async def test_a_ban_shows_what_another_read_marked_or_not() -> None:
    a, b, c = made = await virtual_replicas()
    await snapshot(b)
    await a.clock.sleep(3.0)
    newer = await snapshot(a)
    await a.clock.sleep(0.1)
    for world in (b, c):
        world.governor.close_gate(Family.SPOT, 60.0)
    trips = made.server.trips
    for _ in range(20):
        assert (await snapshot(b)).as_of_ms == newer.as_of_ms
    assert made.server.trips - trips == 1
    await a.clock.sleep(5.0)
    trips = made.server.trips
    for _ in range(20):
        assert (await snapshot(b)).stale
    assert made.server.trips - trips == 1  # not one for each answer
    cold = await snapshot(c)
    assert (cold.as_of_ms, cold.stale) == (newer.as_of_ms, True)
    await a.clock.sleep(40.0)
    with pytest.raises(UpstreamUnavailable):
        await snapshot(c)


async def test_an_error_is_shared_and_a_dead_reader_is_replaced() -> None:
    a, b, _ = made = await virtual_replicas()
    a.exchange.control.latency(before_s=0.1)
    a.exchange.control.fault("html", path=DEPTH)
    found = await of_all(made)
    assert all(isinstance(error, InvalidBody) for error in found)
    assert reads(made, DEPTH) == 2  # a broken body is asked for once more
    a.exchange.control.clear_faults()
    await a.clock.sleep(2.0)
    a.exchange.control.latency(before_s=2.0)
    asking = asyncio.create_task(snapshot(a))
    await a.clock.sleep(0.2)
    made.body_store(0).cut = True
    a.exchange.control.latency()
    began = a.clock.now()
    assert (await snapshot(b)).cache_status is not CacheStatus.HIT
    assert a.clock.now() - began < 3.3
    await asking


@pytest.mark.parametrize("how", ["gone", "lost", "deaf", "rubbish", "of another symbol", "from the future"])
async def test_whatever_is_wrong_with_it_answers_are_right(how: str) -> None:
    made = await virtual_replicas()
    a = made[0]
    topic = made.body_store(0).topic(Market.SPOT, f"{DEPTH}?{BTC}")
    now_ms = a.clock.true_ms()
    match how:
        case "gone":
            made.server.up = False
        case "lost":
            made.body_store(0).lost = made.body_store(1).lost = 1
        case "deaf":
            made.server.drops_messages = True
        case "rubbish":
            made.stored_bodies[topic] = (a.clock.now() + 30.0, SnapshotBody(b"rubbish", now_ms))
        case "of another symbol":
            topic = made.body_store(0).topic(Market.SPOT, f"{PRICE}?{BTC}")
            made.stored_bodies[topic] = (
                a.clock.now() + 30.0,
                SnapshotBody(b'{"symbol":"ETHUSDT","price":"1.0"}', now_ms),
            )
        case _:
            made.stored_bodies[topic] = (a.clock.now() + 30.0, SnapshotBody(b"{}", now_ms + 90_000))
    path = PRICE if how == "of another symbol" else DEPTH
    a.exchange.control.latency(before_s=0.1)
    began = a.clock.now()
    found = await of_all(made, path)
    wrong = (b"{}", b'{"symbol":"ETHUSDT","price":"1.0"}')
    assert all(isinstance(answer, Answer) and answer.body not in wrong for answer in found), found
    assert a.clock.now() - began < 0.6
    assert reads(made, path) <= 3


def trouble(made: VirtualReplicas, rng: random.Random) -> None:
    """One thing goes wrong, or is right again."""
    server, n = made.server, rng.randrange(3)
    match rng.choice(["kill", "cut", "lost", "down", "up", "up", "empty", "deaf", "slow", "nothing"]):
        case "kill":
            made.body_store(n).cut = True
            made[n].body_store = MemorySharedBodies(server, made.stored_bodies)
            made[n].restart()
        case "cut":
            made.body_store(n).cut = rng.random() < 0.5
        case "lost":
            made.body_store(n).lost = 1
        case "down":
            server.up = False
        case "up":
            server.up, server.drops_messages, server.slow_s = True, False, 0.001
        case "empty":
            made.stored_bodies.clear()
            made.server.leases.clear()
        case "deaf":
            server.drops_messages = True
        case "slow":
            server.slow_s = 0.05


@given(seed=st.integers(0, 2**32))
@examples(4, 200)
def test_any_history_of_three_replicas(seed: int) -> None:
    """No answer is too old, two with one as-of are equal, and a client that sends its last as-of gets no older one."""

    async def main() -> None:
        rng = random.Random(seed)
        made = await virtual_replicas()
        saw = dict.fromkeys((DEPTH, PRICE), 0)
        bodies: dict[tuple[str, int], bytes] = {}
        for _ in range(40):
            trouble(made, rng)
            path, world = rng.choice((DEPTH, PRICE)), rng.choice(made)
            arrived_ms = world.clock.true_ms()
            answer = await snapshot(world, path, BTC, FreshnessDirectives(min_as_of_ms=saw[path]))
            assert not answer.stale
            assert answer.as_of_ms >= max(saw[path], arrived_ms - 1_001)
            assert bodies.setdefault((path, answer.as_of_ms), answer.body) == answer.body
            saw[path] = answer.as_of_ms
            await world.clock.sleep(rng.choice([0.0, 0.01, 0.4, 1.5, 5.0]))

    run(main())


async def test_a_purge_of_everything_forgets_copies() -> None:
    a, b, _ = made = await virtual_replicas()
    await snapshot(a)
    await a.clock.sleep(0.1)
    made.server.up = False
    await a.cache.purge.run(SeriesFilter())
    made.server.up = True
    await a.clock.sleep(1.5)
    assert made.stored_bodies == {}
    await b.ask(SPOT, QUERY)
