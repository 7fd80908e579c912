"""A family's budget and gate in a real Redis: what the scripts do there, also with rubbish under our keys."""

import asyncio
import dataclasses
import random
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from mdcache.clock import SystemClock
from mdcache.events import Events
from mdcache.stores.redis.budget import GateChannel, RedisBudget, reply_from, request_args
from mdcache.stores.redis.client import RedisClient
from mdcache.stores.redis.replica_id import ReplicaId
from mdcache.stores.redis.url import connect, parse_url
from mdcache.upstream.replicas.protocol import DrawKind, DrawReply, DrawRequest, MinuteRequest
from tests.support.redis_scripts import FakeRedis, sealed
from tests.support.redis_servers import RedisServer, running_redis

pytestmark = pytest.mark.processes

MINUTE = 29_900_000
BUDGET, GATE = "t:v2:budget:{e:spot}", "t:v2:gate:{e:spot}"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[RedisClient]:
    server.client().flushall()
    link = RedisClient(
        lambda: connect(parse_url(server.url), 1.0), prefix="t:", timeout_s=5.0, clock=SystemClock(), events=Events()
    )
    await link.start()
    yield link
    await link.aclose()


def budget(link: RedisClient, replica: str = "a") -> RedisBudget:
    return RedisBudget(link, GateChannel(link, "e"), "e", "spot", ReplicaId(None, lambda: replica))


def request(minute: int = MINUTE, need: int = 0, **more: Any) -> DrawRequest:
    plain = DrawRequest(
        kind=DrawKind.REPORT,
        seq=1,
        now_ms=minute * 60_000 + 5_000,
        allowed=100,
        limit=1_200,
        part=0,
        replicas=0,
        born=0,
        assumed=2,
        returning=False,
        process=1,
        error_ms=50,
        enters=True,
        gate_version=0,
        rank=1,
        minutes=(MinuteRequest(minute, 0, need=need),),
    )
    return dataclasses.replace(plain, **more)


def age(server: RedisServer) -> None:
    """Have the budget been there for longer than it may not be shared for."""
    with server.client() as client:
        born, *rest, _ = client.hget(BUDGET, "meta").split()
        client.hset(BUDGET, "meta", sealed("meta", b" ".join([b"%d" % (int(born) - 20_000), *rest])))


async def shared(link: RedisClient, server: RedisServer, replica: str = "a") -> DrawReply:
    await budget(link, replica).draw(request(MINUTE - 1))
    age(server)
    return await budget(link, replica).draw(request(seq=2))


async def test_it_is_shared_in_the_minute_after_it_was_new_and_no_sooner(
    link: RedisClient, server: RedisServer
) -> None:
    first = await budget(link).draw(request(need=5))
    assert (first.shared, first.minutes[0].drawn) == (False, 0)
    age(server)
    assert not (await budget(link).draw(request(seq=2))).shared
    later = await budget(link).draw(request(MINUTE + 1, need=30, seq=3))
    assert (later.shared, later.minutes[0].drawn) == (True, 30)
    last = await budget(link).draw(request(MINUTE + 1, need=100, seq=4))
    assert (last.minutes[0].drawn, last.minutes[0].total) == (30, 30)


async def test_a_message_that_comes_late_draws_nothing(link: RedisClient, server: RedisServer) -> None:
    await shared(link, server)
    await budget(link).draw(request(need=10, seq=5))
    late = await budget(link).draw(request(need=10, seq=4))
    assert late.minutes[0].drawn == 10


@pytest.mark.parametrize("field", ["meta", "r:a", "m:29900000"])
@pytest.mark.parametrize("rubbish", [b"\x00\xff", b"", b"1 2", b"1e300 1 1 1 1 1 1 1 1 1 1 1 1 1 1", b"9" * 99])
async def test_rubbish_in_a_field_is_forgotten(
    link: RedisClient, server: RedisServer, field: str, rubbish: bytes
) -> None:
    assert (await shared(link, server)).shared
    server.client().hset(BUDGET, field, rubbish)
    assert not (await budget(link).draw(request(seq=3, need=1))).shared  # what was drawn is unknown
    age(server)
    assert (await budget(link).draw(request(MINUTE + 1, seq=4))).shared


@pytest.mark.parametrize("field", ["meta", "r:a", "m:29900000"])
async def test_a_changed_number_is_forgotten_with_all_the_rest(
    link: RedisClient, server: RedisServer, field: str
) -> None:
    assert (await shared(link, server)).shared
    for place in range(len(server.client().hget(BUDGET, field).split()) - 1):
        words = server.client().hget(BUDGET, field).split()
        words[place % (len(words) - 1)] = b"77"
        server.client().hset(BUDGET, field, b" ".join(words))
        assert not (await budget(link).draw(request(seq=3 + place, need=1))).shared
        age(server)
        assert (await budget(link).draw(request(MINUTE + 1 + place, seq=100 + place))).shared


