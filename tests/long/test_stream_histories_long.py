"""Many more of the histories of tests/cache/test_stream_histories.py, and longer ones."""

import pytest

from tests.cache.test_stream_histories import history
from tests.support.virtual_time import run

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_800)]


@pytest.mark.parametrize("fifty", range(8))
def test_fifty_long_histories(tmp_path_factory: pytest.TempPathFactory, fifty: int) -> None:
    for seed in range(fifty * 50, fifty * 50 + 50):
        folder = tmp_path_factory.mktemp("disk") if seed % 3 == 0 else None
        run(history(seed, 50, folder))


@pytest.mark.parametrize("ten", range(4))
def test_ten_histories_with_and_without_streams(ten: int) -> None:
    for seed in range(ten * 10, ten * 10 + 10):
        streamed, polled = (run(history(seed, 40, streams=streams)) for streams in (True, False))
        assert streamed.weight() <= 1.1 * polled.weight(), seed
