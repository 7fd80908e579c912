"""Background work: no answer waits for it, and its failures are reported."""

import asyncio

import pytest

from mdcache.cache.replicas.background import BackgroundTasks
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Event, Events
from mdcache.leases import SharedStoreDown
from tests.support.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual


class Scene:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.events: list[Event] = []
        self.tasks = BackgroundTasks(self.clock, Events(self.events.append))
        self.done_s: list[float] = []
        self._began_s = self.clock.now()

    @property
    def passed_s(self) -> float:
        return round(self.clock.now() - self._began_s, 6)

    async def work(self, seconds: float, error: Exception | None = None) -> None:
        await self.clock.sleep(seconds)
        if error is not None:
            raise error
        self.done_s.append(self.passed_s)


async def test_work_runs_in_the_background() -> None:
    scene = Scene()
    scene.tasks.start(scene.work(0.5))
    assert scene.done_s == []
    await scene.clock.sleep(1.0)
    assert scene.done_s == [0.5]


@pytest.mark.parametrize(
    ("error", "reported"),
    [(SharedStoreDown(), []), (ValueError("odd"), [BackgroundTaskFailed(BackgroundTask.SHARING, "ValueError: odd")])],
)
async def test_an_error_is_reported_unless_the_shared_store_is_down(error: Exception, reported: list[Event]) -> None:
    scene = Scene()
    scene.tasks.start(scene.work(0.1, error))
    await scene.clock.sleep(1.0)
    assert scene.events == reported


async def test_closing_waits_a_second_for_work_under_way() -> None:
    scene = Scene()
    for seconds in (0.4, 0.9, 30.0):
        scene.tasks.start(scene.work(seconds))
    await scene.tasks.aclose()
    assert (scene.done_s, scene.passed_s) == ([0.4, 0.9], 1.0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await scene.tasks.aclose()
    assert scene.passed_s == 1.0
    assert scene.events == []


@pytest.mark.parametrize("down", [0, 1, 3])
async def test_a_retried_call_is_repeated_every_half_second(down: int) -> None:
    scene = Scene()
    tries_s: list[float] = []

    async def call() -> None:
        tries_s.append(scene.passed_s)
        if len(tries_s) <= down:
            raise SharedStoreDown

    await scene.tasks.run_with_retry(call)
    assert tries_s == [0.0]
    await scene.clock.sleep(10.0)
    assert tries_s == [n / 2 for n in range(down + 1)]
    assert scene.events == []


async def test_a_call_is_not_repeated_past_its_time() -> None:
    scene = Scene()
    tries_s: list[float] = []

    async def call() -> None:
        tries_s.append(scene.passed_s)
        raise SharedStoreDown

    await scene.tasks.run_with_retry(call, for_s=1.2)
    await scene.clock.sleep(10.0)
    assert tries_s == [0.0, 0.5, 1.0, 1.5]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_any_other_error_ends_the_retries() -> None:
    scene = Scene()

    async def call() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await scene.tasks.run_with_retry(call)
    assert asyncio.all_tasks() == {asyncio.current_task()}
