"""The summary of each minute, in virtual time."""

import asyncio

from mdcache.daemon.summaries import Summaries
from mdcache.events import Event, Events, Summary
from mdcache.serving.ops.recent_calls import CallCounts
from tests.support.virtual_time import VirtualClock, run


class Counted:
    def __init__(self) -> None:
        self.requests = {"hit": 10, "miss": 5}
        self.calls = CallCounts(5, 1, 10)


def test_each_minute_says_what_happened_in_it() -> None:
    async def scenario() -> list[Event]:
        told: list[Event] = []
        clock, counted = VirtualClock(), Counted()
        summaries = Summaries(clock, Events(told.append), lambda: counted.requests, lambda: counted.calls)
        summaries.start()
        await asyncio.sleep(30.0)
        counted.requests, counted.calls = {"hit": 19, "miss": 5, "error": 1}, CallCounts(7, 2, 14)
        await asyncio.sleep(90.5)
        counted.requests = {"hit": 19, "miss": 5, "error": 1, "refused": 3}
        await asyncio.sleep(9.5)
        await summaries.aclose()
        return told

    first, second, rest = run(scenario())
    assert isinstance(first, Summary)
    assert isinstance(second, Summary)
    assert isinstance(rest, Summary)
    assert (first.seconds, first.reads, first.failed, first.weight) == (60.0, 2, 1, 4)
    assert (first.requests.requests, first.requests.hit_ratio, first.requests.failed) == (10, 0.9, 0.1)
    assert (second.seconds, second.requests.requests, second.reads) == (60.0, 0, 0)
    assert (rest.seconds, rest.requests.requests, rest.requests.questions) == (10.0, 3, 0)
