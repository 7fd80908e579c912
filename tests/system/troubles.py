"""All that goes wrong in a history: each kind draws what it does, and all of it can be ended at once."""

import random
from collections.abc import Callable

from mdcache.sim.config import Family, Market
from tests.system.replica import Replica
from tests.system.world import World

_READ_FAULTS = (
    "500", "503", "timeout", "drop", "truncate", "html", "garbage_gzip", "object", "columns", "numbers", "nan",
    "crossed", "outside", "disorder", "doubled", "interval",
)  # fmt: skip
_PATHS = ("", "/api/", "/fapi/", "/dapi/", "/api/v3/klines", "/api/v3/time", "/api/v3/exchangeInfo", "/fapi/v1/klines")
_STREAM_FAULTS = ("half", "dropped", "ended", "refused")
_FRAME_FAULTS = ("silent", "stuck", "garbage", "late", "no_finals")
_OF_FRAMES = "kline", "kline_1m", "btcusdt@kline", "miniTicker"  # of trades, none can be lost unseen
_OF_BROKEN = "", "", "kline", "@trade", "@aggTrade", "@depth"
_HANDSHAKE_FAULTS = ("500", "503", "403", "429", "timeout", "drop")
_HANDSHAKES = ("/stream", "/usdm", "/coinm")
_MARKETS: tuple[Market | None, ...] = (None, "spot", "usdm", "coinm")
_FAMILIES: tuple[Family, ...] = ("spot", "futures")
_LATELY_S = 75.0  # as long as a replica may wait for weight


