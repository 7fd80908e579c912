"""A reply that takes long to parse: what goes on meanwhile."""

import asyncio
import math
from dataclasses import dataclass

import pytest

from mdcache.events import UpstreamCalled
from mdcache.upstream.governor import GovernorSettings
from mdcache.upstream.models import Accepted, UpstreamReply
from mdcache.upstream.priority import Lane, Priority
from tests.support.fake_exchange import FakeRead, governed

pytestmark = pytest.mark.virtual


@dataclass
class SlowlyAccepted(FakeRead):
    """A read whose body takes a second to parse."""

    async def accept(self, reply: UpstreamReply) -> Accepted[UpstreamReply]:
        await asyncio.sleep(1.0)
        return await super().accept(reply)


def read() -> SlowlyAccepted:
    return SlowlyAccepted(priority=Priority(Lane.NORMAL, math.inf))


async def test_a_body_that_is_still_parsed_holds_no_slot() -> None:
    world = await governed(limits=GovernorSettings(upstream_concurrency=1))
    began_s = world.clock.now()
    await asyncio.gather(*(world.governor.fetch(read()) for _ in range(3)))
    assert world.clock.now() - began_s < 2.0
    assert [event.fault for event in world.events_of(UpstreamCalled)] == [""] * 3


async def test_its_waiter_may_leave() -> None:
    world = await governed()
    waiting = asyncio.create_task(world.governor.fetch(read()))
    await asyncio.sleep(0.5)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(1.0)
    assert [event.fault for event in world.events_of(UpstreamCalled)] == [""]
    assert (await world.governor.fetch(read())).body


async def test_closing_cancels_its_waiter_and_counts_the_call() -> None:
    world = await governed()
    waiting = asyncio.create_task(world.governor.fetch(read()))
    await asyncio.sleep(0.5)
    await world.governor.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [event.fault for event in world.events_of(UpstreamCalled)] == [""]
