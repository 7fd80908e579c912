"""One contract over the commons of the tests and the one in a real Redis (a single server, and a cluster)."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from mdcache.candles.atrest import Kept, Which
from mdcache.candles.block import build
from mdcache.candles.commons import Commons, CommonsDown, Found, Gift, Have, Hold, Lease, Need
from mdcache.candles.share import Shared, SharedBlock
from mdcache.candles.tail import Tail
from mdcache.candles.voids import Void
from mdcache.clock import SystemClock
from mdcache.events import Event, Events, TierFailed
from mdcache.exchange.markets import Market
from mdcache.exchange.questions import SeriesKey
from mdcache.exchange.rows import Row
from mdcache.stores.redis.address import connect, parse
from mdcache.stores.redis.commons import RedisCommons
from mdcache.stores.redis.link import Link
from tests.world.commons import FakeCommons
from tests.world.commons import Server as FakeServer
from tests.world.servers import Server, cluster, running, until

KEY = SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m")
OTHER = SeriesKey(Market.USDM, "continuousKlines", "币安人生USDT", "PERPETUAL", "1M", 480, micros=True)
WIDTH = 60_000_000
ORIGINS = dict.fromkeys(Market, "https://exchange.test")
INDEX = 29_000


def raw(open_ms: int, price: float = 100.0, trades: int = 30) -> bytes:
    rng = random.Random(open_ms)  # with as many digits as real rows: they don't compress to nothing
    prices = ",".join(f'"{price + rng.uniform(low, high):.2f}"' for low, high in ((0, 1), (2, 3), (-3, -2), (0, 1)))
    volume, part = rng.uniform(1, 90), rng.random()
    amounts = f'"{volume:.5f}",{open_ms + 59_999},"{volume * price:.7f}",{trades}'
    return f'[{open_ms},{prices},{amounts},"{volume * part:.5f}","{volume * part * price:.7f}","0"]'.encode()


def block(first: int = 0, last: int = 500, *, index: int = INDEX, **odd: int) -> SharedBlock:
    start = index * WIDTH
    rows = [
        (start + n * 60_000, raw(start + n * 60_000, 100 + n % 7, odd.get(f"n{n}", 30))) for n in range(first, last)
    ]
    known = ((start + first * 60_000, start + (last - 1) * 60_000 + 1),)
    return SharedBlock(Kept(build(index, rows), known))


def tail(as_of_ms: int, start_ms: int = INDEX * WIDTH + 500 * 60_000) -> Tail:
    row = Row(start_ms, start_ms + 59_999, 30, raw(start_ms))
    return Tail(start_ms, (row,), as_of_ms, {start_ms: as_of_ms - 5}, 12)


class Clock:
    """The fake server's, on the real loop's time."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()


@asynccontextmanager
async def redis_commons(
    url: str, events: list[Event] | None = None, prefix: str = "mdcache:"
) -> AsyncIterator[RedisCommons]:
    address, clock = parse(url), SystemClock()
    told = Events((events if events is not None else []).append)
    link = Link(lambda: connect(address, 1.0), prefix=prefix, timeout_s=2.0, clock=clock, events=told)
    commons = RedisCommons(link, ORIGINS, ThreadPoolExecutor(1), clock, told)
    commons.start()
    await link.start()
    try:
        yield commons
    finally:
        await commons.aclose()
        await link.aclose()


@pytest.fixture(scope="module")
def single() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def three() -> Iterator[list[Server]]:
    with cluster() as servers:
        yield servers


Open = Callable[[], Any]


