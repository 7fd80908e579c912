"""Replicas that share rows, tails and flights, in virtual time: each fact is asked for once, by one of them."""

import asyncio
from dataclasses import replace

import pytest

from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.persistence import SeriesFilter
from mdcache.errors import GateClosed, MdcacheError
from mdcache.events import RowRevised
from mdcache.exchange.markets import Family
from mdcache.exchange.streams import Frame
from tests.support.virtual_daemon import VirtualDaemon
from tests.support.virtual_replicas import MINUTE, QUERY, SPOT, virtual_replicas

pytestmark = pytest.mark.virtual


@pytest.mark.parametrize("latency_s", [0.0, 0.2, 4.0])
async def test_twenty_cold_series_asked_of_three_replicas_at_once_cost_one_call_each(latency_s: float) -> None:
    made = await virtual_replicas()
    a = made[0]
    a.exchange.control.latency(before_s=latency_s / 2, after_s=latency_s / 2)
    before = len(a.calls())
    queries = [
        f"symbol={symbol}&interval={interval}&limit=500"
        for symbol in ("BTCUSDT", "ETHUSDT")
        for interval in ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h")
    ]
    answers = await asyncio.gather(*(w.ask(SPOT, query) for query in queries for w in made))
    assert len(a.calls(before)) == 20
    for n in range(20):
        assert len({answer.body for answer in answers[3 * n : 3 * n + 3]}) == 1


async def test_a_replica_serves_what_another_read_with_its_as_of() -> None:
    a, b, _ = made = await virtual_replicas()
    first = await a.ask(SPOT, QUERY)
    await a.clock.sleep(1.0)
    before, trips = len(a.calls()), made.server.trips
    second = await b.ask(SPOT, QUERY)
    assert a.calls(before) == []
    assert made.server.trips - trips == 1
    assert (second.body, second.as_of_ms) == (first.body, first.as_of_ms)
    assert second.cache_status == "hit"
    again = await b.ask(SPOT, QUERY)
    assert made.server.trips - trips == 1  # a hit asks neither Redis nor Binance
    assert again.body == first.body


async def test_a_tail_is_read_once_a_ttl_by_all_replicas_together() -> None:
    made = await virtual_replicas()
    a = made[0]
    for w in made:
        await w.ask(SPOT, QUERY)
    before, began = len(a.calls()), a.clock.now()
    shown = 0
    while a.clock.now() - began < 300:
        for w in made:
            answer = await w.ask(SPOT, QUERY)
            assert answer.body == a.exchange.truth(SPOT, QUERY, at_ms=answer.as_of_ms)
            assert w.clock.true_ms() - answer.as_of_ms <= 2_001
            shown = max(shown, answer.as_of_ms)
            await a.clock.sleep(0.1)
    assert len(a.calls(before)) <= 300 / 2 + 6


async def test_settled_rows_are_shared_and_never_read_twice() -> None:
    a, b, c = await virtual_replicas()
    now = a.clock.true_ms()
    page = f"symbol=BTCUSDT&interval=1m&startTime={now - 9_000 * MINUTE}&endTime={now - 5_500 * MINUTE}&limit=1000"
    later = page.replace(str(now - 9_000 * MINUTE), str(now - 8_000 * MINUTE))
    first = [(await a.ask(SPOT, query)).body for query in (page, later)]
    before = len(a.calls())
    await a.clock.sleep(0.1)
    for w in (b, c):
        assert [(await w.ask(SPOT, query)).body for query in (page, later)] == first
    assert a.calls(before) == []


