"""Each who shares a read waits for itself: who leaves takes nothing from the others."""

import asyncio

import pytest

from mdcache.cache.shared_task import landed
from mdcache.errors import DeadlinePassed, InvalidBody
from tests.support.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual


async def brings(clock: VirtualClock, after_s: float, error: Exception | None = None) -> str:
    await clock.sleep(after_s)
    if error is not None:
        raise error
    return "rows"


async def test_who_leaves_takes_nothing_from_who_waits() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(brings(clock, 2.0))
    gone, stays = (asyncio.create_task(landed(task, 3.0)) for _ in range(2))
    with pytest.raises(DeadlinePassed):
        await landed(task, 1.0)
    gone.cancel()
    assert await stays == "rows"
    assert await landed(task, -1.0) == "rows"  # it is there


async def test_each_gets_the_error_as_its_own() -> None:
    error = InvalidBody("empty", "")
    task = asyncio.create_task(brings(VirtualClock(), 1.0, error))
    met = list(await asyncio.gather(*(landed(task, 3.0) for _ in range(2)), return_exceptions=True))
    assert [type(each) for each in met] == [InvalidBody, InvalidBody]
    assert len({id(each) for each in (*met, error)}) == 3


async def test_the_end_of_the_process_is_no_answer() -> None:
    task = asyncio.create_task(brings(VirtualClock(), 9.0))
    waiter = asyncio.create_task(landed(task, 30.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(DeadlinePassed, match="shutting down"):
        await waiter
