"""A burst of messages that has arrived at once leaves the event loop to others in between."""

import asyncio
import time

import pytest

from mdcache.clock import SystemClock
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.exchange.topics import StreamRoute
from mdcache.upstream.streams.link import Link
from mdcache.upstream.streams.lives import Life
from mdcache.upstream.streams.messages import Complaint, TopicFrame
from mdcache.upstream.streams.ports import ConnectionEnded

BURST = 500
MOST_AT_ONCE = 8


class Burst:
    """A connection that has received everything already."""

    def __init__(self) -> None:
        self.left = BURST

    async def receive(self) -> str:
        if not self.left:
            await asyncio.Event().wait()
        self.left -= 1
        return '{"stream":"btcusdt@kline_1m","data":{}}'

    async def send(self, text: str) -> None:
        raise ConnectionEnded(None, text)

    async def close(self) -> None:
        self.left = 0


class Owner:
    """Counts the frames since others ran. `work_s`: for each."""

    def __init__(self, work_s: float = 0.0) -> None:
        self.route = StreamRoute.MARKET
        self.at_once = 0
        self._work_s = work_s

    def take(self, link: Link, frame: TopicFrame, now_s: float) -> bool:
        del link, frame, now_s
        self.at_once += 1
        time.sleep(self._work_s)
        return True

    def missed(self, link: Link, topic: str | None) -> None:
        raise AssertionError

    def refused(self, topic: str, complaint: Complaint) -> None:
        raise AssertionError

    def changed(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(("work_s", "most_at_once"), [(0.0, MOST_AT_ONCE), (0.002, 3)])
async def test_a_burst_leaves_the_loop_to_others(work_s: float, most_at_once: int) -> None:
    burst, owner = Burst(), Owner(work_s)
    link = Link(
        burst, [], market=Market.SPOT, path="/stream", life=Life(3_600.0, 60.0), clock=SystemClock(), events=Events(),
        owner=owner,
    )  # fmt: skip
    turns = 0
    while burst.left:
        await asyncio.sleep(0)
        assert owner.at_once <= most_at_once
        owner.at_once, turns = 0, turns + 1
    assert turns <= 10 * BURST / most_at_once  # and it ends quickly
    await link.close()
