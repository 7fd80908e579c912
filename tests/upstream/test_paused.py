"""A pause that was counted by a wrong clock ends when the exchange's time is known."""

import dataclasses

import pytest

from mdcache.exchange.markets import Family
from mdcache.upstream.replicas.protocol import DrawReply, DrawRequest, DrawVerdict
from tests.support.governor_replicas import GovernorReplicas

pytestmark = pytest.mark.virtual


async def test_a_clock_that_is_put_right_leaves_no_lane_paused_for_hours() -> None:
    fleet = GovernorReplicas(share=100)
    one = await fleet.replica(10_800_000)
    await fleet.clock.sleep(130.0)
    budget = one.budgets[Family.SPOT]
    sound = budget.draw_now

    def refuses(request: DrawRequest) -> DrawReply:
        reply = sound(dataclasses.replace(request, gate_version=0))
        minutes = tuple(dataclasses.replace(each, verdict=DrawVerdict.SOON) for each in reply.minutes)
        return dataclasses.replace(reply, minutes=minutes)

    budget.draw_now = refuses  # type: ignore[method-assign]
    assert await one.read(cost=60, within_s=0.3) != "ok"
    budget.draw_now = sound  # type: ignore[method-assign]
    one.skew_ms, one.error_ms = 0, 1
    await fleet.clock.sleep(90.0)
    assert await one.read() == "ok"
    await one.aclose()
