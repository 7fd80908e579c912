"""The incident in small, through real processes: with streams, a warm minute costs next to nothing."""

import pytest

from mdcache.replay.consumers import INTERVALS, WEIGHT, ConsumerAnswer, ReplayLoad
from mdcache.replay.run import ReplayPlan, SideSetup, play_sides

pytestmark = [pytest.mark.processes, pytest.mark.untraced]

SYMBOLS, SECONDS = 5, 32.0
COLD_S = 12  # then every topic has sent its first frame; 20 s are left


def test_the_incident_in_small_costs_one_read_a_series() -> None:
    seen: list[ConsumerAnswer] = []
    plan = ReplayPlan(ReplayLoad(SECONDS, SYMBOLS))
    (side,) = play_sides(plan, [SideSetup("mdcache", streams=True)], lambda *_: None, seen.append)
    assert side.asked == len(seen) == plan.load.questions
    assert (side.failed, side.refused, side.bans, side.marked) == (0, 0, 0, 0)
    series = SYMBOLS * len(INTERVALS)
    candles = side.weight - sum(side.other_weights)
    assert WEIGHT * series <= candles <= WEIGHT * 2 * series  # the second read: before a topic's first frame
    warm = side.used[-1] - side.used[COLD_S]
    assert warm <= 4, side.used
    assert max(answer.answered_ms - (answer.as_of_ms or 0) for answer in seen) <= 20_000  # the longest TTL
