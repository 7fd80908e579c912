"""The composition root: makes every part from the settings, joins them, and runs them from start to drain.

Nothing else sees all of them, and nothing here decides anything.
"""

import asyncio
import gc
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

import uvloop

from mdcache import __version__
from mdcache.cache.attic import Attic, NoRest
from mdcache.cache.candles import Candles
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
from mdcache.candles.series import Series
from mdcache.candles.settling import Policy
from mdcache.clock import Clock, Instant, SystemClock, boot_id
from mdcache.events import Events, Failed, Lifecycle
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from mdcache.serving.app import App
from mdcache.serving.asked import Reader
from mdcache.serving.binance import Binance
from mdcache.serving.binance import Sources as BinanceSources
from mdcache.serving.history import History
from mdcache.serving.ops import Hands, Ops
from mdcache.serving.ports import Readiness
from mdcache.serving.ready import Readies
from mdcache.serving.server import serve
from mdcache.serving.status import Sources, Status
from mdcache.settings import Settings, effective
from mdcache.stores.disk import origin
from mdcache.stores.folder import Folder, claim
from mdcache.stores.redis.opened import Opened, Where, open_redis
from mdcache.stores.state import Plan, State, open_state
from mdcache.telemetry.gauges import Gauges
from mdcache.telemetry.log import Log, adopt_foreign, make_logger
from mdcache.telemetry.metrics import Metrics, new_registry
from mdcache.telemetry.stream import PatientWriter
from mdcache.upstream.governor import Governor, Limits, Shared
from mdcache.upstream.rest import Transport

_STALL_SPARE_S = 1.0  # a sent read ends by its own time-out; past that and this its key is free
_LAST_LINES_S = 1.0  # for the log to be written at the end, by then to whoever still reads it
_STDERR = 2
_GC_THRESHOLDS = (50_000, 20, 100)  # a page of 1,000 rows makes 13,000 short-lived objects and no cycle
_OPEN = {"open", "ramp"}


@dataclass(frozen=True, slots=True)
class Daemon:
    """All parts of a running daemon."""

    app: App
    governor: Governor
    library: Library
    flights: Flights
    snapshots: Snapshots
    info: Info
    directory: Directory
    events: Events
    state: State
    warming: Warming
    redis: Opened | None
    copying: Copying

    async def start(self) -> None:
        """Join the other replicas, if there is a Redis to meet them in."""
        if self.redis is not None:
            await self.redis.start()
        await self.governor.start()

    async def aclose(self) -> None:
        """End what is under way, from the clients' side to Binance's; what should rest is on disk then."""
        await self.warming.aclose()
        await self.flights.aclose()
        await self.snapshots.aclose()
        await self.info.aclose()
        await self.library.rest.aclose()
        await self.directory.aclose()
        await self.copying.aclose()
        await self.governor.aclose()
        if self.redis is not None:
            await self.redis.aclose()
        await self.state.aclose()


