"""The daemon without its sockets, in front of a fake exchange, in one process and in virtual time."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec

from mdcache.cache.answers import Caller
from mdcache.cache.kline_answers import KlineAnswer
from mdcache.cache.stream_frames import StreamFrames
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.shared_rows import SharedRowStore
from mdcache.daemon.build import persistence_settings
from mdcache.daemon.build_cache import SharedStores, build_audit, build_cache
from mdcache.daemon.build_upstream import build_streams, build_upstream
from mdcache.daemon.taken_profile import TakenProfile, settle_times
from mdcache.events import Event, Events
from mdcache.exchange.klines import parse_klines
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.measured import take
from mdcache.exchange.profile import Profile
from mdcache.relay.ports import ListenedStreams
from mdcache.settings import Settings
from mdcache.sim import Exchange, SimConfig
from mdcache.sim.default_symbols import default_symbols
from mdcache.stores.disk.schema import Connect, connect
from mdcache.stores.disk.state import PersistentState, open_state
from mdcache.stores.disk.state_dir import StateDir
from mdcache.stores.redis.setup import RedisParts
from mdcache.upstream.governor import GovernorSettings
from mdcache.upstream.replicas.shared_bodies import SharedBodyStore
from mdcache.upstream.streams.ports import FrameRelay
from mdcache.upstream.streams.streams import Streams
from tests.support.direct_streams import DirectStreams
from tests.support.sim_streams import SimStreams
from tests.support.sim_transport import SimTransport
from tests.support.virtual_time import VirtualClock, close_at_end

_STREAM_URLS = {
    "spot_ws_url": "ws://exchange.test",
    "usdm_ws_url": "ws://exchange.test/usdm",
    "coinm_ws_url": "ws://exchange.test/coinm",
}


@dataclass
class DaemonOptions:
    """Settings of a world that tests vary; docs/design.md#settings defaults.

    `ttl_s` counts for every interval; `None`: the default TTLs. `streams`: whose frames always arrive; `connections`:
    streams over the daemon's own connections, which may fail.
    """

    ttl_s: float | None = 2.0
    max_stale_s: float = 30.0
    deadline_s: float = 8.0
    memory_mb: float = 512.0
    limits: GovernorSettings = field(default_factory=GovernorSettings)
    wall_step_ms: int = 0
    origin: str = "http://exchange.test"
    disk_bytes: int = 1 << 30
    boot: str = "first"
    egress: str = "default"
    streams: bool = False
    connections: bool = False
    derive: bool = True
    audit_rows_per_hour: int = 0
    profile: Profile | None = None
    replicas: int = 2

    def settings(self) -> Settings:
        """As the daemon's own; not validated, so that memory may be a part of a megabyte."""
        urls = dict.fromkeys(("spot_url", "usdm_url", "coinm_url"), "http://exchange.test")
        ttls = {} if self.ttl_s is None else {"open_candle_ttl_s": self.ttl_s, "open_candle_ttls": {}}
        return Settings().model_copy(
            update={
                **urls,
                **ttls,
                "max_stale_s": self.max_stale_s,
                "request_deadline_s": self.deadline_s,
                "memory_max_mb": self.memory_mb,
                "egress": self.egress,
                "derive": self.derive,
                "audit_rows_per_hour": self.audit_rows_per_hour,
                "replicas": self.replicas,
                **asdict(self.limits),
            }
        )


def few_symbols(*names: str, limit: int = 1_000_000) -> SimConfig:
    """The exchange with these symbols alone, and hardly a limit: the tickers of all are what a virtual minute costs."""
    symbols = tuple(spec for spec in default_symbols() if spec.symbol in names)
    return SimConfig(spot_limit=limit, futures_limit=limit, symbols=symbols)


