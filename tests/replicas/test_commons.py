"""One contract over the commons of the tests and the one in a real Redis (a single server, and a cluster)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from mdcache.candles.atrest import Which
from mdcache.candles.commons import Commons, Found, Have, Hold, Lease, Need
from mdcache.candles.share import Shared, SharedBlock
from mdcache.candles.voids import Void
from mdcache.exchange.markets import Market
from mdcache.exchange.questions import SeriesKey
from tests.replicas.giving import INDEX, KEY, OTHER, WIDTH, Clock, block, given, look, redis_commons, tail
from tests.world.commons import FakeCommons
from tests.world.commons import Server as FakeServer
from tests.world.servers import until

Open = Callable[[], Any]


@pytest.fixture
async def open_commons(redis_url: str | None) -> AsyncIterator[Open]:
    """Makes one replica's commons after the other, before one empty server."""
    server = FakeServer(Clock())  # type: ignore[arg-type] # only its `now`
    async with AsyncExitStack() as stack:

        async def made() -> Commons:
            if redis_url is None:
                return FakeCommons(server)
            return await stack.enter_async_context(redis_commons(redis_url))

        yield made


@pytest.mark.parametrize("key", [KEY, OTHER])
async def test_what_is_given_is_found_whole(open_commons: Open, key: SeriesKey) -> None:
    a, b = await open_commons(), await open_commons()
    nothing = await look(a, INDEX, key=key)
    assert (nothing.epoch, nothing.tail, nothing.marks) == (b"", b"", {})
    shared = Shared(tail(1_000), ((5, 9),), (Void(5, 7, 1, hole=True),), {INDEX: block()})
    assert (await given(a, nothing, shared, key=key)).given
    found = await look(b, INDEX, INDEX + 1, key=key)
    assert (found.shared.tail, found.shared.bare, found.shared.voids) == (shared.tail, shared.bare, shared.voids)
    told = found.shared.blocks[INDEX].kept
    assert (told.block.text, told.known) == (block().kept.block.text, block().kept.known)
    assert found.tail_as_of_ms == 1_000
    assert set(found.marks) == {INDEX}
    again = await look(b, INDEX, seen=found, key=key)
    assert (again.shared.tail, dict(again.shared.blocks)) == (None, {})
    assert again.marks[INDEX][1] == block().kept.known


async def test_who_did_not_see_what_is_there_changes_nothing(open_commons: Open) -> None:
    a, b = await open_commons(), await open_commons()
    seen = await look(a, INDEX)
    assert (await given(a, seen, Shared(tail(2_000), blocks={INDEX: block(0, 500)}))).given
    late = await given(b, seen, Shared(tail(1_000), blocks={INDEX: block(100, 400)}))
    assert not late.given
    found = await look(b, INDEX)
    assert found.tail_as_of_ms == 2_000
    assert len(found.shared.blocks[INDEX].kept.block) == 500
    assert (await given(b, found, Shared(tail(3_000), blocks={INDEX: block(0, 501)}))).given
    assert len((await look(a, INDEX)).shared.blocks[INDEX].kept.block) == 501


async def test_of_writers_at_once_one_is_first_and_the_other_is_told(open_commons: Open) -> None:
    a, b = await open_commons(), await open_commons()
    seen = await look(a, INDEX)
    gifts = [given(w, seen, Shared(blocks={INDEX: block(n, 500)})) for n in range(20) for w in (a, b)]
    done = await asyncio.gather(*gifts)
    assert sum(found.given for found in done) == 1


async def test_rows_added_one_by_one_and_rows_before_them(open_commons: Open) -> None:
    a, b = await open_commons(), await open_commons()
    found = await given(a, await look(a, INDEX), Shared(blocks={INDEX: block(300, 400)}))
    mine = await look(b, INDEX)
    for first, last in [(300, 401), (300, 402), (300, 470), (200, 470), (200, 471), (0, 900)]:
        found = await given(a, found, Shared(blocks={INDEX: block(first, last)}))
        assert found.given
        held = mine.shared.blocks[INDEX].kept.block
        mine = await b.take(KEY, Have(mine.epoch, blocks={INDEX: (mine.marks[INDEX][0], held)}), None)
        assert mine.shared.blocks[INDEX].kept.block.text == block(first, last).kept.block.text
        assert list(mine.shared.blocks[INDEX].kept.block.ends) == list(block(first, last).kept.block.ends)


async def test_a_revision_is_told_to_who_did_not_hear_of_it(open_commons: Open) -> None:
    a, b = await open_commons(), await open_commons()
    found = await given(
        a, await look(a, INDEX, INDEX + 1), Shared(blocks={i: block(index=i) for i in (INDEX, INDEX + 1)})
    )
    before = await look(b, INDEX)
    assert before.revised == ()
    changed = block(n7=99)
    changed = SharedBlock(changed.kept, {INDEX * WIDTH + 7 * 60_000: 77})
    found = await given(a, found, Shared(blocks={INDEX: changed}), frozenset({INDEX}))
    assert found.revisions == 1
    after = await b.take(KEY, Have(before.epoch, before.revisions), None)
    assert (after.revised, after.revisions) == ((INDEX,), 1)
    assert (await b.take(KEY, Have(after.epoch, after.revisions), None)).revised == ()
    assert (await look(b, INDEX)).shared.blocks[INDEX].revised == changed.revised
    assert (await b.take(KEY, Have(b"another", 5), None)).revised == (INDEX,)


