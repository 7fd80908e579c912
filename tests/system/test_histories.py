"""Whole daemons in random histories, in virtual time: clients of every kind, and everything that goes wrong.

After each step: every answered byte is the exchange's at its as-of, which is as old as the question allows; nothing is
sent into a closed gate; no minute has more weight than the share; no frame and no close comes twice, out of order or
invented; every waiter ends by its deadline; memory is bounded; and after the last fault each family is asked again
within 30 s, and every daemon is ready, without a question. `python -m tests.system` has the long form, and plays one
history again by its seed.
"""

import pytest

from tests.support.examples import exhaustive
from tests.system.run import LENGTH, play_seed, shrink

pytestmark = pytest.mark.untraced


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seeds", [range(1), *exhaustive(range(1, 20))])
def test_histories(seeds: range) -> None:
    for seed in seeds:
        _, failure = play_seed(seed)
        if failure is not None:
            small = shrink(failure)
            pytest.fail(f"{small.error}\nagain: {small.command()}")


@pytest.mark.exhaustive
def test_a_history_is_the_same_each_time_and_a_longer_one_begins_with_it() -> None:
    assert play_seed(3, 12)[0] == play_seed(3, 12)[0] > 0
    assert play_seed(3, LENGTH, tuple(range(12)))[0] == play_seed(3, 12)[0]