class InlineExecutor(Executor):
    """Jobs run at once, in the caller's own thread: a loop in virtual time can't wait for another."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future


class VirtualDaemon:
    """`exchange` and a daemon before it; `restart` makes a new daemon that knows what is in `folder`, if anything.

    Replicas live `beside` the first one, before its exchange and in its time, and meet in `row_store`.
    """

    def __init__(
        self,
        config: SimConfig | None = None,
        options: DaemonOptions | None = None,
        folder: Path | None = None,
        connect: Connect = connect,
        beside: "VirtualDaemon | None" = None,
        row_store: SharedRowStore | None = None,
        clock: VirtualClock | None = None,
    ) -> None:
        self.folder = folder
        self.connect = connect
        self.row_store = row_store
        self.body_store: SharedBodyStore | None = None
        self.redis: RedisParts | None = None
        self.clock: VirtualClock = (clock or VirtualClock()) if beside is None else beside.clock
        self.options = options or DaemonOptions()
        self.clock.step_ms = self.options.wall_step_ms
        self.exchange: Exchange = Exchange(config, now_ms=self.clock.true_ms) if beside is None else beside.exchange
        self.transport: httpx.AsyncBaseTransport = SimTransport(self.exchange, self.clock)
        self.net = SimStreams(self.exchange, self.clock)
        self.connected: Streams | None = None
        self.events: list[Event] = []
        self.as_of_error_ms = [0]  # how far the exchange's own time may be from an as-of
        self.runs = False
        self.restart()
        close_at_end(self.aclose)

    def restart(self) -> None:
        """A new process: nothing of the old one's memory is left."""
        self.runs = True
        self.bus = events = Events(self.events.append)
        settings = self.options.settings()
        self.governor = build_upstream(
            settings, self.clock, random.Random(7), events, redis=self.redis, transport=self.transport
        )
        self.state = PersistentState()
        if self.folder is not None:
            kept = replace(
                persistence_settings(settings),
                origins=dict.fromkeys(Market, self.options.origin),
                max_row_bytes=self.options.disk_bytes,
                boot_id=self.options.boot,
                thread=self.thread,
                connect=self.connect,
            )
            self.state = open_state(StateDir(self.folder), kept, self.governor, self.clock, events)
        self.cache = build_cache(
            settings,
            self.governor,
            self.state,
            self.clock,
            events,
            shared=SharedStores(self.row_store, self.body_store),
            profile=TakenProfile(measured=take(self.options.profile, settle_times(settings))),
            open_streams=self._open_streams(),
        )
        if self.cache.stream_tails is not None:
            self.cache.stream_tails.start()
        if self.cache.mender is not None:
            self.cache.mender.start()
        self.library = self.cache.registry
        self.flights = self.cache.flights
        self.candles = self.cache.candles
        self.info = self.cache.exchange_info
        self.snapshots = self.cache.snapshots
        self.warming = self.cache.warmup
        self.audit = build_audit(settings, self.governor, self.cache, self.clock, random.Random(7), events)
        self.audit.start_schedule()

    def thread(self, _name: str) -> Executor:
        """Return what a store's jobs run in."""
        return InlineExecutor()

    async def ask(
        self,
        path: str,
        query: str,
        *,
        headers: dict[str, str] | None = None,
        directives: FreshnessDirectives | None = None,
        caller: Caller | None = None,
    ) -> KlineAnswer:
        """One kline question through the data path."""
        question = parse_klines(KLINE_ENDPOINTS[path], query, headers or {})
        return await self.candles.answer(question, directives or FreshnessDirectives(), caller or Caller())

    def _open_streams(self) -> Callable[[StreamFrames, FrameRelay], ListenedStreams] | None:
        if self.options.connections:
            return self._connect_streams
        return self._open_direct_streams if self.options.streams else None

    def _connect_streams(self, sink: StreamFrames, relay: FrameRelay) -> Streams:
        settings = Settings().model_copy(update=_STREAM_URLS)
        build = build_streams(
            settings, self.governor, self.clock, random.Random(7), self.bus, redis=self.redis, connect=self.net
        )
        assert build is not None
        self.connected = build(sink, relay)
        return self.connected

    def _open_direct_streams(self, sink: StreamFrames, relay: FrameRelay) -> DirectStreams:
        self.streams = DirectStreams(self.exchange, self.clock, sink, relay)
        return self.streams

    async def aclose(self) -> None:
        """An orderly end; nothing if it has ended."""
        if self.runs:
            self.runs = False
            await self.audit.aclose()
            await self.cache.aclose()
            await self.governor.aclose()
            await self.state.aclose()

    async def kill(self) -> None:
        """The process is gone: what was not written by now never is."""
        self.runs = False
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)
        if self.state.disk is not None:
            self.state.disk._file.close()

    def calls(self, since: int = 0, ending: str = "lines") -> list[str]:
        """Kline requests that reached the exchange, as path?query, without the first `since` of them."""
        log = [entry for entry in self.exchange.log if entry.path.lower().endswith(ending)]
        return [f"{entry.path}?{entry.query}" for entry in log[since:]]

    def event_count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def matching_events(self, want: Callable[[Event], bool]) -> list[Event]:
        return [event for event in self.events if want(event)]


def rows(answer: KlineAnswer) -> list[list[object]]:
    found: list[list[object]] = msgspec.json.decode(answer.body)
    return found


async def ready(w: VirtualDaemon, symbol: str = "ETHUSDT", path: str = "/api/v3/klines") -> VirtualDaemon:
    """Have the clock measured and the symbols known: what remains are kline calls."""
    await w.ask(path, f"symbol={symbol}&interval=1d&limit=1&startTime=0&endTime=1")
    return w
