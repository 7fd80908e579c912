"""A replica that may not ask, and learns from the others less than the caller wants, says why it may not."""

import pytest

from mdcache.candles.freshness import Wishes
from mdcache.errors import GateClosed
from mdcache.exchange.markets import Family
from tests.replicas.several import QUERY, SPOT, end, replicas
from tests.world.loop import run


def test_a_newer_tail_that_is_not_new_enough_is_no_broken_body() -> None:
    async def main() -> None:
        a, b, _ = made = await replicas()
        await b.ask(SPOT, QUERY)
        await a.clock.sleep(2.5)
        first = await a.ask(SPOT, QUERY)
        b.governor.close_gate(Family.SPOT, 60.0)
        await a.clock.sleep(1.5)
        with pytest.raises(GateClosed):  # who told the caller of that moment could not give its rows
            await b.ask(SPOT, QUERY, wishes=Wishes(min_as_of_ms=first.as_of_ms + 1_000))
        await end(made)

    run(main())
