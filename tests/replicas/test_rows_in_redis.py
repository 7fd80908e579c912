"""Rows in a real Redis: what is broken, foreign, expired or evicted there is missing, and never wrong."""

import asyncio

import pytest

from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.replication import SeriesState, SharedBlock
from mdcache.candles.shared_rows import KnownVersions, LeaseRequest, PullResult
from mdcache.events import Event
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.leases import Lease, LeaseState, SharedStoreDown
from mdcache.store_events import TierFailed
from tests.support.redis_row_store import INDEX, KEY, WIDTH, block, pull, push, redis_row_store, tail
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.waiting import until

pytestmark = [pytest.mark.processes, pytest.mark.untraced]


def keys_of(server: RedisServer) -> list[bytes]:
    return sorted(server.client().keys("*}*"))


async def filled(server: RedisServer) -> PullResult:
    server.client().flushall()
    async with redis_row_store(server.url) as a:
        found = await push(a, PullResult(), SeriesState(tail(1_000), ((5, 9),), (), {INDEX: block(0, 400)}))
        assert (await push(a, found, SeriesState(tail(1_001), ((5, 9),), (), {INDEX: block(0, 410)}))).pushed
    assert len(keys_of(server)) == 4  # head, tail, base, young
    return found


@pytest.mark.parametrize("part", ["h", "t", f"b{INDEX}", f"y{INDEX}"])
@pytest.mark.parametrize("how", ["evicted", "another type", "rubbish", "short", "one bit"])
async def test_broken_parts_count_as_missing_and_are_replaced(single: RedisServer, part: str, how: str) -> None:
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
    async with redis_row_store(single.url, events) as a:
        found = await pull(a, INDEX)
        whole = block(0, 410).stored.block
        for index, kept in found.state.blocks.items():
            assert (index, kept.stored.block.text) == (INDEX, whole.text)
        assert found.state.tail in (None, tail(1_001))
        assert (INDEX not in found.state.blocks) == (part != "t")
        assert (found.state.tail is None) == (part == "t")
        assert how in {"evicted", "another type"} or any(
            isinstance(event, TierFailed) and event.lost for event in events
        )
        gift = SeriesState(tail(2_000), ((5, 9),), (), {INDEX: block(0, 411)})
        assert (await push(a, found, gift)).pushed
        healed = await pull(a, INDEX)
        assert healed.state.blocks[INDEX].stored.block.text == block(0, 411).stored.block.text
        assert healed.state.tail == tail(2_000)


def _spoilt(value: bytes, how: str) -> bytes:
    if how == "rubbish":
        return b"rubbish" * 20
    if how == "short":
        return value[: min(5, len(value) - 1)]
    return value[:-3] + bytes([value[-3] ^ 1]) + value[-2:]


@pytest.mark.parametrize("life_ms", [None, 1_000, 60_000])
@pytest.mark.parametrize("value", ["rubbish", "", "7", "1 aa", "!what went wrong"])
async def test_a_foreign_value_in_place_of_a_lease_delays_no_read(
    single: RedisServer, value: str, life_ms: int | None
) -> None:
    """Nor one that would never end: a lease of ours, and its error, expires within seconds."""
    single.client().flushall()
    ours = value in {"1 aa", "!what went wrong"} and life_ms == 1_000
    async with redis_row_store(single.url) as a:
        lease = Lease("tail", "bb", 1)
        await a.pull(KEY, KnownVersions(), LeaseRequest(lease, 0, 0))
        (key,) = single.client().keys("*}l*")
        single.client().set(key, value, px=life_ms)
        found = await a.pull(KEY, KnownVersions(), LeaseRequest(lease, 0, 0))
        assert (found.lease_state is LeaseState.MINE) == (not ours)
        assert 0 < single.client().pttl(key) <= 3_000


async def test_a_lease_of_another_type_breaks_nothing(single: RedisServer) -> None:
    single.client().flushall()
    async with redis_row_store(single.url) as a:
        lease = Lease("tail", "bb", 1)
        await a.pull(KEY, KnownVersions(), LeaseRequest(lease, 0, 0))
        (key,) = single.client().keys("*}l*")
        single.client().delete(key)
        single.client().sadd(key, "somebody's")
        assert not await a.renew(KEY, lease)
        assert (await push(a, PullResult(), SeriesState(tail(1_000)), lease=lease)).pushed
        await a.release(KEY, lease, "")
        assert (await a.pull(KEY, KnownVersions(), LeaseRequest(lease, 9_000, 0))).lease_state is LeaseState.MINE


@pytest.mark.parametrize("revisions", ["1e300", "-1", "0.5", "nan", "inf", "0x10", "many", "9" * 20])
async def test_a_header_with_an_unreadable_revision_count_is_replaced(single: RedisServer, revisions: str) -> None:
    await filled(single)
    (head,) = single.client().keys("*}h")
    single.client().hset(head, "r", revisions)
    async with redis_row_store(single.url) as a:
        found = await pull(a, INDEX)
        assert (found.epoch, found.revisions, dict(found.state.blocks)) == (b"", 0, {})
        single.client().hset(head, "r", revisions)
        assert (await push(a, found, SeriesState(blocks={INDEX: block(0, 410)}))).pushed
        found = await pull(a, INDEX)
        assert len(found.state.blocks[INDEX].stored.block) == 410
        changed = SharedBlock(block(0, 410, n7=99).stored, {INDEX * WIDTH + 7 * 60_000: 77})
        assert (await push(a, found, SeriesState(blocks={INDEX: changed}), frozenset({INDEX}))).pushed
        after = await a.pull(KEY, KnownVersions(found.epoch, found.revisions), None)
        assert after.revised_blocks == (INDEX,)


