"""The oracle of tests/cache over many more histories, and longer ones."""

import pytest

from tests.cache import test_persistence
from tests.cache.test_oracle import history
from tests.support.virtual_time import run

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.mark.parametrize("hundred", range(12))
def test_a_hundred_long_histories(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        run(history(seed, 25))


@pytest.mark.parametrize("fifty", range(6))
def test_fifty_histories_with_a_disk(tmp_path_factory: pytest.TempPathFactory, fifty: int) -> None:
    for seed in range(fifty * 50, fifty * 50 + 50):
        run(test_persistence.history(tmp_path_factory.mktemp("disk"), seed, 20))
