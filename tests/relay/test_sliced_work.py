"""A thousand listeners that end at once don't hold the event loop, and get nothing after the end."""

import asyncio
from collections.abc import Iterator

import pytest

from mdcache.clock import SystemClock
from mdcache.relay import sliced_work
from mdcache.relay.sliced_work import SlicedWork
from tests.support.waiting import until

_STEP_S = 0.0005


class WorkClock(SystemClock):
    """Shows the time that jobs have taken, and no other."""

    def __init__(self) -> None:
        super().__init__()
        self.worked_s = 0.0

    def now(self) -> float:
        return self.worked_s


def _job(clock: WorkClock, done: list[int], steps: int, *, fails: bool = False) -> Iterator[None]:
    for step in range(steps):
        clock.worked_s += _STEP_S
        done.append(step)
        yield
    if fails:
        raise LookupError


async def test_jobs_are_done_in_order_in_slices_between_which_others_have_their_turn() -> None:
    done: list[int] = []
    clock, turns = WorkClock(), 0
    work = SlicedWork(clock)
    for _ in range(5):
        work.add(_job(clock, done, 20))
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
    clock = WorkClock()
    work = SlicedWork(clock)
    with pytest.raises(LookupError):
        work.add(_job(clock, done, 1, fails=True))
    work.add(_job(clock, done, 2))
    await until(lambda: done == [0, 0, 1])


async def test_short_work_is_done_at_once() -> None:
    done: list[int] = []
    clock = WorkClock()
    SlicedWork(clock).add(_job(clock, done, 1))
    assert done == [0]
