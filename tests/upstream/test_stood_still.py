"""A replica that stood still while the others met a ban hears of it before it sends."""

import asyncio

import pytest

from mdcache.exchange.markets import Family
from mdcache.upstream.shared import LedgerDown
from tests.upstream.replicas import Fleet
from tests.upstream.world import refuse

pytestmark = pytest.mark.virtual


async def test_one_that_stood_still_hears_of_a_ban_before_it_sends() -> None:
    fleet = Fleet(share=600)
    one, stopped = [await fleet.replica() for _ in range(2)]
    await fleet.minutes(2)
    ledger = stopped.ledgers[Family.SPOT]

    async def stand_still() -> None:
        ledger.wait = None
        await fleet.clock.sleep(8.0)
        raise LedgerDown("no answer in time")

    ledger.wait = stand_still
    reading = asyncio.create_task(stopped.read(within_s=20.0))
    await fleet.clock.sleep(0.5)
    fleet.exchange.fault = lambda *_: refuse(418, retry_after="60")
    assert await one.read() == "GateClosed"
    seen = len(fleet.exchange.seen)
    assert await reading == "GateClosed"
    assert len(fleet.exchange.seen) == seen
    await one.aclose()
    await stopped.aclose()
