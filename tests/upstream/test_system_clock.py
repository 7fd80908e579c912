"""The machine's clock and its sleep, which a suspended machine must not lengthen."""

import asyncio

import pytest

from mdcache import clock
from mdcache.clock import SystemClock

pytestmark = pytest.mark.virtual


async def test_a_sleep_ends_soon_after_a_suspend(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, asleep_s = asyncio.get_running_loop(), 0.0
    monkeypatch.setattr(SystemClock, "now", lambda _: loop.time() + asleep_s)
    began_s = loop.time()
    task = asyncio.create_task(SystemClock().sleep(3_600.0))
    await asyncio.sleep(25.0)
    assert not task.done()
    asleep_s = 3_600.0
    await task
    assert loop.time() - began_s <= 25.0 + clock._SLEEP_S


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.5, 10.0, 25.5])
async def test_it_takes_as_long_as_it_says(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(SystemClock, "now", lambda _: loop.time())
    began_s = loop.time()
    await SystemClock().sleep(seconds)
    assert loop.time() - began_s == pytest.approx(max(0.0, seconds))
