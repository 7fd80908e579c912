"""Virtual time: an hour passes at once, and a clock of it refuses a loop of real time."""

import asyncio
import time

import pytest

from tests.support.virtual_time import VirtualClock, VirtualLoop


@pytest.mark.virtual
async def test_an_hour_passes_at_once() -> None:
    began, clock = time.monotonic(), VirtualClock()
    wall_ms = clock.wall_ms()
    await asyncio.sleep(3_600)
    assert clock.wall_ms() - wall_ms == 3_600_000
    assert time.monotonic() - began < 60
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)


@pytest.mark.virtual
async def test_work_in_a_thread_takes_no_time() -> None:
    clock = VirtualClock()
    wake = asyncio.create_task(clock.sleep(5.0))
    began_s = clock.now()
    await asyncio.to_thread(time.sleep, 0.05)
    assert clock.now() == began_s
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(divmod, 1, 0)
    await wake


async def test_a_clock_of_virtual_time_refuses_a_real_loop() -> None:
    with pytest.raises(TypeError, match="virtual"):
        VirtualClock()
