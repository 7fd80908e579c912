"""Redis allows less than it should, and a suspended process: at a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mdcache.clock import SystemClock
from mdcache.events import Event, Events
from mdcache.store_events import StoreOp, TierStateChanged
from mdcache.stores.redis.client import RedisClient, RedisDown
from mdcache.stores.redis.scripts import load
from mdcache.stores.redis.url import connect, parse_url
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.waiting import until

pytestmark = pytest.mark.processes

TIMEOUT_S = 0.25
PROBES_S = 5.0  # a probe each second


class StoppedClock(SystemClock):
    """A clock that goes on while the process does not."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


@asynccontextmanager
async def link_to(
    server: RedisServer, events: list[Event], clock: SystemClock | None = None
) -> AsyncIterator[RedisClient]:
    address = parse_url(server.url)
    link = RedisClient(
        lambda: connect(address, 1.0),
        prefix="mdcache:",
        timeout_s=TIMEOUT_S,
        clock=clock or SystemClock(),
        events=Events(events.append),
    )
    await link.start()
    try:
        yield link
    finally:
        await link.aclose()


async def evaluate(client: Any) -> None:
    await client.eval("return redis.call('TIME')", 0)


async def run_proof(client: Any) -> None:
    await load("probe").run(client, ["mdcache:v2:{x}key"], [1_000])


async def list_purges(client: Any) -> None:
    await client.lrange("mdcache:v2:purges", 0, 9)


@pytest.mark.parametrize(
    ("rule", "work"), [("-evalsha", run_proof), ("-time", evaluate), ("-lrange", list_purges)], ids=lambda each: each
)
async def test_a_command_that_is_denied_opens_the_circuit_until_it_is_permitted(rule: str, work: Any) -> None:
    events: list[Event] = []
    with running_redis() as server:
        async with link_to(server, events) as link:
            server.client().execute_command("ACL", "SETUSER", "default", rule)
            with pytest.raises(RedisDown):
                await link.call(StoreOp.WRITE, work)
            assert not link.up
            with pytest.raises(TimeoutError):
                await until(lambda: link.up, PROBES_S)
            server.client().execute_command("ACL", "SETUSER", "default", rule.replace("-", "+"))
            await until(lambda: link.up)
            await link.call(StoreOp.WRITE, work)
        assert [event.state for event in events if isinstance(event, TierStateChanged)] == ["ok", "down", "ok"]


async def test_time_outs_of_a_suspended_process_say_nothing_of_redis() -> None:
    clock, events = StoppedClock(), list[Event]()

    async def stopped(client: Any) -> None:
        clock.ahead_s += 60.0
        await client.ping()

    with running_redis() as server:
        async with link_to(server, events, clock) as link:
            server.freeze()
            ended = await asyncio.gather(*(link.call(StoreOp.LOAD, stopped) for _ in range(5)), return_exceptions=True)
            assert {type(each) for each in ended} == {RedisDown}
            assert link.up
            server.resume()
            await link.call(StoreOp.LOAD, lambda client: client.ping())
