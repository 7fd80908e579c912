"""Ordinary trouble ends quickly: a cable that is pulled, a short ban, both together."""

import pytest

from mdcache.errors import MdcacheError
from tests.support.sim_transport import SimTransport
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

pytestmark = pytest.mark.virtual

SPOT, TAIL = "/api/v3/klines", "symbol=BTCUSDT&interval=1m&limit=5"


async def seconds_until_answered(w: VirtualDaemon, *, every_s: float = 0.25) -> float:
    """Return how long it took until a question was answered freshly, asked all the time."""
    began_s = w.clock.now()
    while True:
        try:
            answer = await w.ask(SPOT, TAIL)
        except MdcacheError:
            answer = None
        if answer is not None and not answer.stale:
            return w.clock.now() - began_s
        await w.clock.sleep(every_s)


async def cut(w: VirtualDaemon, seconds: float) -> None:
    """Pull the cable for so long, with questions all the time."""
    assert isinstance(w.transport, SimTransport)
    end_s = w.clock.now() + seconds
    w.transport.unplugged = True
    while w.clock.now() < end_s:
        with pytest.raises(MdcacheError):
            await w.ask(SPOT, "symbol=ETHUSDT&interval=5m&limit=500")
        await w.clock.sleep(0.1)
    w.transport.unplugged = False


@pytest.mark.parametrize("seconds", [2.0, 20.0])
async def test_a_pulled_cable_costs_no_more_than_it_lasted(seconds: float) -> None:
    w = VirtualDaemon(options=DaemonOptions(max_stale_s=0.0))
    await w.ask(SPOT, TAIL)
    for _ in range(5):
        await cut(w, seconds)
        assert await seconds_until_answered(w) <= seconds + 2
        await w.clock.sleep(150.0)


@pytest.mark.parametrize("rounds", [1, 4])
async def test_a_ban_right_after_a_pulled_cable_costs_what_it_lasts(rounds: int) -> None:
    w = VirtualDaemon(options=DaemonOptions(max_stale_s=0.0))
    await w.ask(SPOT, TAIL)
    for _ in range(rounds):
        await cut(w, 20.0)
        await seconds_until_answered(w)
        w.exchange.control.ban("spot", 14.0)
        await w.clock.sleep(2.1)
        assert await seconds_until_answered(w) <= 14.0 + 2.0 + 2.0
        await w.clock.sleep(80.0)
