"""Wall clocks that are hours and days off, each by another amount: all measure the exchange's time and go on."""

import pytest

from tests.support.examples import exhaustive
from tests.support.governor_replicas import GovernorReplicas

pytestmark = pytest.mark.virtual

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    "skews_ms",
    [
        (3 * HOUR_MS, -48 * HOUR_MS, 0),
        *exhaustive(((3 * HOUR_MS, 0, 0),), ((-48 * HOUR_MS, 0, 0),), ((48 * HOUR_MS, 3 * HOUR_MS, 0),)),
    ],
)
async def test_replicas_with_wrong_wall_clocks_that_start_together_measure_the_time(skews_ms: tuple[int, ...]) -> None:
    fleet = GovernorReplicas(share=3_000, limit=6_000, assumed=3)
    made = [await fleet.replica(skew_ms, unmeasured=True) for skew_ms in skews_ms]
    for replica in made:
        replica.load(1.0, 1)
    await fleet.minutes(3)
    assert [replica.measured for replica in made] == [True] * len(made)
