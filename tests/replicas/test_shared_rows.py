"""One contract over the row store in memory and the one in a real Redis (a single server, and a cluster)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from mdcache.candles.empty_ranges import EmptyRange
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.replication import SeriesState, SharedBlock
from mdcache.candles.shared_rows import KnownVersions, LeaseRequest, PullResult, SharedRowStore
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.leases import Lease, LeaseState
from tests.support.memory_shared_rows import MemoryRowServer as FakeServer
from tests.support.memory_shared_rows import MemorySharedRows
from tests.support.redis_row_store import INDEX, KEY, OTHER, WIDTH, LoopClock, block, pull, push, redis_row_store, tail
from tests.support.waiting import until

Open = Callable[[], Any]
Subscribed = Callable[[int], Awaitable[None]]


@pytest.fixture
async def open_store(redis_url: str | None) -> AsyncIterator[Open]:
    """Open one replica's store after the other, before one empty server."""
    server = FakeServer(LoopClock())  # type: ignore[arg-type] # only its `now`
    async with AsyncExitStack() as stack:

        async def made() -> SharedRowStore:
            if redis_url is None:
                return MemorySharedRows(server)
            return await stack.enter_async_context(redis_row_store(redis_url))

        yield made


@pytest.mark.parametrize("key", [KEY, OTHER])
async def test_pushed_rows_are_pulled_whole(open_store: Open, key: SeriesKey) -> None:
    a, b = await open_store(), await open_store()
    nothing = await pull(a, INDEX, key=key)
    assert (nothing.epoch, nothing.tail_version, nothing.block_versions) == (b"", b"", {})
    shared = SeriesState(tail(1_000), ((5, 9),), (EmptyRange(5, 7, 1, hole=True),), {INDEX: block()})
    assert (await push(a, nothing, shared, key=key)).pushed
    found = await pull(b, INDEX, INDEX + 1, key=key)
    assert (found.state.tail, found.state.outside_blocks, found.state.empty_ranges) == (
        shared.tail,
        shared.outside_blocks,
        shared.empty_ranges,
    )
    pulled = found.state.blocks[INDEX].stored
    assert (pulled.block.text, pulled.coverage) == (block().stored.block.text, block().stored.coverage)
    assert found.tail_as_of_ms == 1_000
    assert set(found.block_versions) == {INDEX}
    again = await pull(b, INDEX, seen=found, key=key)
    assert (again.state.tail, dict(again.state.blocks)) == (None, {})
    assert again.block_versions[INDEX][1] == block().stored.coverage


async def test_a_push_based_on_outdated_versions_changes_nothing(open_store: Open) -> None:
    a, b = await open_store(), await open_store()
    seen = await pull(a, INDEX)
    assert (await push(a, seen, SeriesState(tail(2_000), blocks={INDEX: block(0, 500)}))).pushed
    late = await push(b, seen, SeriesState(tail(1_000), blocks={INDEX: block(100, 400)}))
    assert not late.pushed
    found = await pull(b, INDEX)
    assert found.tail_as_of_ms == 2_000
    assert len(found.state.blocks[INDEX].stored.block) == 500
    assert (await push(b, found, SeriesState(tail(3_000), blocks={INDEX: block(0, 501)}))).pushed
    assert len((await pull(a, INDEX)).state.blocks[INDEX].stored.block) == 501


async def test_of_two_pushes_at_once_one_succeeds_and_the_other_is_refused(open_store: Open) -> None:
    a, b = await open_store(), await open_store()
    seen = await pull(a, INDEX)
    gifts = [push(w, seen, SeriesState(blocks={INDEX: block(n, 500)})) for n in range(20) for w in (a, b)]
    done = await asyncio.gather(*gifts)
    assert sum(found.pushed for found in done) == 1


async def test_rows_added_one_by_one_and_rows_before_them(open_store: Open) -> None:
    a, b = await open_store(), await open_store()
    found = await push(a, await pull(a, INDEX), SeriesState(blocks={INDEX: block(300, 400)}))
    mine = await pull(b, INDEX)
    for first, last in [(300, 401), (300, 402), (300, 470), (200, 470), (200, 471), (0, 900)]:
        found = await push(a, found, SeriesState(blocks={INDEX: block(first, last)}))
        assert found.pushed
        held = mine.state.blocks[INDEX].stored.block
        mine = await b.pull(KEY, KnownVersions(mine.epoch, blocks={INDEX: (mine.block_versions[INDEX][0], held)}), None)
        assert mine.state.blocks[INDEX].stored.block.text == block(first, last).stored.block.text
        assert list(mine.state.blocks[INDEX].stored.block.row_ends) == list(block(first, last).stored.block.row_ends)


async def test_a_pull_names_the_blocks_revised_since_the_last_one(open_store: Open) -> None:
    a, b = await open_store(), await open_store()
    found = await push(
        a, await pull(a, INDEX, INDEX + 1), SeriesState(blocks={i: block(index=i) for i in (INDEX, INDEX + 1)})
    )
    before = await pull(b, INDEX)
    assert before.revised_blocks == ()
    changed = block(n7=99)
    changed = SharedBlock(changed.stored, {INDEX * WIDTH + 7 * 60_000: 77})
    found = await push(a, found, SeriesState(blocks={INDEX: changed}), frozenset({INDEX}))
    assert found.revisions == 1
    after = await b.pull(KEY, KnownVersions(before.epoch, before.revisions), None)
    assert (after.revised_blocks, after.revisions) == ((INDEX,), 1)
    assert (await b.pull(KEY, KnownVersions(after.epoch, after.revisions), None)).revised_blocks == ()
    assert (await pull(b, INDEX)).state.blocks[INDEX].revised_as_of == changed.revised_as_of
    assert (await b.pull(KEY, KnownVersions(b"another", 5), None)).revised_blocks == (INDEX,)


