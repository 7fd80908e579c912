"""A thousand tasks that are woken in one moment hold the event loop for two milliseconds in a turn.

Rule: docs/design.md#native.
"""

import asyncio
from collections.abc import Callable

import pytest

from mdcache.serving.native import wakes
from mdcache.serving.native.wakes import Wakes
from tests.support.serving_fakes import ManualClock


async def woken(costs: list[float]) -> tuple[list[int], list[float]]:
    """Wake tasks that each cost so much; return them in the order in which they ran, and what each turn took."""
    clock = ManualClock()
    turns, ran = Wakes(clock), list[int]()

    async def work(place: int, begins: asyncio.Event) -> None:
        await begins.wait()
        clock.seconds += costs[place]
        ran.append(place)

    begins = [asyncio.Event() for _ in costs]
    tasks = asyncio.gather(*(work(place, begin) for place, begin in enumerate(begins)))
    await asyncio.sleep(0)
    for begin in begins:
        turns.add(begin.set)
    seen_s, took = clock.now(), list[float]()
    while not tasks.done():
        await asyncio.sleep(0)
        took.append(clock.now() - seen_s)
        seen_s = clock.now()
    return ran, took


@pytest.mark.parametrize("cost_s", [0.0, 0.00005, 0.0005, 0.003])
async def test_a_turn_takes_two_milliseconds_or_one_task(cost_s: float) -> None:
    ran, took = await woken([cost_s] * 500)
    assert ran == list(range(500))
    assert max(took) <= max(0.002, cost_s) + 1e-6
    busy = [each for each in took if each]
    assert sum(busy) / max(1, len(busy)) >= 0.6 * min(0.002, 32 * cost_s)  # nor does it take a thousand turns


async def test_dear_ones_after_cheap_ones_hold_one_turn_only() -> None:
    _, took = await woken([0.0] * 200 + [0.0005] * 200)
    assert max(took) <= 0.0005 * wakes._MOST + 1e-6
    assert sum(each > 0.003 for each in took) <= 1


async def test_a_turn_comes_after_all_that_were_added_before() -> None:
    turns, order = Wakes(ManualClock()), list[str]()

    def noting(name: str) -> Callable[[], None]:
        return lambda: order.append(name)

    for place in range(70):
        turns.add(noting(f"{place}"))
    await turns.turn()
    assert order == [f"{place}" for place in range(70)]
    await turns.turn()
