"""Three daemons asked for more than their budget, killed and stopped in between: what the exchange counts of it."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from tests.support.daemon_process import ColdLoad, DaemonProcess
from tests.support.processes import sim
from tests.support.redis_servers import RedisServer, running_redis
from tests.support.sim_client import SimClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.processes

SHARE = "0.05"
ALLOWED = {"spot": 300, "futures": 120}  # of 6,000 and 2,400 weight a minute
SHARED_WITHIN_S = 100.0  # after a first start: a whole minute has to pass
TOLD_S = 0.5  # from the refusal that one met until all know of it
TEAPOT = 418
PAGES = {
    "spot": "/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={start}&limit=1000",
    "futures": "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&startTime={start}&limit=1500",
}


@dataclass
class LongRunningReplicas:
    exchange: SimClient
    redis: RedisServer
    daemons: list[DaemonProcess]

    def shared(self) -> bool:
        return all(daemon.redis_is_up() and daemon.budget_modes() == {"shared"} for daemon in self.daemons)

    def never_over_the_share(self) -> None:
        """In no minute; in the fullest, most of it was used."""
        for family, allowed in ALLOWED.items():
            spent = self.exchange.spent(family)
            assert max(spent.values()) <= allowed, (family, spent)
            assert max(spent.values()) >= 0.6 * allowed, (family, spent)


@pytest.fixture
def fleet() -> Iterator[LongRunningReplicas]:
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        exchange = stack.enter_context(closing(SimClient(stack.enter_context(sim()))))
        settings = {"redis_url": redis.url, "replicas": "3", "weight_share": SHARE}
        daemons = [DaemonProcess(exchange.url, **settings) for _ in range(3)]
        floods = [
            stack.enter_context(closing(ColdLoad(daemons, page, step_ms=1_500 * 60_000, pause_s=0.2)))
            for page in PAGES.values()
        ]
        for daemon in daemons:
            stack.enter_context(closing(daemon)).start(wait=False)
        for daemon in daemons:
            daemon.wait_until_ready()
        for flood in floods:
            flood.start()
        yield LongRunningReplicas(exchange, redis, daemons)


def into_minute(second: float) -> None:
    """Wait until the exchange's minute is so old."""
    time.sleep((second - time.time()) % 60)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_replicas_are_killed_stopped_and_banned(fleet: LongRunningReplicas) -> None:
    """One is killed and comes back, one is stopped over a minute's edge, and over a ban that the others meet."""
    one, killed, stopped = fleet.daemons
    eventually(fleet.shared, SHARED_WITHIN_S)
    into_minute(40.0)
    killed.kill()
    into_minute(50.0)
    stopped.signal(signal.SIGSTOP)
    into_minute(0.5)
    killed.start()
    into_minute(5.0)
    stopped.signal(signal.SIGCONT)
    into_minute(58.0)
    fleet.exchange.act("ban", family="spot", seconds=60)
    into_minute(58.5)
    stopped.signal(signal.SIGSTOP)
    eventually(lambda: bool(refusals(fleet.exchange)), 20.0)
    into_minute(10.0)
    stopped.signal(signal.SIGCONT)
    into_minute(25.0)
    first, *more = refusals(fleet.exchange)
    assert all(at_ms - first < TOLD_S * 1000 for at_ms in more), (first, more)
    assert one.get(PAGES["spot"].format(start=1_000_000_000_000)).status_code == 503
    fleet.never_over_the_share()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_redis_goes_and_comes_and_a_replica_is_killed_meanwhile(fleet: LongRunningReplicas) -> None:
    """Three times, at other seconds of the minute; it comes back empty, and finds one with another name."""
    eventually(fleet.shared, SHARED_WITHIN_S)
    for second in (20.0, 45.0, 57.0):
        into_minute(second)
        fleet.redis.stop()
        if second < 30.0:
            fleet.daemons[0].kill()
        into_minute(second + 8.0)
        if second < 30.0:
            fleet.daemons[0].start()
        fleet.redis.start()
    into_minute(0.5)
    into_minute(59.9)
    fleet.never_over_the_share()


def refusals(exchange: SimClient) -> list[int]:
    """When the exchange refused, in milliseconds."""
    return [int(entry["at_ms"]) for entry in exchange.log() if entry["status"] == TEAPOT]
