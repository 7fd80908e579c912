"""The whole daemon but its sockets, and the exchange behind it, in one process and in the fake clock's time."""

import asyncio
import json
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mdcache.cache.answers import Caller
from mdcache.cache.candles import CandleLimits, Candles, KlineAnswer
from mdcache.cache.exchange_info import ExchangeInfo
from mdcache.cache.flights import Flights
from mdcache.cache.replicas.bodies import SharedBodies
from mdcache.cache.replicas.body_ports import BodySharing, NoBodySharing
from mdcache.cache.replicas.row_ports import NoRowSharing, RowSharing
from mdcache.cache.replicas.rows import SharedRows
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.snapshots import SnapshotPolicy, Snapshots
from mdcache.cache.symbols import SymbolTable
from mdcache.cache.ttls import SnapshotTtls
from mdcache.cache.warmup import Warmup
from mdcache.cache.write_behind import NoPersistence, Persistence, WriteBehind
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.candles.persistence import SeriesFilter
from mdcache.candles.settling import SettlePolicy
from mdcache.candles.shared_rows import SharedRowStore
from mdcache.events import Event, Events
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import parse_klines
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.sim import Exchange, SimConfig
from mdcache.stores.disk.schema import Connect, connect
from mdcache.stores.disk.state import PersistenceSettings, PersistentState, open_state
from mdcache.stores.disk.state_dir import StateDir
from mdcache.upstream.governor import Governor, GovernorSettings
from mdcache.upstream.replicas.shared_bodies import SharedBodyStore
from tests.support.sim_transport import SimTransport
from tests.support.virtual_time import VirtualClock


@dataclass
class DaemonOptions:
    """Settings of a world that tests vary; docs/design.md#settings defaults."""

    ttl_s: float = 2.0
    max_stale_s: float = 30.0
    deadline_s: float = 8.0
    memory_mb: float = 512.0
    limits: GovernorSettings = field(default_factory=GovernorSettings)
    wall_step_ms: int = 0
    origin: str = "http://exchange.test"
    disk_bytes: int = 1 << 30
    boot: str = "first"
    egress: str = "default"


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

    Replicas live `beside` the first one, before its exchange and in its time, and meet in `commons`.
    """

    def __init__(
        self,
        config: SimConfig | None = None,
        options: DaemonOptions | None = None,
        folder: Path | None = None,
        connect: Connect = connect,
        beside: "VirtualDaemon | None" = None,
        commons: SharedRowStore | None = None,
    ) -> None:
        self.folder = folder
        self.connect = connect
        self.commons = commons
        self.copies: SharedBodyStore | None = None
        self.clock: VirtualClock = VirtualClock() if beside is None else beside.clock
        self.options = options or DaemonOptions()
        self.clock.step_ms = self.options.wall_step_ms
        self.exchange: Exchange = Exchange(config, now_ms=self.clock.true_ms) if beside is None else beside.exchange
        self.transport: httpx.AsyncBaseTransport = SimTransport(self.exchange, self.clock)
        self.events: list[Event] = []
        self.as_of_error_ms = [0]  # how far the exchange's own time may be from an as-of
        self.restart()

    def restart(self) -> None:
        """A new process: nothing of the old one's memory is left."""
        options = self.options
        self.bus = events = Events(self.events.append)
        self.governor = Governor(
            clock=self.clock,
            rng=random.Random(7),
            events=events,
            base_urls=dict.fromkeys(Market, "http://exchange.test"),
            settings=options.limits,
            transport=self.transport,
            trust_env=False,
        )
        clocks = self.governor.clocks
        self.state = PersistentState()
        if self.folder is not None:
            origins = dict.fromkeys(Market, options.origin)
            plan = PersistenceSettings(
                options.egress, origins, options.disk_bytes, options.boot, lambda _: InlineExecutor(), self.connect
            )
            self.state = open_state(StateDir(self.folder), plan, self.governor, self.clock, events)
        rest: Persistence = NoPersistence() if self.state.disk is None else WriteBehind(self.state.disk, self.clock)
        memory_bytes = int(options.memory_mb * 1_000_000)
        self.library = SeriesRegistry(self.clock, events, SettlePolicy(3_000, 60_000), memory_bytes, rest)
        self.flights = Flights(
            self.governor,
            self.library,
            self.clock,
            lambda series: clocks.now(series.key.market),
            events,
            stalled_after_s=options.limits.upstream_timeout_s + 1,
            sharing=self._sharing(events),
        )
        self.copying: BodySharing = NoBodySharing()
        if self.copies is not None:
            self.copying = SharedBodies(self.copies, self.clock, clocks.now, events, self.governor.refusal_now)
        self.directory = SymbolTable(
            self.governor, self.clock, events, 300.0, 60.0, options.deadline_s, self.state.bodies, self.copying
        )
        limits = CandleLimits(options.deadline_s, options.max_stale_s, dict.fromkeys(INTERVALS, options.ttl_s))
        self.candles = Candles(self.library, self.flights, self.directory, clocks, self.governor, self.clock, limits)

        self.warming = Warmup(self.candles, self.clock, events)
        self.info = ExchangeInfo(self.library, self.directory, clocks, self.clock, events, 300.0, options.deadline_s)
        policy = SnapshotPolicy(
            options.deadline_s, options.max_stale_s, SnapshotTtls(1.0, {}), options.limits.upstream_timeout_s + 1
        )
        self.snapshots = Snapshots(
            self.library, self.directory, clocks, self.governor, self.clock, events, policy, self.copying
        )

    def _sharing(self, events: Events) -> RowSharing:
        if self.commons is None:
            return NoRowSharing()
        clocks = self.governor.clocks
        together = SharedRows(
            self.commons,
            self.library,
            self.clock,
            lambda series: clocks.now(series.key.market),
            events,
            self.governor.refusal_now,
        )
        together.purges.forget = self.forget
        return together

    async def forget(self, which: SeriesFilter) -> None:
        """What a purge does to this process."""
        self.library.forget(which)
        await self.library.persistence.purge(which)

    async def ask(
        self,
        path: str,
        query: str,
        *,
        headers: dict[str, str] | None = None,
        wishes: FreshnessDirectives | None = None,
        caller: Caller | None = None,
    ) -> KlineAnswer:
        """One kline question through the data path."""
        question = parse_klines(KLINE_ENDPOINTS[path], query, headers or {})
        return await self.candles.answer(question, wishes or FreshnessDirectives(), caller or Caller())

    async def aclose(self) -> None:
        """An orderly end."""
        await self.warming.aclose()
        await self.flights.aclose()
        await self.snapshots.aclose()
        await self.info.aclose()
        await self.library.persistence.aclose()
        await self.directory.aclose()
        await self.copying.aclose()
        await self.governor.aclose()
        await self.state.aclose()

    async def kill(self) -> None:
        """The process is gone: what was not written by now never is."""
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
    found: list[list[object]] = json.loads(answer.body)
    return found