async def test_one_reads_and_the_others_are_told_when_it_landed(open_commons: Open) -> None:
    a, b = await open_commons(), await open_commons()
    heard: list[SeriesKey] = []
    b.hear(heard.append, lambda _which, _name: None)
    await asyncio.sleep(0.2)
    first, second = Need(Lease("tail", "aa", 1), 500, 600), Need(Lease("tail", "bb", 1), 500, 600)
    assert (await a.take(KEY, Have(), first)).hold is Hold.MINE
    assert (await b.take(KEY, Have(), second)).hold is Hold.THEIRS
    assert (await b.take(KEY, Have(), Need(Lease("back7", "bb", 1), None, 600))).hold is Hold.MINE
    assert await a.renew(KEY, first.lease)
    assert not await b.renew(KEY, second.lease)
    assert (await given(a, Found(), Shared(tail(1_000)), lease=first.lease)).given
    await until(lambda: KEY in heard, 10)
    assert (await b.take(KEY, Have(), second)).hold is Hold.NOBODY
    newer = Need(Lease("tail", "cc", 1), 1_001, 1_002)
    assert (await b.take(KEY, Have(), newer)).hold is Hold.MINE


async def test_who_would_be_refused_learns_who_reads_and_takes_no_lease(open_commons: Open) -> None:
    a, b = await open_commons(), await open_commons()
    shy, bold = Need(Lease("tail", "aa", 0), 500, 600, takes=False), Need(Lease("tail", "bb", 1), 500, 600)
    assert (await a.take(KEY, Have(), shy)).hold is Hold.NOBODY
    assert (await b.take(KEY, Have(), bold)).hold is Hold.MINE
    assert (await a.take(KEY, Have(), replace(shy, lease=Lease("tail", "aa", 1)))).hold is Hold.THEIRS
    await b.release(KEY, bold.lease, "")
    assert (await a.take(KEY, Have(), shy)).hold is Hold.NOBODY


async def test_a_tail_whose_close_has_passed_is_read_again(open_commons: Open) -> None:
    a = await open_commons()
    open_tail = tail(INDEX * WIDTH + 500 * 60_000 + 30_000)
    assert open_tail.open_until_ms is not None
    await given(a, Found(), Shared(open_tail))
    lease = Lease("tail", "aa", 1)
    assert (await a.take(KEY, Have(), Need(lease, 0, open_tail.open_until_ms))).hold is Hold.NOBODY
    assert (await a.take(KEY, Have(), Need(lease, 0, open_tail.open_until_ms + 1))).hold is Hold.MINE


async def test_a_better_lane_takes_a_lease_over_and_an_error_is_told(open_commons: Open) -> None:
    a, b = await open_commons(), await open_commons()
    low, high = Lease("tail", "aa", 2), Lease("tail", "bb", 0)
    assert (await a.take(KEY, Have(), Need(low, 0, 0))).hold is Hold.MINE
    assert (await b.take(KEY, Have(), Need(high, 0, 0))).hold is Hold.MINE
    assert (await a.take(KEY, Have(), Need(low, 0, 0))).hold is Hold.THEIRS
    await a.release(KEY, low, "not its own any more")
    assert (await a.take(KEY, Have(), Need(low, 0, 0))).hold is Hold.THEIRS
    await b.release(KEY, high, "what went wrong")
    told = await a.take(KEY, Have(), Need(low, 0, 0))
    assert (told.hold, told.error) == (Hold.FAILED, "what went wrong")
    await asyncio.sleep(1.1)
    assert (await a.take(KEY, Have(), Need(low, 0, 0))).hold is Hold.MINE


async def test_a_purge_leaves_word_of_itself(open_commons: Open) -> None:
    a, b = await open_commons(), await open_commons()
    heard: list[tuple[Which, bytes]] = []
    b.hear(lambda _key: None, lambda which, name: heard.append((which, name)))
    await asyncio.sleep(0.2)
    for key in (KEY, OTHER):
        await given(a, Found(), Shared(tail(1_000), blocks={INDEX: block()}), key=key)
    seen = await look(b, INDEX)
    which = Which(Market.SPOT, "BTCUSDT")
    await a.purge(which, b"purge 1!")
    found = await look(b, INDEX)
    assert (found.purge, found.tail, found.marks) == (b"purge 1!", b"", {})
    assert found.epoch not in {b"", seen.epoch}
    assert len((await look(b, INDEX, key=OTHER)).shared.blocks) == 1
    assert not (await given(b, seen, Shared(tail(2_000), blocks={INDEX: block()}))).given
    await until(lambda: (which, b"purge 1!") in heard, 10)
    await given(b, found, Shared(tail(3_000)))
    await b.purge_series(KEY, b"purge 1!")
    assert (await look(b)).tail_as_of_ms == 3_000
    await b.purge_series(KEY, b"purge 2!")
    assert (await look(b)).tail_as_of_ms == -1