class Troubles:
    """`lately`: whether something went wrong a short time ago, so that answers may fail."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._last_s = world.clock.now()  # at the start, replicas may have to wait for a minute
        self._lasting = world.options.replicas > 1
        self._spent_until_ms: dict[str, int] = {}  # by another program at this address

    @property
    def lately(self) -> bool:
        return self._lasting or self._world.clock.now() - self._last_s < _LATELY_S

    def is_spent(self, family: str) -> bool:
        """Return whether another program spent weight in this minute, or just before it."""
        return self._world.clock.true_ms() < self._spent_until_ms.get(family, 0)

    def forget(self) -> None:
        """All has recovered."""
        self._lasting = False
        self._last_s = -1e9

    def make(self, kind: str, rng: random.Random) -> object:
        """Let something happen; return a coroutine if it takes time."""
        self._lasting = True
        made: dict[str, Callable[[random.Random], object]] = {
            "read_fault": self._read_fault,
            "refuse": self._refuse,
            "cable": self._cable,
            "latency": self._latency,
            "stop": self._stop,
            "start": self._start,
            "wall": self._wall,
            "spend": self._spend,
            "stream_fault": self._stream_fault,
            "handshake_fault": self._handshake_fault,
            "close_streams": self._close_streams,
            "redis": self._redis,
            "disk": self._disk,
        }
        return made[kind](rng)

    async def end_all(self) -> None:
        """End every fault, and start what does not run. What the exchange stated goes on."""
        world = self._world
        world.network.down = world.network.hangs = False
        world.control.clear_faults()
        world.control.clear_stream_faults()
        world.control.unban()
        trip_s = world.options.trip_s
        world.control.latency(before_s=trip_s, after_s=trip_s)
        if world.shared is not None:
            world.shared.start(empty=False)
        for replica in world.replicas:
            replica.net.unplugged = False
            if replica.disk is not None:
                replica.disk.empty()
            if not replica.runs:
                replica.restart()
                await replica.start()

    # ------------------------------------------------------------------------------- the exchange

    def _read_fault(self, rng: random.Random) -> None:
        count = rng.choice([1, 1, 2, 4, 10, None])
        probability = 1.0 if count is not None else rng.choice([0.3, 1.0])
        self._world.control.fault(
            rng.choice(_READ_FAULTS), path=rng.choice(_PATHS), count=count, probability=probability
        )

    def _refuse(self, rng: random.Random) -> None:
        control, family = self._world.control, rng.choice(_FAMILIES)
        path = "/api/" if family == "spot" else rng.choice(["/fapi/", "/dapi/"])
        match rng.randrange(5):
            case 0:
                control.ban(family, rng.choice([3, 14, 90]), retry_after=rng.random() < 0.8)
            case 1:
                control.fault("403", path=path, count=rng.choice([1, 2, 5]))
            case 2:
                control.fault("429", path=path, count=rng.choice([1, 1, 3]), retry_after_s=rng.choice([None, 2, 30]))
            case 3:
                control.fault("418", path=path, count=1, retry_after_s=rng.choice([None, 5, 60]))
            case _:
                control.unban()

    def _latency(self, rng: random.Random) -> None:
        trip_s = rng.choice([0.0, 0.03, 0.2, 0.35])
        self._world.control.latency(before_s=trip_s, after_s=trip_s)

    def _spend(self, rng: random.Random) -> None:
        family = rng.choice(_FAMILIES)
        limit = self._world.exchange.config.limit(family)
        self._spent_until_ms[family] = (self._world.clock.true_ms() // 60_000 + 1) * 60_000 + 2_000
        self._world.control.spend(family, int(limit * rng.choice([0.2, 0.6, 0.85])), client="192.0.2.1")

    # ------------------------------------------------------------------------------- the network

    def _cable(self, rng: random.Random) -> None:
        network = self._world.network
        network.down, network.hangs = rng.random() < 0.7, rng.random() < 0.4
        for replica in self._world.replicas:
            if network.down and rng.random() < 0.7:
                replica.net.pull_the_cable()
            else:
                replica.net.unplugged = False

    def _stream_fault(self, rng: random.Random) -> None:
        market = rng.choice(_MARKETS)
        kind = rng.choice((*_STREAM_FAULTS, *_FRAME_FAULTS, "broken", "broken"))
        topic = rng.choice(_OF_BROKEN if kind == "broken" else _OF_FRAMES if kind in _FRAME_FAULTS else [""])
        self._world.topics_refused |= kind == "refused"
        self._world.control.stream_fault(
            kind,
            market=market,
            topic=topic,
            seconds=rng.choice([0.5, 5.0, 40.0, None]),
            delay_s=rng.choice([0.3, 1.5, 8.0]),
            life_s=rng.choice([1, 10]),
        )

    def _handshake_fault(self, rng: random.Random) -> None:
        self._world.control.fault(rng.choice(_HANDSHAKE_FAULTS), path=rng.choice(_HANDSHAKES), count=rng.randint(1, 4))

    def _close_streams(self, rng: random.Random) -> None:
        self._world.control.close_streams(market=rng.choice(_MARKETS), notice_s=rng.choice([0.0, 0.5, 10.0]))

    # ------------------------------------------------------------------------------- daemons and stores

    def _running(self, rng: random.Random) -> Replica | None:
        found = [each for each in self._world.replicas if each.runs]
        return rng.choice(found) if found else None

    async def kill(self, rng: random.Random) -> Replica | None:
        """Kill one of the daemons, if one runs."""
        self._lasting = True
        replica = self._running(rng)
        if replica is not None:
            await replica.kill()
        return replica

    async def _stop(self, rng: random.Random) -> None:
        if (replica := self._running(rng)) is not None:
            await replica.aclose()

    async def _start(self, _rng: random.Random) -> None:
        for replica in self._world.replicas:
            if not replica.runs:
                replica.restart()
                await replica.start()

    def _wall(self, rng: random.Random) -> None:
        self._world.clock.step_ms = rng.choice([0, 3_600_000, -3_600_000, 1_500, -900, 86_400_000])

    def _redis(self, rng: random.Random) -> None:
        shared = self._world.shared
        if shared is None:
            return
        match rng.randrange(6):
            case 0 | 1:
                shared.stop()
            case 2:
                shared.start(empty=rng.random() < 0.5)
            case 3:
                shared.rows.lose(rng)
            case 4:
                shared.slow()
            case _:
                shared.deafen()

    def _disk(self, rng: random.Random) -> None:
        if (replica := self._running(rng)) is not None and replica.disk is not None:
            (replica.disk.fill if rng.random() < 0.6 else replica.disk.empty)()