def build(
    settings: Settings,
    clock: Clock,
    rng: random.Random,
    events: Events,
    *,
    transport: Transport | None = None,
    folder: Folder | None = None,
) -> Daemon:
    """A daemon as `settings` say; a `transport` stands in for the network. Without a `folder` nothing rests."""
    urls = {Market.SPOT: settings.spot_url, Market.USDM: settings.usdm_url, Market.COINM: settings.coinm_url}
    redis = _redis(settings, folder, urls, clock, rng, events)
    governor = Governor(
        clock=clock,
        rng=rng,
        events=events,
        base_urls=urls,
        limits=Limits(
            weight_share=settings.weight_share,
            upstream_concurrency=settings.upstream_concurrency,
            upstream_timeout_s=settings.upstream_timeout_s,
            retry_attempts=settings.retry_attempts,
            backoff_initial_s=settings.backoff_initial_s,
            backoff_max_s=settings.backoff_max_s,
        ),
        transport=transport,
        shared=None if redis is None else Shared(redis.ledger, settings.replicas, redis.names.before, redis.names.sign),
    )
    clocks = governor.clocks
    policy = Policy(round(settings.settle_s * 1000), round(settings.confirm_s * 1000))
    state = _state(settings, folder, urls, governor, clock, events)
    rest = NoRest() if state.disk is None else Attic(state.disk, clock)
    library = Library(clock, events, policy, round(settings.memory_max_mb * 1_000_000), rest)

    def exchange_now(series: Series) -> Instant:
        return clocks.now(series.key.market)

    together = (
        None if redis is None else Together(redis.commons, library, clock, exchange_now, events, governor.refusal_now)
    )
    sharing: Sharing = together or Alone()
    copying: Copying = (
        Single() if redis is None else Copies(redis.copies, clock, clocks.now, events, governor.refusal_now)
    )
    stalled_after_s = settings.upstream_timeout_s + _STALL_SPARE_S
    flights = Flights(governor, library, clock, exchange_now, events, stalled_after_s, sharing)
    directory = Directory(
        governor,
        clock,
        events,
        settings.exchange_info_ttl_s,
        settings.invalid_symbol_ttl_s,
        settings.request_deadline_s,
        state.bodies,
        copying,
    )
    ttls_s = {interval: settings.candle_ttl_s(interval) for interval in INTERVALS}
    limits = CacheLimits(settings.request_deadline_s, settings.max_stale_s, ttls_s)
    candles = Candles(library, flights, directory, clocks, governor, clock, limits)
    warming = Warming(candles, clock, events)
    info = Info(
        library,
        directory,
        clocks,
        clock,
        events,
        settings.exchange_info_ttl_s,
        settings.request_deadline_s,
    )
    snapshots = Snapshots(
        library,
        directory,
        clocks,
        governor,
        clock,
        events,
        SnapshotPolicy(
            settings.request_deadline_s,
            settings.max_stale_s,
            Ttls(settings.snapshot_ttl_s, settings.snapshot_ttls),
            stalled_after_s,
        ),
        copying,
    )
    readies = Readies(library, clocks, clock)
    metrics = Metrics(
        new_registry(),
        __version__,
        settings.clients,
        Gauges(
            families=governor.status,
            flights=lambda: len(flights) + len(snapshots),
            holes=lambda: _holes(library),
            series=lambda: len(library),
            rows=lambda: library.rows,
            rows_bytes=lambda: library.memory.held_bytes,
            memory_max_bytes=lambda: library.memory.max_bytes,
            tiers=lambda: _tiers(state, redis),
        ),
    )
    events.attach(metrics)
    history = History(clock, lambda family: clocks.family_now(family).ms)
    events.attach(history)
    for event in state.found:
        events.emit(event)
    sources = BinanceSources(candles, snapshots, info)
    binance = Binance(sources, readies, clocks, governor, clock, metrics, settings.request_deadline_s)

    def readiness() -> Readiness:
        return _readiness(governor, directory, (*state.troubles, *(redis.troubles if redis is not None else ())))

    shown = {row.name: row.value for row in effective(settings)}

    def redis_status() -> Mapping[str, object]:
        return {} if redis is None else redis.link.status() | {"families": governor.sharing()}

    status = Status(
        Sources(
            version=__version__,
            clock=clock,
            governor=governor,
            library=library,
            flights=flights,
            directory=directory,
            readies=readies,
            readiness=readiness,
            settings=shown,
            history=history,
            requests=metrics.results,
            disk=state.status,
            redis=redis_status,
        )
    )
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    hands = Hands(library, readies, snapshots.bodies, governor, warming, sharing, copying)
    if together is not None:
        together.purging.forget = hands.forget
    ops = Ops(status, readiness, metrics.exposition, hands, token)
    app = App(
        binance,
        ops,
        Reader(settings.clients, settings.compress),
        clock,
        events,
        metrics,
        cors_origins=settings.cors_origins,
        forward=settings.unknown_paths == "forward",
    )
    return Daemon(app, governor, library, flights, snapshots, info, directory, events, state, warming, redis, copying)


