"""The script and its twin in Python say the same to the same messages; and what the script does with rubbish."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdcache.clock import SystemClock
from mdcache.events import Events, StoreOp
from mdcache.stores.redis.budget import RedisLedger
from mdcache.stores.redis.client import RedisClient
from mdcache.stores.redis.url import connect, parse_url
from mdcache.upstream.replicas.protocol import Ask, Tally, Verdict
from tests.support.memory_shared_budget import BudgetServer, MemorySharedBudget
from tests.support.redis_servers import RedisServer, running_redis

pytestmark = pytest.mark.processes

START_MS = 1_793_795_371_858
MINUTE_MS = 60_000
WHOLE = 1_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[RedisClient]:
    server.client().flushall()
    link = RedisClient(
        lambda: connect(parse_url(server.url), 1.0),
        prefix="t:",
        timeout_s=5.0,
        clock=SystemClock(),
        events=Events(),
    )
    await link.start()
    yield link
    await link.aclose()


def message(now_ms: int, **more: object) -> Ask:
    minute = now_ms // MINUTE_MS
    plain = Ask(now_ms, 50, 100, 1_000, 0, 0, minute + 1, 0, 2, 0, (Tally(minute, (0, 0, 0)),))
    return dataclasses.replace(plain, **more)  # type: ignore[arg-type] # names of its fields


moves = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([0, 1, 400, 1_000, 9_000, 31_000, 700_000]),  # time that passes
        st.integers(-3_000, 3_000),  # this replica's clock
        st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2)), max_size=3),
        st.integers(0, 30),  # spent alone
        st.sampled_from(["", "edge", "gate", "bye", "extra", "lost", "hello", "modest", "limit", "instead", "unsure"]),
    ),
    min_size=1,
    max_size=30,
)


async def delete(client: Any) -> None:
    await client.delete("t:v2:ledger:{e:spot}")


async def info(client: Any) -> Any:
    return await client.info("server")


async def same(link: RedisClient, steps: list[tuple[str, int, int, list[tuple[int, int]], int, str]]) -> None:
    await link.call(StoreOp.CLAIM, delete)
    run = (await link.call(StoreOp.CLAIM, info))["run_id"]
    shelf = BudgetServer()
    shelf.run, shelf.clock = run, lambda: START_MS
    now_ms, spent = START_MS, dict.fromkeys("abc", 0)
    beliefs = dict.fromkeys("abc", (0, 0, 0, 0, 0))  # part, next, changes, peers, version
    for name, passes, skew, claims, alone, kind in steps:
        now_ms += passes
        at_ms = now_ms + skew
        minute = at_ms // MINUTE_MS
        real, twin = RedisLedger(link, "e", "spot", name), MemorySharedBudget(shelf, "spot", name)
        if kind == "bye" and shelf.states:
            await real.goodbye(at_ms)
            await twin.goodbye(at_ms)
            continue
        spent[name] += alone
        tally = Tally(
            minute,
            (spent[name], 0, alone),
            done=spent[name] // 2,
            confirmed=900 if kind == "lost" else 0,
            extra=600 if kind == "extra" else 0,
        )
        tallies = (tally, dataclasses.replace(tally, minute=minute + 1)) if kind == "edge" else (tally,)
        part, following, _, peers, version = beliefs[name]
        ask = message(
            at_ms,
            claims=tuple(claims),
            tallies=tallies,
            part=part,
            next_part=following,
            peers=peers,
            version=version,
            commits=kind != "hello",
            modest=kind == "modest",
            error_ms=60_000 if kind == "unsure" else 50,
            instead=("b", "nobody") if kind == "instead" and name != "b" else (),
            limit=6_000 if kind == "limit" else 0,
            gate=f"{name}{now_ms}" if kind == "gate" else None,
        )
        got = await real.ask(ask)
        told = twin.ask_now(ask)
        assert dataclasses.replace(got, time_ms=0) == dataclasses.replace(told, time_ms=0)
        assert (got.time_ms > 0) == (told.time_ms > 0)  # that server's clock is the real one
        beliefs[name] = (got.part, got.next_part, 0, got.peers, got.version)


def test_script_and_twin_agree(server: RedisServer) -> None:
    with asyncio.Runner() as runner:
        link = RedisClient(
            lambda: connect(parse_url(server.url), 1.0),
            prefix="t:",
            timeout_s=5.0,
            clock=SystemClock(),
            events=Events(),
        )
        runner.run(link.start())

        @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(steps=moves)
        def agree(steps: list[tuple[str, int, int, list[tuple[int, int]], int, str]]) -> None:
            runner.run(same(link, steps))

        agree()
        runner.run(link.aclose())


FORGED: list[dict[str, object]] = [
    {"peers": {"a": 1}},
    {"peers": 7},
    {"peers": {"a": {"heard": "x"}}},
    {"minutes": {str(START_MS // MINUTE_MS): 1}},
    {"minutes": {str(START_MS // MINUTE_MS): {"extra": 0, "rows": {"other": {}}}}},
    {"minutes": {"not a number": {"extra": 0, "rows": {}}} | {str(n): {"extra": 0, "rows": {}} for n in range(20)}},
    {"beat": None},
    {"expect": []},
    {"born": 9e15},
    {"since": 9e15},
    {"peers": {"a": {"heard": 9e15, "part": 1_000_000, "next": 1_000_000, "changes": 0, "known": True}}},
]


async def test_rubbish_under_our_key_is_replaced(link: RedisClient, server: RedisServer) -> None:
    ledger, client = RedisLedger(link, "e", "spot", "me"), server.client()
    key = "t:v2:ledger:{e:spot}"
    await ledger.ask(message(START_MS))
    sound = msgspec.msgpack.decode(client.get(key))
    forged = [msgspec.msgpack.encode(sound | part) for part in FORGED]
    for rubbish in (b"\x00\xffrubbish", b'{"peers":1}', b"[]", b"\x80", b"\x90", *forged, None):
        client.delete(key)
        if rubbish is None:
            client.lpush(key, "x")
        else:
            client.set(key, rubbish)
        answer = await ledger.ask(message(START_MS, claims=((1, 0),)))
        assert not answer.sharing, rubbish  # nobody knows what was spent
        assert answer.verdicts == (Verdict.SOON,)
        later = await ledger.ask(message(START_MS + 60_000, version=answer.version, claims=((1, 0),)))
        assert later.sharing, rubbish


async def test_it_is_shared_in_the_minute_after_it_was_new_and_no_sooner(link: RedisClient) -> None:
    ledger = RedisLedger(link, "e", "spot", "me")
    first = await ledger.ask(message(START_MS))
    later = await ledger.ask(message(START_MS + 20_000, version=first.version))
    assert not later.sharing
    ask = message(START_MS + 60_000, claims=((30, 0), (500, 0)), version=first.version, part=WHOLE, next_part=WHOLE)
    answer = await ledger.ask(ask)
    assert answer.sharing
    assert answer.verdicts == (Verdict.GRANTED, Verdict.NEXT_MINUTE)
    assert answer.told[0].own == 30


async def test_a_key_lives_for_days_and_goes_in_the_end(link: RedisClient, server: RedisServer) -> None:
    await RedisLedger(link, "e", "spot", "me").ask(message(START_MS))
    assert 3 * 86_400_000 < server.client().pttl("t:v2:ledger:{e:spot}") <= 4 * 86_400_000


async def test_a_flush_of_the_scripts_is_not_felt(link: RedisClient, server: RedisServer) -> None:
    ledger = RedisLedger(link, "e", "spot", "me")
    await ledger.ask(message(START_MS))
    server.client().script_flush()
    assert (await ledger.ask(message(START_MS + 1))).peers == 1


@pytest.mark.parametrize("days", [-3, 3])
async def test_a_wall_that_is_days_off_takes_nothing_from_the_others(link: RedisClient, days: int) -> None:
    """It would forget a ban for all, and what was spent, until its machine has measured the time: not while banned."""
    sure, unsure = RedisLedger(link, "e", "spot", "a"), RedisLedger(link, "e", "spot", "b")
    first = await sure.ask(message(START_MS))
    told = await sure.ask(message(START_MS, version=first.version, gate="shut"))
    assert told.written
    for beat in range(1, 4):
        odd = await unsure.ask(message(START_MS + days * 86_400_000 + beat * 1_000, error_ms=3_600_000))
        assert odd.gate == "shut"
        answer = await sure.ask(message(START_MS + beat * 1_000, version=told.version))
        assert (answer.version, answer.gate) == (told.version, None)
    assert (await sure.ask(message(START_MS + 70_000, version=told.version))).sharing


async def test_who_is_not_sure_of_the_time_hears_it_from_who_is(link: RedisClient) -> None:
    sure, unsure = RedisLedger(link, "e", "spot", "a"), RedisLedger(link, "e", "spot", "b")
    asked = message(START_MS + 3_600_000, error_ms=60_000)
    assert (await unsure.ask(asked)).time_ms == 0
    assert (await sure.ask(message(START_MS))).time_ms == 0
    answer = await unsure.ask(asked)
    assert START_MS <= answer.time_ms < START_MS + 5_000
    assert answer.error_ms == 50
    assert (await sure.ask(message(START_MS + 70_000))).sharing  # what the other took for the beginning lay far ahead
