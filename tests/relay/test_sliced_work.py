"""A thousand listeners that end at once don't hold the event loop, and get nothing after the end."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from mdcache.clock import SystemClock
from mdcache.relay import sliced_work
from mdcache.relay.sliced_work import SlicedWork
from tests.support.waiting import until

_STEP_S = 0.0005


def _job(done: list[int], steps: int, *, fails: bool = False) -> Iterator[None]:
    for step in range(steps):
        time.sleep(_STEP_S)
        done.append(step)
        yield
    if fails:
        raise LookupError


async def test_jobs_are_done_in_order_in_slices_between_which_others_have_their_turn() -> None:
    done: list[int] = []
    work, turns = SlicedWork(SystemClock()), 0
    for _ in range(5):
        work.add(_job(done, 20))
    assert 0 < len(done) <= 2 + sliced_work._SLICE_S / _STEP_S
    while len(done) < 100:
        before = len(done)
        await asyncio.sleep(0)
        turns += 1
        assert len(done) - before <= 1 + sliced_work._SLICE_S / _STEP_S
    assert done == [*range(20)] * 5
    assert turns >= 100 * _STEP_S / sliced_work._SLICE_S


async def test_a_job_that_fails_ends_alone() -> None:
    done: list[int] = []
    work = SlicedWork(SystemClock())
    with pytest.raises(LookupError):
        work.add(_job(done, 1, fails=True))
    work.add(_job(done, 2))
    await until(lambda: done == [0, 0, 1])


async def test_short_work_is_done_at_once() -> None:
    done: list[int] = []
    SlicedWork(SystemClock()).add(_job(done, 1))
    assert done == [0]