async def test_rows_of_another_upstream_or_prefix_are_not_found(single: RedisServer) -> None:
    await filled(single)
    async with redis_row_store(single.url, prefix="another:") as other:
        assert (await pull(other, INDEX)).epoch == b""
        await other.purge(SeriesFilter(), b"purge it")
    async with redis_row_store(single.url) as a:
        assert len((await pull(a, INDEX)).state.blocks) == 1
        a._origins = dict.fromkeys(Market, "https://testnet.test")
        assert (await pull(a, INDEX)).epoch == b""
        await a.purge(SeriesFilter(), b"purge it")
    async with redis_row_store(single.url) as a:
        assert len((await pull(a, INDEX)).state.blocks) == 1


async def test_every_key_expires(single: RedisServer) -> None:
    await filled(single)
    client = single.client()
    async with redis_row_store(single.url) as a:
        await a.pull(KEY, KnownVersions(), LeaseRequest(Lease("tail", "aa", 1), 9_000, 0))
        await a.pull(KEY, KnownVersions(), LeaseRequest(Lease("tail", "bb", 1), 9_000, 0))
        await a.purge(SeriesFilter(subject="NOBODY"), b"purge 3!")
    lives = {key: client.pttl(key) for key in client.keys("mdcache:*")}
    assert 0 < lives.pop(b"mdcache:v2:purges") <= 30 * 86_400_000  # for those that are away with rows on their disk
    assert all(0 < life <= 3 * 86_400_000 for life in lives.values()), lives
    assert all(life <= 600_000 for key, life in lives.items() if key.endswith(b"}t"))


async def test_versions_of_expired_rows_are_deleted(single: RedisServer) -> None:
    found = await filled(single)
    client = single.client()
    (head,) = [key for key in keys_of(single) if key.endswith(b"}h")]
    async with redis_row_store(single.url) as a:
        found = await pull(a, INDEX + 1)
        found = await push(a, found, SeriesState(blocks={INDEX + 1: block(index=INDEX + 1)}))
        client.delete(head[:-1] + b"b%d" % INDEX)
        later = await pull(a, INDEX + 2, seen=found)
        assert (await push(a, later, SeriesState(blocks={INDEX + 2: block(index=INDEX + 2)}))).pushed
        assert client.hexists(head, f"k{INDEX}")  # not each time
        client.hset(head, "g", int(client.time()[0]) - 2 * 86_400)
        later = await pull(a, INDEX + 3, seen=found)
        assert (await push(a, later, SeriesState(blocks={INDEX + 3: block(index=INDEX + 3)}))).pushed
        assert not client.hexists(head, f"k{INDEX}")
        whole = await pull(a, INDEX, INDEX + 1, INDEX + 2, INDEX + 3)
        assert set(whole.state.blocks) == {INDEX + 1, INDEX + 2, INDEX + 3}
        assert (await push(a, whole, SeriesState(blocks={INDEX: block()}))).pushed
        assert set((await pull(a, INDEX)).state.blocks) == {INDEX}


async def test_a_store_can_be_closed_right_after_its_start(single: RedisServer) -> None:
    """redis-py loses a cancellation that comes while it connects."""
    async with asyncio.timeout(30):
        for _ in range(20):
            async with redis_row_store(single.url) as a:
                await pull(a, INDEX)


async def test_a_candle_takes_few_bytes(single: RedisServer) -> None:
    single.client().flushall()
    async with redis_row_store(single.url) as a:
        await push(a, PullResult(), SeriesState(tail(1_000), blocks={INDEX: block()}))
    client = single.client()
    used = sum(client.memory_usage(key, samples=0) for key in client.keys("*}*"))
    assert used / 500 <= 60


async def test_a_full_redis_stores_nothing_and_breaks_nothing() -> None:
    with running_redis() as server:
        async with redis_row_store(server.url) as a:
            found = await push(a, PullResult(), SeriesState(tail(1_000), blocks={INDEX: block(0, 400)}))
            client = server.client()
            client.config_set("maxmemory", "1mb")  # less than it uses already
            with pytest.raises(SharedStoreDown):
                await push(a, found, SeriesState(tail(2_000), blocks={INDEX: block(0, 401)}))
            client.config_set("maxmemory", "0")
            await until(lambda: a._client.up, 10)
            again = await pull(a, INDEX)
            assert len(again.state.blocks[INDEX].stored.block) == 400
            assert again.state.tail == tail(1_000)


async def test_what_a_small_redis_evicts_is_missing_and_never_wrong() -> None:
    with running_redis("--maxmemory-policy", "allkeys-random") as server:
        async with redis_row_store(server.url) as a:
            server.client().config_set("maxmemory", server.client().info()["used_memory"] + 1_500_000)
            texts: dict[SeriesKey, tuple[bytes, bytes]] = {}
            for n in range(300):
                key = SeriesKey(Market.SPOT, "klines", f"S{n}USDT", "", "1m")
                seen, last = await pull(a, INDEX, key=key), 400
                for last in (400, 403):
                    seen = await push(a, seen, SeriesState(tail(1_000 + last), blocks={INDEX: block(n, last)}), key=key)
                    if not seen.pushed:  # a part was evicted in between
                        seen = await pull(a, INDEX, key=key)
                texts[key] = block(n, 400).stored.block.text, block(n, 403).stored.block.text
            whole = 0
            for key, right in texts.items():
                found = (await pull(a, INDEX, key=key)).state.blocks.get(INDEX)
                assert found is None or found.stored.block.text in right
                whole += found is not None
            assert 0 < whole < 300
            assert server.client().info()["evicted_keys"] > 0