async def test_a_revision_seen_by_one_replaces_the_row_on_all_at_their_next_pull() -> None:
    a, b, c = made = await virtual_replicas()
    for w in made:
        await w.ask(SPOT, QUERY)
    opened = (a.clock.true_ms() // MINUTE - 5) * MINUTE
    a.exchange.control.revise(SPOT, "BTCUSDT", "1m", opened, volume="1.5", trades=2)
    await a.clock.sleep(3.0)
    new = await a.ask(SPOT, QUERY)
    await a.clock.sleep(0.1)
    before = len(a.calls())
    made.server.drops_messages = True
    for w in (b, c):
        answer = await w.ask(SPOT, QUERY)
        assert answer.body == new.body
        assert w.event_count(RowRevised) == 1
    assert a.calls(before) == []


async def test_a_revision_of_an_old_block_reaches_a_replica_that_pulls_only_tails() -> None:
    a, b, _ = await virtual_replicas()
    opened = (a.clock.true_ms() // MINUTE - 5) * MINUTE
    span = f"symbol=BTCUSDT&interval=1m&startTime={opened - 5 * MINUTE}&endTime={opened}"
    for w in (a, b):
        await w.ask(SPOT, QUERY)
    old = await b.ask(SPOT, span)
    a.exchange.control.revise(SPOT, "BTCUSDT", "1m", opened, volume="1.5", trades=2)
    await a.clock.sleep(3.0)
    await a.ask(SPOT, QUERY)
    assert (a.event_count(RowRevised), b.event_count(RowRevised)) == (1, 0)
    await a.clock.sleep(2_100 * 60.0)  # b reads nothing that reaches the row
    await b.ask(SPOT, QUERY)
    before = len(a.calls())
    new = await b.ask(SPOT, span)
    assert b.event_count(RowRevised) == 1
    assert new.body == (await a.ask(SPOT, span)).body != old.body
    assert a.calls(before) == []


@pytest.mark.parametrize("silent", [False, True])
async def test_a_purge_reaches_all_with_and_without_messages(*, silent: bool) -> None:
    a, b, c = made = await virtual_replicas()
    for w in made:
        await w.ask(SPOT, QUERY)
    made.server.drops_messages = silent
    await a.cache.purge.run(SeriesFilter(subject="BTCUSDT"))
    await a.clock.sleep(0.1)
    before = len(a.calls())
    if not silent:
        assert [len(s.coverage) for w in made for s in w.library if s.key.subject == "BTCUSDT"] == [0, 0, 0]
    await a.clock.sleep(2.5)
    for w in made:
        await w.ask(SPOT, QUERY)
        await w.clock.sleep(0.01)
    assert len(a.calls(before)) == 1, a.calls(before)
    assert all(s.merged_as_of_ms > 0 for w in (b, c) for s in w.library if s.key.subject == "BTCUSDT")


async def test_a_lost_message_costs_a_quarter_of_a_second() -> None:
    made = await virtual_replicas()
    a = made[0]
    a.exchange.control.latency(before_s=0.5, after_s=0.5)
    made.server.drops_messages = True
    began, before = a.clock.now(), len(a.calls())
    await asyncio.gather(*(w.ask(SPOT, QUERY) for w in made))
    assert len(a.calls(before)) == 1
    assert a.clock.now() - began <= 1.0 + 0.27


async def test_the_lease_of_a_dead_holder_expires() -> None:
    a, b, _ = made = await virtual_replicas()
    a.exchange.control.latency(before_s=2.0, after_s=2.0)
    asking = asyncio.create_task(a.ask(SPOT, QUERY))
    await a.clock.sleep(0.5)
    made.row_store(0).cut = True  # stopped: it renews nothing and gives nothing
    a.exchange.control.latency(before_s=0.0, after_s=0.0)
    began = a.clock.now()
    answer = await b.ask(SPOT, QUERY)
    assert answer.rows == 500
    assert 2.0 <= a.clock.now() - began <= 3.3
    await asking


async def test_an_error_of_the_holder_is_shared_so_that_the_others_do_not_retry() -> None:
    made = await virtual_replicas()
    a = made[0]
    a.exchange.control.latency(before_s=0.1)
    a.exchange.control.fault("crossed", path=SPOT)
    before = len(a.calls())
    results = await asyncio.gather(*(w.ask(SPOT, QUERY) for w in made), return_exceptions=True)
    assert all(isinstance(result, MdcacheError) for result in results), results
    assert len({str(result) for result in results}) == 1
    assert len(a.calls(before)) == 2  # a broken body is asked for once more


@pytest.mark.parametrize("how", ["gone", "back empty"])
async def test_without_the_shared_store_each_replica_works_alone_and_without_delay(how: str) -> None:
    made = await virtual_replicas()
    for w in made:
        await w.ask(SPOT, QUERY)
    made.server.up = False
    await made[0].clock.sleep(3.0)
    for w in made:
        began = w.clock.now()
        answer = await w.ask(SPOT, QUERY)
        assert answer.body == w.exchange.truth(SPOT, QUERY, at_ms=answer.as_of_ms)
        assert w.clock.now() - began < 0.001
    if how == "back empty":
        made.server.empty()
        made.server.up = True
        await made[0].clock.sleep(3.0)
        before = len(made[0].calls())
        for w in made:
            await w.ask(SPOT, QUERY)
            await w.clock.sleep(0.1)
        assert len(made[0].calls(before)) == 1


async def test_min_as_of_makes_time_monotonic_across_replicas() -> None:
    made = await virtual_replicas()
    saw = 0
    for n in range(60):
        answer = await made[n % 3].ask(SPOT, QUERY, directives=FreshnessDirectives(min_as_of_ms=saw))
        assert answer.as_of_ms >= saw
        saw = answer.as_of_ms
        await made[0].clock.sleep(0.3)


async def shut_out(a: VirtualDaemon, b: VirtualDaemon) -> int:
    """`b` may not ask, and has an older tail than `a`, whose as-of it is."""
    await b.ask(SPOT, QUERY)
    await a.clock.sleep(2.5)
    first = await a.ask(SPOT, QUERY)
    b.governor.close_gate(Family.SPOT, 60.0)
    return first.as_of_ms


@pytest.mark.parametrize("others", [0, 5_000])
async def test_what_was_evicted_never_comes_back_older_than_it_was_shown(others: int) -> None:
    """A frame showed more than the store has."""
    a, _ = await virtual_replicas(2)
    first = await a.ask(SPOT, QUERY)
    await a.clock.sleep(1.0)
    (series,) = (each for each in a.library if each.key.interval == "1m")
    row = series.tail_rows[-1]
    assert series.apply_frame(Frame(first.as_of_ms + 900, row, final=False), 2_000)
    framed = await a.ask(SPOT, QUERY)
    assert framed.as_of_ms == first.as_of_ms + 900
    registry = a.cache.registry
    bound, registry.memory.max_bytes = registry.memory.max_bytes, 0
    registry.enforce_limit()
    registry.memory.max_bytes = bound
    for n in range(others):
        registry.shown_times.note(replace(series.key, subject=f"S{n}"), 1)
    calls = len(a.calls())
    again = await a.ask(SPOT, QUERY)
    assert again.as_of_ms >= framed.as_of_ms
    assert again.body == a.exchange.truth(SPOT, QUERY, at_ms=again.as_of_ms)
    assert len(a.calls(calls)) == 1


async def test_what_was_shown_by_a_wrong_clock_keeps_nothing_out() -> None:
    a, b = await virtual_replicas(2)
    await a.ask(SPOT, QUERY)
    (series,) = (each for each in a.library if each.key.interval == "1m")
    b.cache.registry.shown_times.note(series.key, a.clock.true_ms() + 86_400_000)
    calls = len(a.calls())
    await b.ask(SPOT, QUERY)
    assert a.calls(calls) == []


async def test_a_replica_with_a_closed_gate_serves_what_another_knows() -> None:
    a, b, _ = await virtual_replicas()
    known_ms = await shut_out(a, b)
    await a.clock.sleep(1.0)
    second = await b.ask(SPOT, QUERY, directives=FreshnessDirectives(min_as_of_ms=known_ms))
    assert second.as_of_ms >= known_ms
    assert not second.stale


async def test_a_replica_with_a_closed_gate_reports_it_if_no_other_knows_enough() -> None:
    a, b, _ = await virtual_replicas()
    known_ms = await shut_out(a, b)
    await a.clock.sleep(1.5)
    with pytest.raises(GateClosed):  # the replica that published that as-of could not send its rows
        await b.ask(SPOT, QUERY, directives=FreshnessDirectives(min_as_of_ms=known_ms + 1_000))
