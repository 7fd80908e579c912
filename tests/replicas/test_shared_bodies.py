"""One contract over the body store in memory and the one in a real Redis (a single server, and a cluster)."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from mdcache.events import Event, Events
from mdcache.exchange.markets import Market
from mdcache.exchange.snapshots import SnapshotBody
from mdcache.leases import Lease, LeaseState, SharedStoreDown
from mdcache.store_events import TierFailed
from mdcache.stores.redis import bodies as redis_copies
from mdcache.stores.redis.bodies import RedisBodyStore
from mdcache.stores.redis.channel import Channel
from mdcache.upstream.replicas.shared_bodies import MOST_BYTES, BodyLeaseRequest, SharedBodyStore
from tests.support.memory_shared_bodies import MemorySharedBodies, StoredBodies
from tests.support.memory_shared_rows import MemoryRowServer as FakeServer
from tests.support.redis_row_store import ORIGINS, LoopClock, client_for
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.waiting import until

SPOT, NAME, OTHER = Market.SPOT, "/api/v3/depth?symbol=BTCUSDT", '/api/v3/ticker/price?symbols=["币安人生USDT"]#us'
AS_OF = 1_793_795_371_858


@asynccontextmanager
async def opened(
    url: str, events: list[Event] | None = None, prefix: str = "mdcache:"
) -> AsyncIterator[RedisBodyStore]:
    bus = Events((events if events is not None else []).append)
    link = client_for(url, bus, prefix)
    news = Channel(link)
    found = RedisBodyStore(link, news, ORIGINS, ThreadPoolExecutor(1), bus)
    news.start()
    await link.start()
    try:
        yield found
    finally:
        await found.aclose()
        await link.aclose()


Open = Callable[[], Any]
Subscribed = Callable[[int], Awaitable[None]]


@pytest.fixture
async def open_store(redis_url: str | None) -> AsyncIterator[Open]:
    """Makes one replica's store after the other, before one empty server."""
    server, held = FakeServer(LoopClock()), StoredBodies()  # type: ignore[arg-type] # only its `now`
    async with AsyncExitStack() as stack:

        async def made() -> SharedBodyStore:
            if redis_url is None:
                return MemorySharedBodies(server, held)
            return await stack.enter_async_context(opened(redis_url))

        yield made


