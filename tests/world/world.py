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
from mdcache.cache.attic import Attic, NoRest, Rest
from mdcache.cache.candles import Candles, Candlesticks
from mdcache.cache.candles import Limits as CacheLimits
from mdcache.cache.copies import Copies
from mdcache.cache.copying import Copying, Single
from mdcache.cache.directory import Directory
from mdcache.cache.flights import Flights
from mdcache.cache.info import Info
from mdcache.cache.library import Library
from mdcache.cache.sharing import Alone, Sharing
from mdcache.cache.snapshots import Policy as SnapshotPolicy
from mdcache.cache.snapshots import Snapshots
from mdcache.cache.together import Together
from mdcache.cache.ttls import Ttls
from mdcache.cache.warming import Warming
from mdcache.candles.atrest import Which
from mdcache.candles.commons import Commons
from mdcache.candles.freshness import Wishes
from mdcache.candles.settling import Policy
from mdcache.events import Event, Events
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import KLINE_PATHS, Market
from mdcache.exchange.questions import parse
from mdcache.sim import Exchange, SimConfig
from mdcache.stores.folder import Folder
from mdcache.stores.schema import Connect, connect
from mdcache.stores.state import Plan, State, open_state
from mdcache.upstream.copies import CopyStore
from mdcache.upstream.governor import Governor, Limits
from tests.world.loop import FakeClock
from tests.world.network import SimTransport


@dataclass
class Options:
    """Settings of a world that tests vary; DESIGN 3's defaults."""

    ttl_s: float = 2.0
    max_stale_s: float = 30.0
    deadline_s: float = 8.0
    memory_mb: float = 512.0
    limits: Limits = field(default_factory=Limits)
    wall_step_ms: int = 0
    origin: str = "http://exchange.test"
    disk_bytes: int = 1 << 30
    boot: str = "first"
    egress: str = "default"


class Inline(Executor):
    """Jobs run at once, in the caller's own thread: a loop in virtual time can't wait for another."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future


class World:
    """`exchange` and a daemon before it; `restart` makes a new daemon that knows what is in `folder`, if anything.

    Replicas live `beside` the first one, before its exchange and in its time, and meet in `commons`.
    """

    def __init__(
        self,
        config: SimConfig | None = None,
        options: Options | None = None,
        folder: Path | None = None,
        connect: Connect = connect,
        beside: "World | None" = None,
        commons: Commons | None = None,
    ) -> None:
        self.folder = folder
        self.connect = connect
        self.commons = commons
        self.copies: CopyStore | None = None
        self.clock: FakeClock = FakeClock() if beside is None else beside.clock
        self.options = options or Options()
        self.clock.step_ms = self.options.wall_step_ms
        self.exchange: Exchange = Exchange(config, now_ms=self.clock.true_ms) if beside is None else beside.exchange
        self.transport: httpx.AsyncBaseTransport = SimTransport(self.exchange, self.clock)
        self.events: list[Event] = []
        self.off_ms = [0]  # how far the exchange's own time may be from an as-of
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
            limits=options.limits,
            transport=self.transport,
            trust_env=False,
        )
        clocks = self.governor.clocks
        self.state = State()
        if self.folder is not None:
            origins = dict.fromkeys(Market, options.origin)
            plan = Plan(options.egress, origins, options.disk_bytes, options.boot, lambda _: Inline(), self.connect)
            self.state = open_state(Folder(self.folder), plan, self.governor, self.clock, events)
        rest: Rest = NoRest() if self.state.disk is None else Attic(self.state.disk, self.clock)
        memory_bytes = int(options.memory_mb * 1_000_000)
        self.library = Library(self.clock, events, Policy(3_000, 60_000), memory_bytes, rest)
        self.flights = Flights(
            self.governor,
            self.library,
            self.clock,
            lambda series: clocks.now(series.key.market),
            events,
            stalled_after_s=options.limits.upstream_timeout_s + 1,
            sharing=self._sharing(events),
        )
        self.copying: Copying = Single()
        if self.copies is not None:
            self.copying = Copies(self.copies, self.clock, clocks.now, events, self.governor.refusal_now)
        self.directory = Directory(
            self.governor, self.clock, events, 300.0, 60.0, options.deadline_s, self.state.bodies, self.copying
        )
        limits = CacheLimits(options.deadline_s, options.max_stale_s, dict.fromkeys(INTERVALS, options.ttl_s))
        self.candles = Candles(self.library, self.flights, self.directory, clocks, self.governor, self.clock, limits)

        self.warming = Warming(self.candles, self.clock, events)
        self.info = Info(self.library, self.directory, clocks, self.clock, events, 300.0, options.deadline_s)
        policy = SnapshotPolicy(
            options.deadline_s, options.max_stale_s, Ttls(1.0, {}), options.limits.upstream_timeout_s + 1
        )
        self.snapshots = Snapshots(
            self.library, self.directory, clocks, self.governor, self.clock, events, policy, self.copying
        )

    def _sharing(self, events: Events) -> Sharing:
        if self.commons is None:
            return Alone()
        clocks = self.governor.clocks
        together = Together(
            self.commons,
            self.library,
            self.clock,
            lambda series: clocks.now(series.key.market),
            events,
            self.governor.refusal_now,
        )
        together.purging.forget = self.forget
        return together

    async def forget(self, which: Which) -> None:
        """What a purge does to this process."""
        self.library.forget(which)
        await self.library.rest.purge(which)

    async def ask(
        self,
        path: str,
        query: str,
        *,
        headers: dict[str, str] | None = None,
        wishes: Wishes | None = None,
        caller: Caller | None = None,
    ) -> Candlesticks:
        """One kline question through the data path."""
        question = parse(KLINE_PATHS[path], query, headers or {})
        return await self.candles.answer(question, wishes or Wishes(), caller or Caller())

    async def aclose(self) -> None:
        """An orderly end."""
        await self.warming.aclose()
        await self.flights.aclose()
        await self.snapshots.aclose()
        await self.info.aclose()
        await self.library.rest.aclose()
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

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def seen(self, want: Callable[[Event], bool]) -> list[Event]:
        return [event for event in self.events if want(event)]


def rows(answer: Candlesticks) -> list[list[object]]:
    found: list[list[object]] = json.loads(answer.body)
    return found
