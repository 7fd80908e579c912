"""Random questions, closes, faults of streams and of reads, and restarts: no lie, no answer that is older than it may
be, and no more weight than without streams.

Rule: docs/design.md#stream-fed, #silence, #freshness.
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples, exhaustive
from tests.support.streamed_history import StreamedHistory
from tests.support.virtual_time import run

pytestmark = pytest.mark.untraced


async def history(seed: int, steps: int, folder: Path | None = None, *, streams: bool = True) -> StreamedHistory:
    found = StreamedHistory(seed, folder, streams=streams)
    await found.run(steps)
    return found


@pytest.mark.exhaustive
@given(seed=st.integers(0, 2**32))
@examples(3, 300)
def test_any_history(seed: int) -> None:
    run(history(seed, 20))


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(5))
def test_a_history_with_a_disk(tmp_path: Path, seed: int) -> None:
    run(history(seed, 20, tmp_path))


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", [0, *exhaustive(*range(1, 5))])
def test_the_same_history_costs_no_more_than_without_streams(seed: int) -> None:
    streamed, polled = (run(history(seed, 20, streams=streams)) for streams in (True, False))
    assert streamed.weight() <= 1.1 * polled.weight()  # what fell just before a close may fall just after it