def _tiers(state: State, redis: Opened | None) -> dict[str, bool]:
    """Whether each store in use works."""
    disk = {} if state.folder is None else {"disk": not state.troubles}
    return disk if redis is None else disk | {"redis": redis.link.up}


def _redis(
    settings: Settings,
    folder: Folder | None,
    urls: Mapping[Market, str],
    clock: Clock,
    rng: random.Random,
    events: Events,
) -> Opened | None:
    if settings.redis_url is None:
        return None
    where = Where(
        settings.redis_url.get_secret_value(), settings.redis_prefix, settings.redis_timeout_s, settings.egress, folder
    )
    return open_redis(where, {market: origin(url) for market, url in urls.items()}, clock, rng, events)


def _state(
    settings: Settings,
    folder: Folder | None,
    urls: Mapping[Market, str],
    governor: Governor,
    clock: Clock,
    events: Events,
) -> State:
    """What outlives this process; the governor goes by what the last one was told from here on."""
    if folder is None:
        return State()
    plan = Plan(
        egress=settings.egress,
        origins={market: origin(url) for market, url in urls.items()},
        rows_bytes=settings.disk_max_mb * 1_000_000 if settings.persist else 0,
        boot=boot_id(),
    )
    return open_state(folder, plan, governor, clock, events)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Raises `OSError` where the address can't be had, or another daemon works in the folder.
    """
    _open_standard_streams()
    folder = claim(settings.state_dir)
    lines = PatientWriter(_STDERR)
    try:
        uvloop.run(_run(settings, folder, lines.as_text()))
    finally:
        lines.drain(_LAST_LINES_S)
        folder.release()


def _open_standard_streams() -> None:
    """Where one was closed by who started us, a socket would get its number, and libuv aborts at that."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(fd)


async def _run(settings: Settings, folder: Folder, lines: TextIO) -> None:
    clock = SystemClock()
    logger = make_logger(clock, settings.log_level, settings.log_format, lines)
    adopt_foreign(logger)
    events = Events(Log(logger, clock))
    daemon = build(settings, clock, random.Random(), events, folder=folder)
    if settings.ignored:
        events.emit(Lifecycle("ignored", "service links in the environment: " + ", ".join(settings.ignored)))
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: _lost(events, context))

    gc.collect()
    gc.freeze()  # what was made by now stays: no collection need look at it again
    gc.set_threshold(*_GC_THRESHOLDS)

    def ready(addresses: Sequence[str]) -> None:
        events.emit(Lifecycle("serving", f"mdcache {__version__} on " + ", ".join(addresses)))

    try:
        await daemon.start()
        await serve(daemon.app, settings.host, settings.port, settings.shutdown_grace_s, ready)
    finally:
        await daemon.aclose()
        events.emit(Lifecycle("stopped", "drained"))


def _lost(events: Events, context: Mapping[str, object]) -> None:
    """An exception nobody awaited: say so, and go on."""
    error = context.get("exception")
    detail = f"{context.get('message')}: {type(error).__name__ if error else ''} {error or ''}"
    events.emit(Failed("loop", detail))


def _holes(library: Library) -> dict[str, int]:
    found = dict.fromkeys((market.value for market in Market), 0)
    for series in library:
        found[series.key.market.value] += series.holes()
    return found


def _readiness(governor: Governor, directory: Directory, troubles: tuple[str, ...]) -> Readiness:
    """It can answer if any family may be asked, or could be: what was read is served in a ban too."""
    shut = [
        f"{family.family}: gate {family.gate_state} ({family.gate_reason}), reopens in {family.reopens_in_s:.0f} s"
        for family in governor.status()
        if family.gate_state not in _OPEN
    ]
    known = any(directory.symbols(market).names for market in Market)
    if len(shut) == len(governor.status()) and not known:
        return Readiness(reasons=tuple(shut))
    return Readiness(degraded=(*shut, *troubles))
