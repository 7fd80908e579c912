"""A ledger that forgot in a ban: whoever comes next must not take its emptiness for an open gate."""

import pytest

from tests.upstream.replicas import Fleet
from tests.upstream.world import refuse
from tests.world.loop import run


@pytest.mark.parametrize("new", [False, True], ids=["one that had not heard", "a newcomer"])
@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.6, 0.9])
def test_a_ledger_that_forgot_a_ban_lets_nobody_into_it(after_s: float, *, new: bool) -> None:
    async def main() -> None:
        fleet = Fleet(share=600)
        one, other = await fleet.replica(), await fleet.replica()
        await fleet.minutes(2)
        await fleet.clock.sleep(after_s)
        if new:
            await fleet.clock.sleep(0.1)
        fleet.exchange.fault = lambda *_: refuse(418, retry_after="60")
        assert await one.read() == "GateClosed"
        if new:
            await fleet.clock.sleep(5.0)
        fleet.shelf.restart(empty=True)
        seen = len(fleet.exchange.seen)
        third = await fleet.replica() if new else other
        assert await third.read() == "GateClosed"
        assert len(fleet.exchange.seen) == seen
        for replica in {one.name: one, other.name: other, third.name: third}.values():
            await replica.aclose()

    run(main())
