"""Random histories of a daemon that follows streams: questions, faults, closes, restarts, against the exchange's truth.

Every answer is byte for byte what the exchange, or one of its replicas, would have sent at the answer's as-of; one that
is not marked as stale is no older than the TTL, or than a frame of the stream may be; and no as-of goes back.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.persistence import SeriesFilter
from mdcache.errors import UpstreamFailed, UpstreamUnavailable
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.streams import topic_of
from mdcache.sim import SimConfig
from mdcache.sim.default_symbols import default_symbols
from mdcache.upstream.governor import GovernorSettings
from tests.support.kline_oracle import KlineOracle
from tests.support.random_klines import SUBJECTS, RandomQuestion, draw
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

_NAMES = {name for names in SUBJECTS.values() for name in names} | {"ETHUSD_PERP"}
FEW = SimConfig(
    spot_limit=1_000_000,
    futures_limit=1_000_000,
    symbols=tuple(spec for spec in default_symbols() if spec.symbol in _NAMES),
)
_FED = ("1s", "1m", "1m", "1m", "3m", "5m", "15m", "1h", "4h", "1d")  # what most clients poll
_FED_SYMBOLS = {Market.SPOT: ("BTCUSDT", "QUIETUSDT"), Market.USDM: ("BTCUSDT", "BTCUSDT_261225"),
                Market.COINM: ("BTCUSD_PERP", "DOTUSD_PERP")}  # fmt: skip
_KLINES = {Market.SPOT: "/api/v3/klines", Market.USDM: "/fapi/v1/klines", Market.COINM: "/dapi/v1/klines"}
_STEPS_S = (0.001, 0.05, 0.3, 0.7, 1.0, 1.0, 2.1, 2.1, 5.0, 11.0, 30.0)
_AFTER_CLOSE_MS = (-300, -60, -1, 0, 1, 60, 150, 200, 250, 400, 600, 1_000, 2_000, 2_030, 2_100, 3_100)
_STREAM_FAULTS = ("silent", "half", "stuck", "garbage", "late", "no_finals", "dropped", "ended")
_HANDSHAKE_FAULTS = ("500", "503", "timeout", "drop")
_HANDSHAKES = ("/stream", "/usdm", "/coinm")
_READ_FAULTS = ("500", "503", "timeout", "drop", "truncate", "html", "object", "nan", "disorder", "doubled")
_TRIPS_S = (0.0, 0.03, 0.2, 0.7)  # half a round trip; the last is the longest
_BACK_S, _SILENT_S = 35.0, 6.0
_BUSY = ("BTCUSDT", "BTCUSD_PERP")  # trade each second
_LONGEST_MS = 701
_CLOCK_MS = 2  # the error of a clock that read another
_FRAME_AGE_MS = 2_600
_EMPTY_AGE_MS = 5_000  # of a tail without rows


class _Oracle(KlineOracle):
    """Knows when each read was answered, which may be later than its as-of: it may show what came between.

    A read of a replica that lags, with a frame laid over it, is as one of a replica that lags less.
    """

    def truths(self, asked: RandomQuestion, as_of_ms: int) -> Iterator[bytes]:
        answered = {entry.at_ms for entry in self.exchange.log if as_of_ms < entry.at_ms <= as_of_ms + _LONGEST_MS}
        self.off_ms = [0, 1, *sorted(at_ms - as_of_ms for at_ms in answered)]
        yield from super().truths(asked, as_of_ms)
        for lag_ms in range(1, max(self.lags_ms)):
            yield self.exchange.truth(asked.path, asked.query, dict(asked.headers), at_ms=as_of_ms, lag_ms=lag_ms)


class StreamedHistory:
    """A world, and what happens in it. `streams`: whether it follows any."""

    def __init__(self, seed: int, folder: Path | None = None, *, streams: bool = True) -> None:
        rng = self.rng = random.Random(seed)
        self.ttl_s = rng.choice([0.5, 2.0, 2.0, 10.0])
        options = DaemonOptions(
            ttl_s=self.ttl_s,
            memory_mb=rng.choice([0.2, 512.0, 512.0]),
            limits=GovernorSettings(weight_share=0.9),
            connections=streams,
        )
        self.world = VirtualDaemon(FEW, options, folder)
        self.lags_ms = rng.choice([[0], [0], [0, 1_500], [0, 2_500]])
        self.control = self.world.exchange.control
        self.control.set_replicas(self.lags_ms, mode="random")
        self.oracle = _Oracle(self.world.exchange, self.lags_ms)
        self.troubled = False
        self.answers = self.refused = 0
        markets = rng.sample(list(Market), rng.choice([1, 2]))
        self.polled = [self._polled(rng.choice(markets)) for _ in range(rng.randint(2, 4))]
        self.paths = [path for path, rule in sorted(KLINE_ENDPOINTS.items()) if rule.market in markets]

    # ------------------------------------------------------------------------------- what happens

    async def run(self, steps: int) -> None:
        await self.world.governor.start()
        for _ in range(steps):
            await self._step()
        await self._end()

    async def _step(self) -> None:
        rng = self.rng
        if rng.random() < 0.2:
            self._make_trouble()
        if rng.random() < 0.1:
            await self._do()
        count = rng.choice([1, 1, 2, 3])
        await asyncio.gather(*(self._ask(self._question()) for _ in range(count)))
        await self._wait()

    async def _wait(self) -> None:
        seconds = self.rng.choice(_STEPS_S)
        if self.rng.random() < 0.25:
            now_ms = self.world.clock.true_ms()
            seconds = (60_000 - now_ms % 60_000 + self.rng.choice(_AFTER_CLOSE_MS)) / 1000
        await self.world.clock.sleep(seconds)

    def _make_trouble(self) -> None:
        rng, control = self.rng, self.control
        market = rng.choice([None, *Market])
        name = None if market is None else market.value
        choices: list[Callable[[], object]] = [
            lambda: control.stream_fault(
                rng.choice(_STREAM_FAULTS), market=name, topic=rng.choice(["", "", "btcusd", "kline_1m"]),
                seconds=rng.choice([0.5, 5.0, 40.0]), delay_s=rng.choice([0.3, 1.5, 8.0]), life_s=rng.choice([1, 10]),
            ),
            lambda: control.fault(rng.choice(_HANDSHAKE_FAULTS), path=rng.choice(_HANDSHAKES), count=rng.randint(1, 4)),
            lambda: control.close_streams(market=name, notice_s=rng.choice([0.0, 0.5, 10.0])),
            self.world.net.pull_the_cable,
            self._plug_in,
            lambda: control.quiet_topics(silent=rng.random() < 0.7),
            self._spoil_reads,
            self._change_trips,
        ]  # fmt: skip
        rng.choice(choices)()

    def _plug_in(self) -> None:
        self.world.net.unplugged = False

    def _spoil_reads(self) -> None:
        self.troubled = True
        self.control.fault(
            self.rng.choice(_READ_FAULTS), path=self.rng.choice(self.paths), count=self.rng.randint(1, 3)
        )

    def _change_trips(self) -> None:
        trip_s = self.rng.choice(_TRIPS_S)
        for path in self.paths:
            self.control.latency(before_s=trip_s, after_s=trip_s, path=path)

    async def _do(self) -> None:
        match self.rng.randrange(4):
            case 0:
                await self.world.cache.purge.run(SeriesFilter(subject=self.rng.choice(["BTCUSDT", "BTCUSD_PERP"])))
            case 1 if self.world.folder is not None:
                await self.world.clock.sleep(1.0)
                await self.world.kill()
                await self._restart()
            case _:
                await self.world.aclose()
                await self._restart()

    async def _restart(self) -> None:
        self.world.restart()
        await self.world.governor.start()
        self.oracle.shown.clear()

    async def _end(self) -> None:
        """All trouble is over: soon frames come again for all that is followed."""
        self.control.clear_faults()
        self.control.clear_stream_faults()
        self._plug_in()
        await self._poll(_BACK_S)
        if self.world.options.memory_mb < 1:
            return  # what is asked for drives one another out
        silent = [key for key in self._followed() if (self._silent_s(key) or 0.0) > _SILENT_S]
        assert silent == [], "topics that trade have frames"

    async def _poll(self, seconds: float) -> None:
        end_s = self.world.clock.now() + seconds
        while self.world.clock.now() < end_s:
            for asked in self.polled:
                await self._ask(_with_limit(asked, 5))
            await self.world.clock.sleep(1.0)

    def _followed(self) -> list[SeriesKey]:
        tails = self.world.cache.stream_tails
        return [] if tails is None else [key for key in tails.followed if key.subject in _BUSY]

    def _silent_s(self, key: SeriesKey) -> float | None:
        topic = topic_of(key)
        assert self.world.connected is not None
        return None if topic is None else self.world.connected.silent_s(key.market, topic)

    # ------------------------------------------------------------------------------- questions

    def _polled(self, market: Market) -> str:
        interval = self.rng.choice(_FED if market is Market.SPOT else _FED[1:])
        return f"{_KLINES[market]}?symbol={self.rng.choice(_FED_SYMBOLS[market])}&interval={interval}"

    def _question(self) -> RandomQuestion:
        if self.rng.random() < 0.8:
            return _with_limit(self.rng.choice(self.polled), self.rng.choice([1, 2, 5, 30]))
        return draw(self.rng, self.world.clock.true_ms(), paths=self.paths)

    async def _ask(self, asked: RandomQuestion) -> None:
        rng, world = self.rng, self.world
        directives = FreshnessDirectives()
        if rng.random() < 0.15:
            directives = FreshnessDirectives(max_age_s=rng.choice([0.2, 1.0, 5.0]), no_cache=rng.random() < 0.2)
        asked_ms = world.clock.true_ms()
        try:
            answer = await self.oracle.ask(world, asked, directives)
        except (UpstreamUnavailable, UpstreamFailed):
            assert self.troubled, asked
            self.refused += 1
            return
        self.answers += 1
        if not answer.settled:
            self.oracle.goes_on(asked, answer)
            if not answer.stale:
                age_ms = asked_ms - answer.as_of_ms
                assert age_ms <= self._max_age_ms(asked, directives), (asked, directives, age_ms)

    def _max_age_ms(self, asked: RandomQuestion, directives: FreshnessDirectives) -> int:
        if directives.no_cache:
            return _CLOCK_MS
        if directives.max_age_s is not None and directives.max_age_s <= self.ttl_s:
            return int(directives.max_age_s * 1000) + _CLOCK_MS
        return (
            max(int(self.ttl_s * 1000), _FRAME_AGE_MS, _EMPTY_AGE_MS if "BTCUSD" not in asked.query else 0) + _CLOCK_MS
        )

    def weight(self) -> int:
        return sum(entry.weight for entry in self.world.exchange.log)


def _with_limit(asked: str, limit: int) -> RandomQuestion:
    path, query = asked.split("?")
    return RandomQuestion(path, f"{query}&limit={limit}")
