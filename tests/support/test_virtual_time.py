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


async def test_a_clock_of_virtual_time_refuses_a_real_loop() -> None:
    with pytest.raises(TypeError, match="virtual"):
        VirtualClock()