@pytest.fixture(params=["fake", "redis", "cluster"])
async def open_commons(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Makes one replica's commons after the other, before one empty server."""
    async with AsyncExitStack() as stack:
        if request.param == "fake":
            server = FakeServer(Clock())  # type: ignore[arg-type] # only its `now`

            async def fake() -> Commons:
                return FakeCommons(server)

            yield fake
            return
        servers = [request.getfixturevalue("single")] if request.param == "redis" else request.getfixturevalue("three")
        for each in servers:
            each.client().flushall()
        scheme = "redis" if request.param == "redis" else "redis+cluster"

        async def real() -> Commons:
            return await stack.enter_async_context(redis_commons(f"{scheme}://127.0.0.1:{servers[0].port}"))

        yield real


def have(found: Found, *indexes: int) -> Have:
    blocks = {index: (found.marks[index][0] if index in found.marks else b"", None) for index in indexes}
    return Have(found.epoch, found.revisions, found.tail, found.emptiness, blocks)


async def given(
    commons: Commons, seen: Found, shared: Shared, told: frozenset[int] = frozenset(), **more: Any
) -> Found:
    return await commons.give(more.get("key", KEY), Gift(have(seen, *shared.blocks), shared, told, more.get("lease")))


async def look(commons: Commons, *indexes: int, seen: Found | None = None, key: SeriesKey = KEY) -> Found:
    return await commons.take(key, have(seen or Found(), *indexes), None)


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


# ------------------------------------------------------------------------------ Redis alone


def keys_of(server: Server) -> list[bytes]:
    return sorted(server.client().keys("*}*"))


async def filled(server: Server) -> Found:
    server.client().flushall()
    async with redis_commons(server.url) as a:
        found = await given(a, Found(), Shared(tail(1_000), ((5, 9),), (), {INDEX: block(0, 400)}))
        assert (await given(a, found, Shared(tail(1_001), ((5, 9),), (), {INDEX: block(0, 410)}))).given
    assert len(keys_of(server)) == 4  # head, tail, base, young
    return found


@pytest.mark.parametrize("part", ["h", "t", f"b{INDEX}", f"y{INDEX}"])
@pytest.mark.parametrize("how", ["evicted", "another type", "rubbish", "short", "one bit"])
async def test_what_is_broken_is_not_there_and_is_replaced(single: Server, part: str, how: str) -> None:
    await filled(single)
    client = single.client()
    (key,) = [key for key in keys_of(single) if key.endswith(b"}" + part.encode())]
    if how == "evicted":
        client.delete(key)
    elif how == "another type":
        client.delete(key)
        client.sadd(key, "somebody's")
    elif part == "h":
        for name, value in client.hgetall(key).items():
            client.hset(key, name, _spoilt(value, how))
    else:
        client.set(key, _spoilt(client.get(key), how))
    events: list[Event] = []
    async with redis_commons(single.url, events) as a:
        found = await look(a, INDEX)
        whole = block(0, 410).kept.block
        for index, told in found.shared.blocks.items():
            assert (index, told.kept.block.text) == (INDEX, whole.text)
        assert found.shared.tail in (None, tail(1_001))
        assert (INDEX not in found.shared.blocks) == (part != "t")
        assert (found.shared.tail is None) == (part == "t")
        assert how in {"evicted", "another type"} or any(
            isinstance(event, TierFailed) and event.lost for event in events
        )
        gift = Shared(tail(2_000), ((5, 9),), (), {INDEX: block(0, 411)})
        assert (await given(a, found, gift)).given
        healed = await look(a, INDEX)
        assert healed.shared.blocks[INDEX].kept.block.text == block(0, 411).kept.block.text
        assert healed.shared.tail == tail(2_000)


def _spoilt(value: bytes, how: str) -> bytes:
    if how == "rubbish":
        return b"rubbish" * 20
    if how == "short":
        return value[: min(5, len(value) - 1)]
    return value[:-3] + bytes([value[-3] ^ 1]) + value[-2:]


@pytest.mark.parametrize("life_ms", [None, 1_000, 60_000])
@pytest.mark.parametrize("value", ["rubbish", "", "7", "1 aa", "!what went wrong"])
async def test_what_is_no_lease_keeps_nobody_waiting(single: Server, value: str, life_ms: int | None) -> None:
    """Nor one that nobody would end: a lease of ours, and its error, runs out within seconds."""
    single.client().flushall()
    ours = value in {"1 aa", "!what went wrong"} and life_ms == 1_000
    async with redis_commons(single.url) as a:
        lease = Lease("tail", "bb", 1)
        await a.take(KEY, Have(), Need(lease, 0, 0))
        (key,) = single.client().keys("*}l*")
        single.client().set(key, value, px=life_ms)
        assert ((await a.take(KEY, Have(), Need(lease, 0, 0))).hold is Hold.MINE) == (not ours)


async def test_a_lease_of_another_type_breaks_nothing(single: Server) -> None:
    single.client().flushall()
    async with redis_commons(single.url) as a:
        lease = Lease("tail", "bb", 1)
        await a.take(KEY, Have(), Need(lease, 0, 0))
        (key,) = single.client().keys("*}l*")
        single.client().delete(key)
        single.client().sadd(key, "somebody's")
        assert not await a.renew(KEY, lease)
        assert (await given(a, Found(), Shared(tail(1_000)), lease=lease)).given
        await a.release(KEY, lease, "")
        assert (await a.take(KEY, Have(), Need(lease, 9_000, 0))).hold is Hold.MINE


@pytest.mark.parametrize("revisions", ["1e300", "-1", "0.5", "nan", "inf", "0x10", "many", "9" * 20])
async def test_a_head_that_counts_revisions_as_we_do_not_is_none_of_ours(single: Server, revisions: str) -> None:
    await filled(single)
    (head,) = single.client().keys("*}h")
    single.client().hset(head, "r", revisions)
    async with redis_commons(single.url) as a:
        found = await look(a, INDEX)
        assert (found.epoch, found.revisions, dict(found.shared.blocks)) == (b"", 0, {})
        single.client().hset(head, "r", revisions)
        assert (await given(a, found, Shared(blocks={INDEX: block(0, 410)}))).given
        found = await look(a, INDEX)
        assert len(found.shared.blocks[INDEX].kept.block) == 410
        changed = SharedBlock(block(0, 410, n7=99).kept, {INDEX * WIDTH + 7 * 60_000: 77})
        assert (await given(a, found, Shared(blocks={INDEX: changed}), frozenset({INDEX}))).given
        after = await a.take(KEY, Have(found.epoch, found.revisions), None)
        assert after.revised == (INDEX,)


async def test_rows_of_another_upstream_or_prefix_are_not_there(single: Server) -> None:
    await filled(single)
    async with redis_commons(single.url, prefix="another:") as other:
        assert (await look(other, INDEX)).epoch == b""
        await other.purge(Which(), b"purge it")
    async with redis_commons(single.url) as a:
        assert len((await look(a, INDEX)).shared.blocks) == 1
        a._origins = dict.fromkeys(Market, "https://testnet.test")
        assert (await look(a, INDEX)).epoch == b""
        await a.purge(Which(), b"purge it")
    async with redis_commons(single.url) as a:
        assert len((await look(a, INDEX)).shared.blocks) == 1


async def test_every_key_runs_out_one_day(single: Server) -> None:
    await filled(single)
    client = single.client()
    async with redis_commons(single.url) as a:
        await a.take(KEY, Have(), Need(Lease("tail", "aa", 1), 9_000, 0))
        await a.take(KEY, Have(), Need(Lease("tail", "bb", 1), 9_000, 0))
        await a.purge(Which(subject="NOBODY"), b"purge 3!")
    lives = {key: client.pttl(key) for key in client.keys("mdcache:*")}
    assert 0 < lives.pop(b"mdcache:v1:purges") <= 30 * 86_400_000  # for those that are away with rows on their disk
    assert all(0 < life <= 3 * 86_400_000 for life in lives.values()), lives
    assert all(life <= 600_000 for key, life in lives.items() if key.endswith(b"}t"))


@pytest.mark.parametrize(
    ("value", "life_ms"),
    [("1 abcdef", None), ("1 abcdef", 60_000), ("!an error", None), ("!an error", 60_000), ("rubbish", 2_000), ("", 9)],
)
async def test_what_is_no_lease_holds_nobody_up(single: Server, value: str, life_ms: int | None) -> None:
    await filled(single)
    client = single.client()
    (head,) = [key for key in keys_of(single) if key.endswith(b"}h")]
    client.set(head[:-1] + b"ltail", value, px=life_ms)
    async with redis_commons(single.url) as a:
        assert (await a.take(KEY, Have(), Need(Lease("tail", "aa", 1), 9_000, 0))).hold is Hold.MINE
    assert 0 < client.pttl(head[:-1] + b"ltail") <= 3_000


async def test_cards_of_rows_that_ran_out_go(single: Server) -> None:
    found = await filled(single)
    client = single.client()
    (head,) = [key for key in keys_of(single) if key.endswith(b"}h")]
    async with redis_commons(single.url) as a:
        found = await look(a, INDEX + 1)
        found = await given(a, found, Shared(blocks={INDEX + 1: block(index=INDEX + 1)}))
        client.delete(head[:-1] + b"b%d" % INDEX)
        later = await look(a, INDEX + 2, seen=found)
        assert (await given(a, later, Shared(blocks={INDEX + 2: block(index=INDEX + 2)}))).given
        assert client.hexists(head, f"k{INDEX}")  # not each time
        client.hset(head, "g", int(client.time()[0]) - 2 * 86_400)
        later = await look(a, INDEX + 3, seen=found)
        assert (await given(a, later, Shared(blocks={INDEX + 3: block(index=INDEX + 3)}))).given
        assert not client.hexists(head, f"k{INDEX}")
        whole = await look(a, INDEX, INDEX + 1, INDEX + 2, INDEX + 3)
        assert set(whole.shared.blocks) == {INDEX + 1, INDEX + 2, INDEX + 3}
        assert (await given(a, whole, Shared(blocks={INDEX: block()}))).given
        assert set((await look(a, INDEX)).shared.blocks) == {INDEX}


async def test_one_that_ends_as_soon_as_it_began_ends(single: Server) -> None:
    """redis-py loses a cancellation that comes while it connects."""
    async with asyncio.timeout(30):
        for _ in range(20):
            async with redis_commons(single.url) as a:
                await look(a, INDEX)


async def test_a_candle_takes_few_bytes(single: Server) -> None:
    single.client().flushall()
    async with redis_commons(single.url) as a:
        await given(a, Found(), Shared(tail(1_000), blocks={INDEX: block()}))
    client = single.client()
    used = sum(client.memory_usage(key, samples=0) for key in client.keys("*}*"))
    assert used / 500 <= 60


async def test_a_full_redis_takes_nothing_and_breaks_nothing() -> None:
    with running() as server:
        async with redis_commons(server.url) as a:
            found = await given(a, Found(), Shared(tail(1_000), blocks={INDEX: block(0, 400)}))
            client = server.client()
            client.config_set("maxmemory", "1mb")  # less than it uses already
            with pytest.raises(CommonsDown):
                await given(a, found, Shared(tail(2_000), blocks={INDEX: block(0, 401)}))
            client.config_set("maxmemory", "0")
            await until(lambda: a._link.up, 10)
            again = await look(a, INDEX)
            assert len(again.shared.blocks[INDEX].kept.block) == 400
            assert again.shared.tail == tail(1_000)


async def test_what_a_small_redis_evicts_is_missing_and_never_wrong() -> None:
    with running("--maxmemory-policy", "allkeys-random") as server:
        async with redis_commons(server.url) as a:
            server.client().config_set("maxmemory", server.client().info()["used_memory"] + 1_500_000)
            texts: dict[SeriesKey, tuple[bytes, bytes]] = {}
            for n in range(300):
                key = SeriesKey(Market.SPOT, "klines", f"S{n}USDT", "", "1m")
                seen, last = await look(a, INDEX, key=key), 400
                for last in (400, 403):
                    seen = await given(a, seen, Shared(tail(1_000 + last), blocks={INDEX: block(n, last)}), key=key)
                    if not seen.given:  # a part was evicted in between
                        seen = await look(a, INDEX, key=key)
                texts[key] = block(n, 400).kept.block.text, block(n, 403).kept.block.text
            whole = 0
            for key, right in texts.items():
                found = (await look(a, INDEX, key=key)).shared.blocks.get(INDEX)
                assert found is None or found.kept.block.text in right
                whole += found is not None
            assert 0 < whole < 300
            assert server.client().info()["evicted_keys"] > 0
