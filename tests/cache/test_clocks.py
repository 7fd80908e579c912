"""Questions while clocks contradict each other: none fails, costs more calls, or is answered as empty or settled."""

import json
from collections.abc import Callable
from email.utils import formatdate
from itertools import product

import httpx
import pytest

from mdcache.events import ClockSuspect, ClockWitness
from tests.support.examples import thinned
from tests.support.sim_transport import SimTransport
from tests.support.virtual_daemon import VirtualDaemon

pytestmark = pytest.mark.virtual

SPOT, USDM, COINM = "/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"
DAY, HOUR = 86_400_000, 3_600_000


class SkewedTransport(SimTransport):
    """The simulated exchange with a `Date` that is `date_ms` off, and a `/time` of `time_of` the true one."""

    date_ms = 0
    fixed_date_ms: int | None = None
    time_of: Callable[[int], object] = staticmethod(lambda now_ms: now_ms)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        reply = await super().handle_async_request(request)
        body, now_ms = await reply.aread(), self._clock.true_ms()
        if request.url.path.endswith("/time"):
            body = json.dumps({"serverTime": self.time_of(now_ms)}).encode()
        stated_ms = now_ms + self.date_ms if self.fixed_date_ms is None else self.fixed_date_ms
        headers = {"date": formatdate(stated_ms // 1000, usegmt=True), "content-type": "application/json"}
        return httpx.Response(reply.status_code, headers=headers, content=body, request=request)


def skewed() -> tuple[VirtualDaemon, SkewedTransport]:
    w = VirtualDaemon()
    w.transport = transport = SkewedTransport(w.exchange, w.clock)
    w.restart()
    return w, transport


async def asked(w: VirtualDaemon, path: str, query: str) -> int:
    """Ask, compare with the exchange, and return the number of calls."""
    before = len(w.calls())
    asks = f"symbol={'ETHUSD_PERP' if path == COINM else 'ETHUSDT'}&{query}"
    answer = await w.ask(path, asks)
    found, true = (json.loads(body) for body in (answer.body, w.exchange.truth(path, asks, at_ms=answer.as_of_ms)))
    assert (len(found), found[:-1]) == (100, true[:-1])  # the open candle may have moved within the read
    return len(w.calls()) - before


def bounded(now_ms: int, days: int) -> str:
    start = now_ms - now_ms % DAY - days * DAY
    return f"interval=1m&startTime={start}&endTime={start + 99 * 60_000}"


@pytest.mark.parametrize(
    ("path", "skew_ms"), thinned(product([SPOT, USDM, COINM], [5_000, -5_000, HOUR, -HOUR, 400 * DAY, -400 * DAY]), 5)
)
async def test_dates_that_jump_and_come_back(path: str, skew_ms: int) -> None:
    w, transport = skewed()
    day = iter(range(1, 400))
    now_ms = w.clock.true_ms()
    normal = await asked(w, path, bounded(now_ms, 1000))
    for skew in (skew_ms, 0, skew_ms, 0):
        transport.date_ms = skew
        for _ in range(3):
            assert await asked(w, path, bounded(now_ms, next(day))) <= normal + 1
            assert await asked(w, path, "interval=1h&limit=100") <= 2
            await w.clock.sleep(2.0)
    assert w.event_count(ClockSuspect)
    await w.aclose()


@pytest.mark.parametrize("path", [SPOT, USDM, COINM])
async def test_a_date_that_stands_still(path: str) -> None:
    w, transport = skewed()
    now_ms = w.clock.true_ms()
    transport.fixed_date_ms = now_ms - 30 * DAY
    for days in (1, 2, 20, 100, 500):
        assert await asked(w, path, bounded(now_ms, days)) <= 3
        await w.clock.sleep(7.0)
    await w.aclose()


@pytest.mark.parametrize(
    ("time_of", "told"),
    [
        (lambda now_ms: now_ms // 1000, False),
        (lambda now_ms: now_ms * 1000, False),
        (str, True),
        (lambda now_ms: now_ms + 400 * DAY, True),
        (lambda now_ms: now_ms - HOUR, True),
        (lambda _: 0, True),
        (lambda _: None, True),
        (lambda _: [[]], True),
    ],
)
async def test_an_absurd_time_is_outvoted_and_told_once(time_of: Callable[[int], object], *, told: bool) -> None:
    w, transport = skewed()
    transport.time_of = time_of
    now_ms = w.clock.true_ms()
    for days in (1, 2, 500):
        assert await asked(w, SPOT, bounded(now_ms, days)) <= 2
        await w.clock.sleep(310.0)
    suspects = [each.witness for each in w.events if isinstance(each, ClockSuspect)]
    assert suspects == ([ClockWitness.TIME] if told else [])
    await w.aclose()


async def test_a_wall_that_is_wrong_is_told_once() -> None:
    w = VirtualDaemon()
    w.clock.step_ms = 2 * HOUR
    w.restart()
    now_ms = w.clock.true_ms()
    for days in (1, 2, 3):
        assert await asked(w, SPOT, bounded(now_ms, days)) == 1
        await w.clock.sleep(310.0)
    assert [each.witness for each in w.events if isinstance(each, ClockSuspect)] == [ClockWitness.WALL]
    await w.aclose()
