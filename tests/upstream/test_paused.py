"""A pause that was counted by a wrong clock ends when the exchange's time is known."""

import dataclasses

import pytest

from mdcache.exchange.markets import Family
from mdcache.upstream.replicas.protocol import Answer, Ask, Verdict
from tests.support.governor_replicas import GovernorReplicas

pytestmark = pytest.mark.virtual


async def test_a_clock_that_is_put_right_leaves_no_lane_paused_for_hours() -> None:
    fleet = GovernorReplicas(share=100)
    one = await fleet.replica(10_800_000)
    await fleet.clock.sleep(70.0)
    ledger = one.budgets[Family.SPOT]
    sound = ledger.ask_now

    def refuses(ask: Ask) -> Answer:
        answer = sound(dataclasses.replace(ask, claims=()))
        return dataclasses.replace(answer, sharing=True, verdicts=(Verdict.SOON,) * len(ask.claims))

    ledger.ask_now = refuses  # type: ignore[method-assign]
    assert await one.read(within_s=0.3) != "ok"
    ledger.ask_now = sound  # type: ignore[method-assign]
    one.skew_ms, one.error_ms = 0, 1
    await fleet.clock.sleep(90.0)
    assert await one.read() == "ok"
    await one.aclose()