async def test_one_replica_reads_and_the_others_are_notified_when_it_pushed(
    open_store: Open, subscribed: Subscribed
) -> None:
    a, b = await open_store(), await open_store()
    notified: list[SeriesKey] = []
    b.subscribe(notified.append, lambda _which, _name: None)
    await subscribed(2)
    first, second = LeaseRequest(Lease("tail", "aa", 1), 500, 600), LeaseRequest(Lease("tail", "bb", 1), 500, 600)
    assert (await a.pull(KEY, KnownVersions(), first)).lease_state is LeaseState.MINE
    assert (await b.pull(KEY, KnownVersions(), second)).lease_state is LeaseState.THEIRS
    assert (
        await b.pull(KEY, KnownVersions(), LeaseRequest(Lease("back7", "bb", 1), None, 600))
    ).lease_state is LeaseState.MINE
    assert await a.renew(KEY, first.lease)
    assert not await b.renew(KEY, second.lease)
    assert (await push(a, PullResult(), SeriesState(tail(1_000)), lease=first.lease)).pushed
    await until(lambda: KEY in notified, 10)
    assert (await b.pull(KEY, KnownVersions(), second)).lease_state is LeaseState.NONE
    newer = LeaseRequest(Lease("tail", "cc", 1), 1_001, 1_002)
    assert (await b.pull(KEY, KnownVersions(), newer)).lease_state is LeaseState.MINE


async def test_a_replica_that_may_take_no_lease_learns_whether_another_reads(open_store: Open) -> None:
    a, b = await open_store(), await open_store()
    shy, bold = (
        LeaseRequest(Lease("tail", "aa", 0), 500, 600, may_take_lease=False),
        LeaseRequest(Lease("tail", "bb", 1), 500, 600),
    )
    assert (await a.pull(KEY, KnownVersions(), shy)).lease_state is LeaseState.NONE
    assert (await b.pull(KEY, KnownVersions(), bold)).lease_state is LeaseState.MINE
    assert (
        await a.pull(KEY, KnownVersions(), replace(shy, lease=Lease("tail", "aa", 1)))
    ).lease_state is LeaseState.THEIRS
    await b.release(KEY, bold.lease, "")
    assert (await a.pull(KEY, KnownVersions(), shy)).lease_state is LeaseState.NONE


async def test_a_tail_whose_close_has_passed_is_read_again(open_store: Open) -> None:
    a = await open_store()
    open_tail = tail(INDEX * WIDTH + 500 * 60_000 + 30_000)
    assert open_tail.open_until_ms is not None
    await push(a, PullResult(), SeriesState(open_tail))
    lease = Lease("tail", "aa", 1)
    assert (
        await a.pull(KEY, KnownVersions(), LeaseRequest(lease, 0, open_tail.open_until_ms))
    ).lease_state is LeaseState.NONE
    assert (
        await a.pull(KEY, KnownVersions(), LeaseRequest(lease, 0, open_tail.open_until_ms + 1))
    ).lease_state is LeaseState.MINE


async def test_a_better_lane_takes_a_lease_over_and_an_error_is_published(open_store: Open) -> None:
    a, b = await open_store(), await open_store()
    low, high = Lease("tail", "aa", 2), Lease("tail", "bb", 0)
    assert (await a.pull(KEY, KnownVersions(), LeaseRequest(low, 0, 0))).lease_state is LeaseState.MINE
    assert (await b.pull(KEY, KnownVersions(), LeaseRequest(high, 0, 0))).lease_state is LeaseState.MINE
    assert (await a.pull(KEY, KnownVersions(), LeaseRequest(low, 0, 0))).lease_state is LeaseState.THEIRS
    await a.release(KEY, low, "not its own any more")
    assert (await a.pull(KEY, KnownVersions(), LeaseRequest(low, 0, 0))).lease_state is LeaseState.THEIRS
    await b.release(KEY, high, "what went wrong")
    pulled = await a.pull(KEY, KnownVersions(), LeaseRequest(low, 0, 0))
    assert (pulled.lease_state, pulled.error) == (LeaseState.FAILED, "what went wrong")
    await asyncio.sleep(1.1)
    assert (await a.pull(KEY, KnownVersions(), LeaseRequest(low, 0, 0))).lease_state is LeaseState.MINE


async def test_a_purged_series_names_its_purge(open_store: Open, subscribed: Subscribed) -> None:
    a, b = await open_store(), await open_store()
    notified: list[tuple[SeriesFilter, bytes]] = []
    b.subscribe(lambda _key: None, lambda which, name: notified.append((which, name)))
    await subscribed(2)
    for key in (KEY, OTHER):
        await push(a, PullResult(), SeriesState(tail(1_000), blocks={INDEX: block()}), key=key)
    seen = await pull(b, INDEX)
    which = SeriesFilter(Market.SPOT, "BTCUSDT")
    await a.purge(which, b"purge 1!")
    found = await pull(b, INDEX)
    assert (found.last_purge, found.tail_version, found.block_versions) == (b"purge 1!", b"", {})
    assert found.epoch not in {b"", seen.epoch}
    assert len((await pull(b, INDEX, key=OTHER)).state.blocks) == 1
    assert not (await push(b, seen, SeriesState(tail(2_000), blocks={INDEX: block()}))).pushed
    await until(lambda: (which, b"purge 1!") in notified, 10)
    await push(b, found, SeriesState(tail(3_000)))
    await b.purge_series(KEY, b"purge 1!")
    assert (await pull(b)).tail_as_of_ms == 3_000
    await b.purge_series(KEY, b"purge 2!")
    assert (await pull(b)).tail_as_of_ms == -1