async def test_a_message_number_far_ahead_excludes_no_replica(link: RedisClient, server: RedisServer) -> None:
    assert (await shared(link, server)).shared
    _, *rest, _ = server.client().hget(BUDGET, "r:a").split()
    server.client().hset(BUDGET, "r:a", sealed("r:a", b" ".join([b"999999999", *rest])))
    assert not (await budget(link).draw(request(seq=3))).shared
    age(server)
    assert (await budget(link).draw(request(MINUTE + 1, seq=4))).shared


@pytest.mark.parametrize("key", [BUDGET, GATE])
async def test_another_type_under_our_key_is_replaced(link: RedisClient, server: RedisServer, key: str) -> None:
    await budget(link).write_gate(0, "open")
    for write in ("set", "lpush", "sadd"):
        server.client().delete(key)
        getattr(server.client(), write)(key, "x")
        reply = await budget(link).draw(request())
        assert not reply.shared
        assert reply.gate.version > 0 or (await budget(link).write_gate(0, "open")).written
        assert {server.client().type(each) for each in (BUDGET, GATE)} == {b"hash"}


async def test_keys_live_for_days_and_go_in_the_end(link: RedisClient, server: RedisServer) -> None:
    await budget(link).draw(request())
    await budget(link).write_gate(0, "open")
    for key in (BUDGET, GATE):
        assert 3 * 86_400_000 < server.client().pttl(key) <= 4 * 86_400_000


async def test_a_flush_of_the_scripts_is_not_felt(link: RedisClient, server: RedisServer) -> None:
    await budget(link).draw(request())
    server.client().script_flush()
    assert (await budget(link).draw(request(seq=2))).replicas == 1


async def test_a_wall_that_is_days_off_takes_nothing_from_the_others(link: RedisClient, server: RedisServer) -> None:
    assert (await shared(link, server)).shared
    for days in (-3, 3):
        odd = request(MINUTE + days * 1_440, need=50, error_ms=60_000, seq=1)
        reply = await budget(link, "b").draw(odd)
        assert not reply.shared
        assert abs(reply.utc_ms - MINUTE * 60_000) < 30_000  # it gets the time
    assert (await budget(link).draw(request(seq=3))).shared


async def test_a_gate_is_written_only_on_its_current_version_and_published(
    link: RedisClient, server: RedisServer
) -> None:
    heard: list[tuple[int, str]] = []
    both = asyncio.Event()
    one, other = budget(link), budget(link, "b")

    def on_gate(version: int, text: str) -> None:
        heard.append((version, text))
        if len(heard) > 1:
            both.set()

    other.subscribe(on_gate)
    await asyncio.sleep(0.2)  # until the subscription stands
    first = await one.write_gate(0, "shut: 1 2 3")
    assert (first.written, first.new) == (True, True)
    late = await other.write_gate(0, "open")
    assert (late.written, late.version, late.text) == (False, first.version, "shut: 1 2 3")
    assert (await other.draw(request())).gate.text == "shut: 1 2 3"
    assert (await other.draw(request(gate_version=first.version, seq=2))).gate.text == ""
    second = await other.write_gate(first.version, "open")
    assert second.written
    assert second.version > first.version
    async with asyncio.timeout(5.0):
        await both.wait()
    assert heard == [(first.version, "shut: 1 2 3"), (second.version, "open")]


async def test_redis_and_the_tests_own_do_the_same(link: RedisClient, server: RedisServer) -> None:
    rng, fake = random.Random(7), FakeRedis(lambda: int(time.time() * 1000))
    twin = _Twin(fake)
    for seq in range(1, 200):
        name, minute = rng.choice("abc"), MINUTE + seq // 40
        asks = request(
            minute,
            need=rng.choice([0, 0, 5, 40]),
            seq=seq,
            kind=rng.choice([DrawKind.REPORT] * 6 + [DrawKind.REGISTER, DrawKind.LEAVE]),
            replicas=rng.choice([0, 3]),
            part=rng.choice([0, 330_000]),
            error_ms=rng.choice([50, 50, 60_000]),
        )
        got, expected = await budget(link, name).draw(asks), twin.draw(name, asks)
        assert [dataclasses.astuple(each) for each in got.minutes] == [
            dataclasses.astuple(each) for each in expected.minutes
        ]
        assert (got.shared, got.part, got.since, got.replicas) == (
            expected.shared,
            expected.part,
            expected.since,
            expected.replicas,
        )
        if seq in {30, 90}:
            age(server)
            born, *rest, _ = fake.hashes[b"budget"][b"meta"].split()
            fake.hashes[b"budget"][b"meta"] = sealed("meta", b" ".join([b"%d" % (int(born) - 20_000), *rest]))


class _Twin:
    def __init__(self, fake: FakeRedis) -> None:
        self._fake = fake

    def draw(self, replica: str, asks: DrawRequest) -> DrawReply:
        return reply_from(self._fake.eval("draw", [b"budget", b"gate"], request_args(replica, asks)))
