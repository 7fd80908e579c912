"""The world of one history: the exchange, its replicas, what is between them, and the balancer in front."""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mdcache.sim import SimConfig
from mdcache.sim.control.faults import InjectedFault
from mdcache.sim.default_symbols import default_symbols
from mdcache.upstream.governor import GovernorSettings
from tests.support.random_klines import SUBJECTS
from tests.support.virtual_daemon import DaemonOptions
from tests.support.virtual_time import VirtualClock
from tests.system.lives import tell_processes_apart
from tests.system.network import Network
from tests.system.replica import Disk, Replica
from tests.system.shared_redis import SharedRedis
from tests.system.wire import ConnectionReset, Doors, HttpAnswer, HttpClient

SYMBOLS = tuple(
    spec
    for spec in default_symbols()
    if spec.symbol in {name for names in SUBJECTS.values() for name in names} | {"ETHUSD_PERP"}
)
SHARE = 0.5
BALANCER_S = 1.0  # deploy/haproxy/haproxy.cfg asks each second
_QUIET_MS = int(datetime(2026, 11, 4, 12, 29, 31, 858_000, UTC).timestamp() * 1000)


def _ms(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp() * 1000)


# Seconds before: a month, a week and a day end; a year; the clocks go back in Europe and America; a leap day.
EDGES_MS = (
    _ms(2026, 11, 30, 23, 58, 40),
    _ms(2026, 12, 31, 23, 59, 20),
    _ms(2026, 12, 6, 23, 59, 5),
    _ms(2027, 3, 28, 0, 59, 30),
    _ms(2026, 11, 1, 5, 59, 30),
    _ms(2028, 2, 28, 23, 59, 10),
)


@dataclass(frozen=True)
class WorldOptions:
    """What differs from history to history."""

    wall_ms: int = _QUIET_MS
    replicas: int = 1
    redis: bool = False
    disk: bool = False
    streams: bool = False
    ttl_s: float | None = None
    memory_mb: float = 512.0
    backoff_max_s: float = 20.0
    limit_divisor: int = 1  # of the exchange's limits
    trip_s: float = 0.0
    lags_ms: tuple[int, ...] = (0,)

    @classmethod
    def draw(cls, rng: random.Random, **fixed: object) -> "WorldOptions":
        replicas = rng.choice([1, 1, 1, 2, 3])
        drawn: dict[str, object] = {
            "wall_ms": rng.choice([_QUIET_MS, *EDGES_MS]),
            "replicas": replicas,
            "redis": replicas > 1 or rng.random() < 0.1,
            "disk": rng.random() < 0.5,
            "streams": rng.random() < 0.5,
            "ttl_s": rng.choice([None, None, 0.5, 2.0]),
            "memory_mb": rng.choice([0.3, 512.0, 512.0]),
            "backoff_max_s": rng.choice([20.0, 20.0, 300.0]),
            "limit_divisor": rng.choice([1, 1, 10]),
            "trip_s": rng.choice([0.0, 0.03, 0.03, 0.2]),
            "lags_ms": rng.choice([(0,), (0,), (0,), (0, 1_500)]),
        }
        return cls(**(drawn | fixed))  # type: ignore[arg-type] # each is of its field's type


@dataclass
class Balancer:
    """Sends questions to replicas that said they were ready when they were last asked, in turn."""

    replicas: list[Replica]
    ready: list[Replica] = field(default_factory=list)
    asked_s: float = -1.0
    turn: int = 0

    async def choose(self) -> Replica | None:
        now_s = self.replicas[0].clock.now()
        if now_s - self.asked_s >= BALANCER_S:
            self.asked_s = now_s
            self.ready = [each for each in self.replicas if each.runs and await is_ready(each)]
        self.turn += 1
        alive = [each for each in self.ready if each.runs]
        return alive[self.turn % len(alive)] if alive else None


async def is_ready(replica: Replica) -> bool:
    client = HttpClient(replica.doors)
    try:
        answer = await client.get("/readyz")
    except ConnectionReset:
        return False
    client.hang_up()
    return answer.status == 200


class World:
    """All of it."""

    def __init__(self, options: WorldOptions, folder: Path | None) -> None:
        tell_processes_apart()
        self.options = options
        divisor = options.limit_divisor
        config = SimConfig(symbols=SYMBOLS, spot_limit=6_000 // divisor, futures_limit=2_400 // divisor)
        self.network = Network()
        self.clock = VirtualClock(options.wall_ms)
        self.replicas: list[Replica] = []
        self.shared = SharedRedis(self.clock) if options.redis else None
        self._idle: dict[Doors, list[HttpClient]] = {}
        limits = GovernorSettings(weight_share=SHARE, backoff_max_s=options.backoff_max_s)
        for number in range(options.replicas):
            daemon_options = DaemonOptions(
                ttl_s=options.ttl_s,
                memory_mb=options.memory_mb,
                limits=limits,
                connections=options.streams,
                replicas=options.replicas,
            )
            disk = None
            if options.disk and folder is not None:
                (folder / str(number)).mkdir()
                disk = Disk(folder / str(number))
            beside = self.replicas[0] if number else None
            self.replicas.append(
                Replica(
                    number,
                    daemon_options,
                    self.network,
                    disk=disk,
                    shared=self.shared,
                    config=config,
                    beside=beside,
                    clock=self.clock,
                )
            )
        self.exchange = self.replicas[0].exchange
        self.control = self.exchange.control
        self.topics_refused = False  # by the exchange, at any time
        self.spoilt: dict[str, int] = {}  # the requests that were answered with a fault, and when the last time
        self._note_faults()
        self.control.latency(before_s=options.trip_s, after_s=options.trip_s)
        self.control.set_replicas(options.lags_ms, mode="random")
        self.balancer = Balancer(self.replicas)

    def _note_faults(self) -> None:
        control, exchange = self.control, self.exchange
        next_fault = control.next_fault

        def noted(path: str, query: str) -> InjectedFault | None:
            fault = next_fault(path, query)
            if fault is not None:
                self.spoilt[f"{path}?{query}"] = exchange.now_ms()
            return fault

        control.next_fault = noted  # type: ignore[method-assign] # in its place

    async def start(self) -> None:
        for replica in self.replicas:
            await replica.start()

    async def ask(self, replica: Replica, target: str, headers: dict[str, str] | None = None) -> HttpAnswer:
        """Ask over a connection that is kept alive; raises `ConnectionReset` if the daemon goes meanwhile."""
        idle = self._idle.setdefault(replica.doors, [])
        client = idle.pop() if idle else HttpClient(replica.doors)
        if client.closed:
            client = HttpClient(replica.doors)
        answer = await client.get(target, headers)
        if client.idle:
            idle.append(client)
        return answer

    async def wait(self, seconds: float) -> None:
        await self.clock.sleep(seconds)

    async def aclose(self) -> None:
        for replica in self.replicas:
            await replica.aclose()
        await asyncio.sleep(0)
