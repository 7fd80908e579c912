"""A burst of messages that has arrived at once leaves the event loop to others in between."""

import asyncio

from mdcache.clock import SystemClock
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.upstream.streams.link import Link
from mdcache.upstream.streams.lives import Life
from mdcache.upstream.streams.messages import TopicFrame
from mdcache.upstream.streams.ports import ConnectionEnded

BURST = 500
MOST_AT_ONCE = 16


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
    """Counts the frames since others ran."""

    def __init__(self) -> None:
        self.at_once = 0

    def take(self, link: Link, frame: TopicFrame, now_s: float) -> bool:
        del link, frame, now_s
        self.at_once += 1
        return True

    def missed(self) -> None:
        raise AssertionError

    def changed(self) -> None:
        raise AssertionError


async def test_a_burst_leaves_the_loop_to_others() -> None:
    burst, owner = Burst(), Owner()
    link = Link(
        burst, [], market=Market.SPOT, path="/stream", life=Life(3_600.0, 60.0), clock=SystemClock(), events=Events(),
        owner=owner,
    )  # fmt: skip
    turns = 0
    while burst.left:
        await asyncio.sleep(0)
        assert owner.at_once <= MOST_AT_ONCE
        owner.at_once, turns = 0, turns + 1
    assert turns <= 10 * BURST / MOST_AT_ONCE  # and it ends quickly
    await link.close()
