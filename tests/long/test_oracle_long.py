"""The oracle of tests/cache/test_oracle.py over many more histories, and longer ones."""

import pytest

from tests.cache.test_oracle import history
from tests.world.loop import run


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("hundred", range(12))
def test_a_hundred_long_histories(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        run(history(seed, 25))
