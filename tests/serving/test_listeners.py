"""Listeners are bounded, counted by market and kind, and end one after the other when the daemon stops."""

import asyncio
from itertools import pairwise

import pytest

from mdcache.exchange.markets import Market
from mdcache.serving.listeners import ListenerKind, Listeners


class Ends:
    """Notes when it is told to end."""

    def __init__(self) -> None:
        self.at_s: float | None = None

    def drain(self) -> None:
        self.at_s = asyncio.get_running_loop().time()


def test_one_more_than_the_most_is_refused_until_one_leaves() -> None:
    listeners, held = Listeners(2), [Ends(), Ends()]
    for each in held:
        assert listeners.refusal() is None
        listeners.add(each, Market.USDM, ListenerKind.EVENTS)
    assert "MDCACHE_LISTENERS_MAX" in (listeners.refusal() or "")
    assert listeners.counts()[Market.USDM, ListenerKind.EVENTS] == 2
    assert listeners.counts()[Market.SPOT, ListenerKind.WEBSOCKET] == 0
    listeners.remove(held[0])
    listeners.remove(held[0])
    assert listeners.refusal() is None
    assert len(listeners) == 1


@pytest.mark.virtual
async def test_a_drain_refuses_new_ones_and_ends_the_others_one_after_the_other_within_the_grace() -> None:
    listeners, held = Listeners(100), [Ends() for _ in range(50)]
    for each in held:
        listeners.add(each, Market.SPOT, ListenerKind.WEBSOCKET)
    began_s = asyncio.get_running_loop().time()
    listeners.drain(10.0)
    assert "shutting down" in (listeners.refusal() or "")
    await asyncio.sleep(10.0)
    ends = sorted(each.at_s - began_s for each in held if each.at_s is not None)
    assert len(ends) == len(held)
    assert max(ends) < 9.0
    assert max(later - sooner for sooner, later in pairwise(ends)) < 0.5
