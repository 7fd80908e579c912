"""Flights of several replicas under faults: no request waits longer than needed, and few reads are repeated."""

import asyncio

import pytest

from mdcache.cache.answers import Caller
from mdcache.errors import DeadlinePassed, GateClosed, InvalidBody, MdcacheError
from mdcache.exchange.klines import parse_klines
from mdcache.exchange.markets import KLINE_ENDPOINTS, Family
from mdcache.upstream.priority import Lane
from tests.support.sim_transport import SimTransport
from tests.support.virtual_daemon import VirtualDaemon
from tests.support.virtual_replicas import MINUTE, QUERY, SPOT, virtual_replicas

pytestmark = pytest.mark.virtual

KEY = parse_klines(KLINE_ENDPOINTS[SPOT], QUERY, {}).key


def unplug(world: VirtualDaemon) -> SimTransport:
    assert isinstance(world.transport, SimTransport)
    world.transport.unplugged, world.transport.sent = True, 0
    return world.transport


async def timed(world: VirtualDaemon, query: str = QUERY, caller: Caller | None = None) -> tuple[float, object]:
    """Seconds it took, and the answer or the error."""
    began = world.clock.now()
    try:
        found: object = await world.ask(SPOT, query, caller=caller)
    except MdcacheError as error:
        found = error
    return world.clock.now() - began, found


async def test_a_lease_whose_reply_was_lost_ends_with_the_read() -> None:
    a, b, _ = made = await virtual_replicas()
    a.exchange.control.latency(before_s=0.5)
    a.exchange.control.fault("crossed", path=SPOT)
    made.row_store(0).lost = 1
    first = asyncio.create_task(timed(a))
    await a.clock.sleep(0.1)
    seconds, found = await timed(b)
    assert isinstance(found, InvalidBody)
    assert seconds < 0.5 + 1.0 + 0.5 + 0.1  # as long as its own read would have taken, or shorter
    assert isinstance((await first)[1], InvalidBody)


@pytest.mark.parametrize("fault", [None, "crossed"])
async def test_a_release_that_failed_is_repeated_as_soon_as_possible(fault: str | None) -> None:
    a, b, _ = made = await virtual_replicas()
    a.exchange.control.latency(before_s=0.5)
    if fault is not None:
        a.exchange.control.fault(fault, path=SPOT)
    first = asyncio.create_task(timed(a))
    await a.clock.sleep(0.2)
    made.row_store(0).cut = True
    await first
    await a.clock.sleep(0.1)
    made.row_store(0).cut = False
    seconds, found = await timed(b)
    assert isinstance(found, Exception) is (fault is not None)
    own_s = 0.5 if fault is None else 0.5 + 1.0 + 0.5
    assert seconds < 0.5 + own_s + 0.1


async def test_a_renewal_that_is_lost_does_not_end_a_lease() -> None:
    a, b, _ = made = await virtual_replicas()
    a.exchange.control.latency(before_s=2.0, after_s=2.2)
    before = len(a.calls())
    first = asyncio.create_task(timed(a))
    await a.clock.sleep(0.5)
    made.row_store(0).lost = 1
    second = asyncio.create_task(timed(b))
    await first
    seconds, _ = await second
    assert seconds < 4.2
    assert len(a.calls(before)) == 1


async def test_a_replica_that_shuts_down_during_a_read_releases_its_lease_at_once() -> None:
    a, b, _ = await virtual_replicas()
    a.exchange.control.latency(before_s=1.0)
    asking = asyncio.create_task(timed(a))
    await a.clock.sleep(0.5)
    waiting = asyncio.create_task(timed(b))
    await a.clock.sleep(0.1)
    await a.aclose()
    assert isinstance((await asking)[1], DeadlinePassed)
    seconds, found = await waiting
    assert not isinstance(found, Exception)
    assert seconds < 0.1 + 1.0 + 0.1


async def test_a_transport_error_of_the_holder_is_not_that_of_the_others() -> None:
    a, b, c = await virtual_replicas()
    gone = unplug(a)
    before = len(a.calls())
    first = asyncio.create_task(timed(a))
    await a.clock.sleep(0.01)
    others = await asyncio.gather(timed(b), timed(c))
    assert isinstance((await first)[1], MdcacheError)
    assert gone.sent > 0
    assert all(not isinstance(found, Exception) for _, found in others), others
    assert len(a.calls(before)) == 1


async def test_if_binance_is_unreachable_two_replicas_try_and_all_answer_in_time() -> None:
    made = await virtual_replicas(6)
    gone = [unplug(world) for world in made]
    found = await asyncio.gather(*(timed(world) for world in made))
    assert all(isinstance(error, MdcacheError) for _, error in found)
    assert max(seconds for seconds, _ in found) <= 8.01
    assert sum(each.sent > 0 for each in gone) <= 2


async def test_an_error_in_reading_one_window_is_not_that_of_another() -> None:
    a, b, _ = await virtual_replicas()
    start = (a.clock.true_ms() // MINUTE - 900) * MINUTE
    start -= start % (1_000 * MINUTE) - 400 * MINUTE  # both begin in one block's span
    first, second = (
        f"symbol=BTCUSDT&interval=1m&startTime={start + n * MINUTE}&endTime={start + (n + 9) * MINUTE}"
        for n in (0, 100)
    )
    a.exchange.control.fault("crossed", path=SPOT, contains=f"startTime={start}&")
    assert isinstance((await timed(a, first))[1], InvalidBody)
    assert isinstance((await timed(b, first))[1], InvalidBody)
    assert not isinstance((await timed(b, second))[1], Exception)


@pytest.mark.parametrize(
    "text", ["", "rubbish", "[]", '[[null,null],"Refusal",1]', '[[null,null],"ValueError","a","b"]']
)
async def test_an_unreadable_error_message_is_not_raised(text: str) -> None:
    a, b, _ = made = await virtual_replicas()
    made.server.leases[KEY, "tail"] = (a.clock.now() + 1.0, 0, "!" + text)
    seconds, found = await timed(b)
    assert not isinstance(found, Exception)
    assert seconds < 0.1


async def test_a_closed_gate_refuses_many_requests_in_two_pulls_each() -> None:
    made = await virtual_replicas(20)
    for world in made:
        world.governor.close_gate(Family.SPOT, 60.0)
    trips = made.server.trips
    found = await asyncio.gather(*(timed(world) for world in made))
    assert all(isinstance(error, GateClosed) for _, error in found)
    assert max(seconds for seconds, _ in found) < 0.05
    assert made.server.trips - trips <= 2 * len(made)


async def test_a_replica_that_may_not_read_waits_for_one_that_does() -> None:
    a, b, _ = await virtual_replicas()
    a.exchange.control.latency(before_s=0.5)
    first = asyncio.create_task(timed(a))
    await a.clock.sleep(0.1)
    b.governor.close_gate(Family.SPOT, 60.0)
    _, found = await timed(b)
    assert not isinstance(found, Exception)
    await first


async def test_a_waiter_of_a_better_lane_makes_the_whole_flight_better() -> None:
    """One waits for another replica's lease of its own lane; a high caller joins it, and the lease is taken over."""

    a, b, _ = made = await virtual_replicas()
    made.server.drops_messages = True
    made.server.leases[KEY, "tail"] = (a.clock.now() + 60.0, Lane.NORMAL.rank, "somebody who is stuck")
    low = asyncio.create_task(timed(b))
    await a.clock.sleep(0.6)
    seconds, found = await timed(b, caller=Caller("engine", Lane.HIGH))
    assert not isinstance(found, Exception)
    assert seconds < 0.3
    await low