def body(nbytes: int) -> bytes:
    return b'{"bids":"%b"}' % random.Random(nbytes).randbytes(nbytes // 2).hex().encode()


def need(token: str, floor_ms: int, rank: int = 1, *, takes: bool = True) -> BodyLeaseRequest:
    return BodyLeaseRequest(Lease("read", token, rank), floor_ms, may_take_lease=takes)


@pytest.mark.parametrize("name", [NAME, OTHER])
@pytest.mark.parametrize("nbytes", [2, 3_000, 3_000_000])
async def test_a_pushed_body_is_found_by_its_name(open_store: Open, name: str, nbytes: int) -> None:
    a, b = await open_store(), await open_store()
    copy = SnapshotBody(body(nbytes), AS_OF)
    assert (await a.pull(SPOT, name, -1, None)).body is None
    await a.push(SPOT, name, copy, 30.0, None)
    assert (await b.pull(SPOT, name, -1, None)).body == copy
    assert (await b.pull(SPOT, name, AS_OF - 1, None)).body == copy
    assert (await b.pull(SPOT, name, AS_OF, None)).body is None
    assert (await b.pull(Market.USDM, name, -1, None)).body is None
    assert (await b.pull(SPOT, name + "x", -1, None)).body is None


async def test_a_body_never_replaces_a_newer_one(open_store: Open) -> None:
    a = await open_store()
    for as_of_ms in (AS_OF, AS_OF + 5, AS_OF + 3):
        await a.push(SPOT, NAME, SnapshotBody(b"[]", as_of_ms), 30.0, None)
    found = (await a.pull(SPOT, NAME, -1, None)).body
    assert found is not None
    assert found.as_of_ms == AS_OF + 5


async def test_a_body_expires_after_its_lifetime(open_store: Open) -> None:
    a = await open_store()
    await a.push(SPOT, NAME, SnapshotBody(b"[]", AS_OF), 0.2, None)
    assert (await a.pull(SPOT, NAME, -1, None)).body is not None

    async def gone() -> bool:
        return (await a.pull(SPOT, NAME, -1, None)).body is None

    await until(gone, 10.0)


async def test_one_replica_reads_and_the_others_are_notified_when_it_pushed(
    open_store: Open, subscribed: Subscribed
) -> None:
    a, b = await open_store(), await open_store()
    notified: list[str] = []
    b.subscribe(notified.append)
    await subscribed(2)
    assert (await a.pull(SPOT, NAME, -1, need("aa", AS_OF))).lease_state is LeaseState.MINE
    assert (await b.pull(SPOT, NAME, -1, need("bb", AS_OF))).lease_state is LeaseState.THEIRS
    assert (await b.pull(SPOT, OTHER, -1, need("bb", AS_OF))).lease_state is LeaseState.MINE
    assert await a.renew(SPOT, NAME, Lease("read", "aa", 1))
    assert not await b.renew(SPOT, NAME, Lease("read", "bb", 1))
    await a.push(SPOT, NAME, SnapshotBody(b"[]", AS_OF), 30.0, Lease("read", "aa", 1))
    await until(lambda: b.topic(SPOT, NAME) in notified, 10)
    found = await b.pull(SPOT, NAME, -1, need("bb", AS_OF))
    assert (found.body, found.lease_state) == (SnapshotBody(b"[]", AS_OF), LeaseState.NONE)
    assert (await b.pull(SPOT, NAME, AS_OF, need("bb", AS_OF + 1))).lease_state is LeaseState.MINE


async def test_a_better_lane_takes_the_lease_over_and_an_error_is_published(open_store: Open) -> None:
    a = await open_store()
    low, high = need("aa", AS_OF, 2), need("bb", AS_OF, 0)
    assert (await a.pull(SPOT, NAME, -1, low)).lease_state is LeaseState.MINE
    assert (await a.pull(SPOT, NAME, -1, high)).lease_state is LeaseState.MINE
    await a.release(SPOT, NAME, low.lease, "not its own any more")
    assert (await a.pull(SPOT, NAME, -1, low)).lease_state is LeaseState.THEIRS
    await a.release(SPOT, NAME, high.lease, "what went wrong")
    found = await a.pull(SPOT, NAME, -1, low)
    assert (found.lease_state, found.error) == (LeaseState.FAILED, "what went wrong")

    async def forgotten() -> bool:
        return (await a.pull(SPOT, NAME, -1, need("aa", AS_OF, takes=False))).lease_state is LeaseState.NONE

    await until(forgotten, 10.0)
    assert (await a.pull(SPOT, NAME, -1, low)).lease_state is LeaseState.MINE


async def test_a_purge_deletes_all_bodies(open_store: Open) -> None:
    a = await open_store()
    names = [f"{NAME}{n}" for n in range(40)]
    for name in names:
        await a.push(SPOT, name, SnapshotBody(b"[]", AS_OF), 30.0, None)
    await a.purge()
    assert [(await a.pull(SPOT, name, -1, None)).body for name in names] == [None] * 40


# ------------------------------------------------------------------------------ Redis alone


def keys_of(server: RedisServer) -> list[bytes]:
    return sorted(server.client().keys("mdcache:*}*"))


@pytest.mark.processes
@pytest.mark.parametrize("how", ["evicted", "another type", "rubbish", "short", "one bit", "another's", "a bomb"])
async def test_a_broken_body_counts_as_missing_and_is_replaced(single: RedisServer, how: str) -> None:
    client = single.client()
    client.flushall()
    events: list[Event] = []
    async with opened(single.url, events) as a:
        for name in (NAME, OTHER):
            await a.push(SPOT, name, SnapshotBody(body(4_000), AS_OF), 30.0, None)
        tag = (a._client.prefix + a.topic(SPOT, NAME)).encode()
        raw = client.get(tag + b"c")
        match how:
            case "evicted":
                client.delete(tag + b"c")
            case "another type":
                client.delete(tag + b"c")
                client.sadd(tag + b"c", "somebody's")
            case "rubbish":
                client.set(tag + b"c", b"rubbish" * 20)
            case "short":
                client.set(tag + b"c", raw[:9])
            case "one bit":
                client.set(tag + b"c", raw[:50] + bytes([raw[50] ^ 1]) + raw[51:])
            case "another's":
                (other,) = [key for key in keys_of(single) if key.endswith(b"c") and key != tag + b"c"]
                client.set(tag + b"c", client.get(other))
            case _:
                bomb = SnapshotBody(b" " * (MOST_BYTES + 1), AS_OF)
                client.set(tag + b"c", redis_copies._encode(a._identity(SPOT, NAME), bomb))
        assert (await a.pull(SPOT, NAME, -1, None)).body is None
        reported = any(isinstance(event, TierFailed) and event.lost for event in events)
        assert reported == (how not in {"evicted", "another type"})
        await a.push(SPOT, NAME, SnapshotBody(b"[]", AS_OF + 1), 30.0, None)
        assert (await a.pull(SPOT, NAME, -1, None)).body == SnapshotBody(b"[]", AS_OF + 1)


@pytest.mark.processes
@pytest.mark.parametrize(("value", "life_ms"), [("1 abcdef", None), ("!an error", 60_000), ("rubbish", 2_000)])
async def test_a_foreign_value_in_place_of_a_lease_delays_no_read(
    single: RedisServer, value: str, life_ms: int | None
) -> None:
    client = single.client()
    client.flushall()
    async with opened(single.url) as a:
        key = a._client.prefix + a.topic(SPOT, NAME) + "d"
        client.set(key, value, px=life_ms)
        assert (await a.pull(SPOT, NAME, -1, need("aa", AS_OF))).lease_state is LeaseState.MINE
    assert 0 < client.pttl(key) <= 3_000


@pytest.mark.processes
async def test_a_body_that_is_too_long_is_not_stored_and_its_lease_ends(single: RedisServer) -> None:
    single.client().flushall()
    async with opened(single.url) as a:
        assert (await a.pull(SPOT, NAME, -1, need("aa", AS_OF))).lease_state is LeaseState.MINE
        long = SnapshotBody(random.Random(1).randbytes(redis_copies._MAX_COMPRESSED + 1), AS_OF)
        await a.push(SPOT, NAME, long, 30.0, Lease("read", "aa", 1))
        assert keys_of(single) == []


@pytest.mark.processes
async def test_bodies_of_another_upstream_or_prefix_are_neither_found_nor_purged(single: RedisServer) -> None:
    single.client().flushall()
    async with opened(single.url) as a, opened(single.url, prefix="another*:") as b:
        await a.push(SPOT, NAME, SnapshotBody(b"[]", AS_OF), 30.0, None)
        assert (await b.pull(SPOT, NAME, -1, None)).body is None
        await b.purge()
        a._origins = dict.fromkeys(Market, "https://testnet.test")
        assert (await a.pull(SPOT, NAME, -1, None)).body is None
        await a.purge()
        a._origins = ORIGINS
        assert (await a.pull(SPOT, NAME, -1, None)).body is not None


@pytest.mark.processes
async def test_every_key_expires(single: RedisServer) -> None:
    client = single.client()
    client.flushall()
    async with opened(single.url) as a:
        await a.push(SPOT, NAME, SnapshotBody(b"[]", AS_OF), 30.0, None)
        for token in ("aa", "bb"):
            await a.pull(SPOT, NAME, AS_OF, need(token, AS_OF + 1))
        lives = {key[-1:]: client.pttl(key) for key in keys_of(single)}
        assert set(lives) == {b"c", b"d", b"u"}
        assert all(0 < life <= 30_000 for life in lives.values()), lives
        await a.release(SPOT, NAME, Lease("read", "aa", 1), "what went wrong")
        assert 0 < client.pttl(a._client.prefix + a.topic(SPOT, NAME) + "d") <= 1_000


@pytest.mark.processes
async def test_a_full_redis_stores_nothing_and_breaks_nothing() -> None:
    with running_redis() as server:
        async with opened(server.url) as a:
            await a.push(SPOT, NAME, SnapshotBody(b"[]", AS_OF), 60.0, None)
            server.client().config_set("maxmemory", "1mb")  # less than it uses already
            with pytest.raises(SharedStoreDown):
                await a.push(SPOT, NAME, SnapshotBody(b"[1]", AS_OF + 1), 60.0, None)
            server.client().config_set("maxmemory", "0")
            await until(lambda: a._client.up, 10)
            assert (await a.pull(SPOT, NAME, -1, None)).body == SnapshotBody(b"[]", AS_OF)
