"""When frames are written to listeners, in virtual time; only writes take time by the clock that measures them."""

import asyncio

import pytest

from mdcache.serving.streams.batched_writes import BatchedWrites
from tests.support.serving_fakes import ManualClock

pytestmark = pytest.mark.virtual


class _Writer:
    """Notes when it writes; a write takes `takes_s`."""

    def __init__(self, clock: ManualClock, written: list[float], takes_s: float = 0.0) -> None:
        self._clock = clock
        self._written = written
        self._takes_s = takes_s

    def write_batch(self) -> None:
        self._written.append(asyncio.get_running_loop().time())
        self._clock.seconds += self._takes_s


async def test_a_few_are_written_in_the_next_step() -> None:
    clock, written = ManualClock(), list[float]()
    writes, loop = BatchedWrites(clock), asyncio.get_running_loop()
    for _ in range(3):
        writes.add(_Writer(clock, written))
        writes.add(_Writer(clock, written))
        assert written == []
        await asyncio.sleep(0)
        assert written == [loop.time()] * 2
        written.clear()


async def test_many_are_written_in_several_steps_so_that_others_are_served_between() -> None:
    clock, written = ManualClock(), list[float]()
    writes = BatchedWrites(clock)
    for _ in range(250):
        writes.add(_Writer(clock, written))
    steps = []
    for _ in range(3):
        await asyncio.sleep(0)
        steps.append(len(written))
    assert steps == [100, 200, 250]


@pytest.mark.parametrize(("takes_s", "rest_s"), [(0.0001, 0.001), (0.001, 0.01), (0.1, 0.02)])
async def test_after_long_writes_the_next_wait_as_long_but_never_long(takes_s: float, rest_s: float) -> None:
    clock, written = ManualClock(), list[float]()
    writes, loop = BatchedWrites(clock), asyncio.get_running_loop()
    began_s = loop.time()
    for _ in range(10):
        writes.add(_Writer(clock, written, takes_s))
    await asyncio.sleep(0)
    assert written == [began_s] * 10
    for _ in range(5):
        writes.add(_Writer(clock, written))
        await asyncio.sleep(0)
    assert len(written) == 10
    await asyncio.sleep(rest_s * 2)
    assert written[10:] == [pytest.approx(began_s + rest_s)] * 5


async def test_one_that_fails_holds_nobody_back() -> None:
    class Broken(_Writer):
        def write_batch(self) -> None:
            raise RuntimeError

    failures = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    clock, written = ManualClock(), list[float]()
    writes = BatchedWrites(clock)
    for kind in (_Writer, Broken, _Writer):
        writes.add(kind(clock, written))
    await asyncio.sleep(0.001)
    writes.add(_Writer(clock, written))
    await asyncio.sleep(0.001)
    assert len(written) == 3
    assert [type(one) for one in failures] == [RuntimeError]
