"""Single flight: one read, many callers. Cancellation first."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from mdcache.cache.single_flight import SingleFlight
from mdcache.clock import Clock
from mdcache.errors import BodyFault, DeadlinePassed, GateClosed, InvalidBody
from mdcache.events import BackgroundTask, BackgroundTaskFailed, Event, Events
from mdcache.upstream.priority import Lane, Priority
from tests.support.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual


@dataclass(eq=False)
class Read:
    """Takes two seconds; then it has a result, or raises its error."""

    name: str = "a"
    error: Exception | None = None
    priority: Priority = field(default_factory=lambda: Priority(Lane.LOW, 0.0))
    task: "asyncio.Task[None] | None" = None
    result: str = ""


class Reads:
    """A single flight of such reads, and what was done."""

    def __init__(self) -> None:
        self.clock: Clock = VirtualClock()
        self.events: list[Event] = []
        self.started: list[Read] = []
        self.finished: list[tuple[str, str, BaseException | None]] = []
        self.flight: SingleFlight[str, Read] = SingleFlight(
            BackgroundTask.SNAPSHOT_READ,
            self.clock,
            Events(self.events.append),
            self._run,
            lambda read, error: self.finished.append((read.name, read.result, error)),
            lambda read: read.name,
        )

    def join(
        self,
        name: str = "a",
        error: Exception | None = None,
        lane: Lane = Lane.NORMAL,
        satisfies: Callable[[Read], bool] = lambda _: True,
    ) -> tuple[Read, bool]:
        priority = Priority(lane, self.clock.now() + 8.0)
        return self.flight.join(name, priority, satisfies, lambda: Read(name, error, priority))

    async def ask(self, name: str = "a", within_s: float = math.inf, error: Exception | None = None) -> str:
        read, _ = self.join(name, error)
        await self.flight.wait(read, self.clock.now() + min(within_s, 60.0))
        return read.result

    async def _run(self, read: Read) -> None:
        self.started.append(read)
        await self.clock.sleep(2.0)
        if read.error is not None:
            raise read.error
        read.result = "rows"


async def test_a_caller_that_is_cancelled_takes_nothing_from_the_others() -> None:
    reads = Reads()
    callers = [asyncio.create_task(reads.ask()) for _ in range(4)]
    await asyncio.sleep(1.0)
    callers[0].cancel()  # it started the read
    callers[2].cancel()
    assert await callers[1] == await callers[3] == "rows"
    assert len(reads.started) == 1
    assert callers[0].cancelled()
    assert callers[2].cancelled()


async def test_a_read_goes_on_when_all_its_callers_are_cancelled() -> None:
    reads = Reads()
    callers = [asyncio.create_task(reads.ask()) for _ in range(2)]
    await asyncio.sleep(1.0)
    for caller in callers:
        caller.cancel()
    await asyncio.sleep(1.5)
    assert reads.finished == [("a", "rows", None)]
    assert len(reads.flight) == 0


async def test_each_caller_has_a_deadline_of_its_own() -> None:
    reads = Reads()
    patient = asyncio.create_task(reads.ask(within_s=3.0))
    with pytest.raises(DeadlinePassed, match="in time"):
        await reads.ask(within_s=1.0)
    with pytest.raises(DeadlinePassed, match="in time"):
        await reads.ask(within_s=-1.0)
    assert await patient == "rows"
    await reads.flight.wait(reads.started[0], 0.0)  # what is there is there, whatever the deadline


async def test_the_end_of_the_process_ends_every_read() -> None:
    reads = Reads()
    callers = [asyncio.create_task(reads.ask(name)) for name in ("a", "a", "b")]
    await asyncio.sleep(1.0)
    await reads.flight.aclose()
    for caller in callers:
        with pytest.raises(DeadlinePassed, match="shutting down"):
            await caller
    assert [error for _, _, error in reads.finished] == [None, None]
    assert len(reads.flight) == 0
    assert reads.events == []


async def test_one_read_at_a_time_for_each_key() -> None:
    reads = Reads()
    assert await asyncio.gather(*(reads.ask(name) for name in "aabab")) == ["rows"] * 5
    assert sorted(read.name for read in reads.started) == ["a", "b"]
    await reads.ask()  # the last one is over
    assert len(reads.started) == 3


async def test_join_returns_whether_the_read_is_shared() -> None:
    reads = Reads()
    first, shared = reads.join()
    assert not shared
    assert reads.join() == (first, True)
    await reads.flight.wait(first, math.inf)
    assert reads.join()[1] is False
    await reads.flight.aclose()


async def test_a_read_that_does_not_satisfy_is_not_joined() -> None:
    reads = Reads()
    first, _ = reads.join()
    second, shared = reads.join(satisfies=lambda _: False)
    assert second is not first
    assert not shared
    assert reads.join(satisfies=lambda read: read is second) == (second, True)
    assert len(reads.flight) == 2
    await reads.flight.wait(first, math.inf)
    await reads.flight.wait(second, math.inf)
    assert len(reads.started) == 2


async def test_a_shared_read_is_as_urgent_as_its_most_urgent_caller() -> None:
    reads = Reads()
    first, _ = reads.join(lane=Lane.NORMAL)
    await asyncio.sleep(1.0)
    reads.join(lane=Lane.LOW)
    assert first.priority == Priority(Lane.NORMAL, reads.clock.now() + 8.0)
    reads.join(lane=Lane.HIGH)
    assert first.priority == Priority(Lane.HIGH, reads.clock.now() + 8.0)
    await reads.flight.aclose()


async def test_each_caller_gets_the_error_as_its_own() -> None:
    reads, error = Reads(), InvalidBody(BodyFault.EMPTY, "")
    met = list(await asyncio.gather(*(reads.ask(error=error) for _ in range(2)), return_exceptions=True))
    assert [type(each) for each in met] == [InvalidBody, InvalidBody]
    assert len({id(each) for each in (*met, error)}) == 3
    assert reads.finished == [("a", "", error)]


async def test_an_error_is_remembered_for_a_second() -> None:
    reads = Reads()
    with pytest.raises(InvalidBody):
        await reads.ask(error=InvalidBody(BodyFault.EMPTY, ""))
    await asyncio.sleep(0.9)
    with pytest.raises(InvalidBody):
        reads.join()
    reads.join("b")
    await asyncio.sleep(0.2)
    assert await reads.ask() == "rows"
    assert [read.name for read in reads.started] == ["a", "b", "a"]


async def test_a_closed_gate_is_not_remembered() -> None:
    reads = Reads()
    with pytest.raises(GateClosed):
        await reads.ask(error=GateClosed(1.0, "429"))
    assert await reads.ask() == "rows"
    assert reads.events == []


async def test_the_memory_for_errors_is_bounded() -> None:
    reads = Reads()
    names = [str(number) for number in range(5_000)]
    await asyncio.gather(
        *(reads.ask(name, error=InvalidBody(BodyFault.EMPTY, "")) for name in names), return_exceptions=True
    )
    assert reads.join("0")[1] is False  # the oldest went
    with pytest.raises(InvalidBody):
        reads.join("4999")
    await reads.flight.aclose()


async def test_a_remembered_error_keeps_nothing_of_its_read() -> None:
    reads = Reads()
    for name in ("a", "b"):
        with pytest.raises(InvalidBody):
            await reads.ask(name, error=InvalidBody(BodyFault.EMPTY, ""))
        (remembered,) = reads.flight._errors.values()  # the older one is out of date
        assert remembered[1].__traceback__ is None


async def test_an_unexpected_error_is_reported_and_not_remembered() -> None:
    reads = Reads()
    with pytest.raises(ZeroDivisionError):
        await reads.ask(error=ZeroDivisionError("by zero"))
    assert reads.events == [BackgroundTaskFailed(BackgroundTask.SNAPSHOT_READ, "ZeroDivisionError: by zero")]
    assert await reads.ask() == "rows"
