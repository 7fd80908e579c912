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
from mdcache.cache.candles import CandleLimits, Candles
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
from mdcache.cache.write_behind import NoPersistence, WriteBehind
from mdcache.candles.series import Series
from mdcache.candles.settling import SettlePolicy
from mdcache.clock import Clock, Instant, SystemClock, boot_id
from mdcache.events import BackgroundTaskFailed, DaemonLifecycle, Events
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from mdcache.serving.app import App
from mdcache.serving.binance.handler import AnswerSources as BinanceSources
from mdcache.serving.binance.handler import BinanceHandler
from mdcache.serving.binance.ready_answers import ReadyAnswers
from mdcache.serving.binance.request import RequestParser
from mdcache.serving.http.server import serve
from mdcache.serving.ops.activity import Activity
from mdcache.serving.ops.operations import CommandTargets, OpsApp
from mdcache.serving.ops.status import Status, StatusSources
from mdcache.serving.ports import Readiness
from mdcache.settings import Settings, effective
from mdcache.stores.disk.row_store import origin
from mdcache.stores.disk.state import PersistenceSettings, PersistentState, open_state
from mdcache.stores.disk.state_dir import StateDir, open_state_dir
from mdcache.stores.redis.setup import Opened, Where, open_redis
from mdcache.telemetry.gauges import GaugeSources
from mdcache.telemetry.log import LogSink, adopt_library_logs, make_logger
from mdcache.telemetry.log_writer import NonBlockingWriter
from mdcache.telemetry.metrics import Metrics, new_registry
from mdcache.upstream.governor import Governor, GovernorSettings, Shared
from mdcache.upstream.http_client import Transport

_STALL_SPARE_S = 1.0  # a sent read ends by its own time-out; past that and this its key is free
_LOG_DRAIN_S = 1.0  # for the log to be written at the end, by then to whoever still reads it
_STDERR = 2
_GC_THRESHOLDS = (50_000, 20, 100)  # a page of 1,000 rows makes 13,000 short-lived objects and no cycle
_OPEN = {"open", "ramp"}


@dataclass(frozen=True, slots=True)
class Daemon:
    """All parts of a running daemon."""

    app: App
    governor: Governor
    registry: SeriesRegistry
    flights: Flights
    snapshots: Snapshots
    exchange_info: ExchangeInfo
    symbols: SymbolTable
    events: Events
    state: PersistentState
    warmup: Warmup
    redis: Opened | None
    body_sharing: BodySharing

    async def start(self) -> None:
        """Join the other replicas, if there is a Redis to meet them in."""
        if self.redis is not None:
            await self.redis.start()
        await self.governor.start()

    async def aclose(self) -> None:
        """End what is under way, from the clients' side to Binance's; what should rest is on disk then."""
        await self.warmup.aclose()
        await self.flights.aclose()
        await self.snapshots.aclose()
        await self.exchange_info.aclose()
        await self.registry.persistence.aclose()
        await self.symbols.aclose()
        await self.body_sharing.aclose()
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
    folder: StateDir | None = None,
) -> Daemon:
    """A daemon as `settings` say; a `transport` stands in for the network. Without a `folder` nothing rests."""
    urls = {Market.SPOT: settings.spot_url, Market.USDM: settings.usdm_url, Market.COINM: settings.coinm_url}
    redis = _redis(settings, folder, urls, clock, rng, events)
    governor = Governor(
        clock=clock,
        rng=rng,
        events=events,
        base_urls=urls,
        settings=GovernorSettings(
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
    policy = SettlePolicy(round(settings.settle_s * 1000), round(settings.confirm_s * 1000))
    state = _state(settings, folder, urls, governor, clock, events)
    rest = NoPersistence() if state.disk is None else WriteBehind(state.disk, clock)
    library = SeriesRegistry(clock, events, policy, round(settings.memory_max_mb * 1_000_000), rest)

    def exchange_now(series: Series) -> Instant:
        return clocks.now(series.key.market)

    together = (
        None if redis is None else SharedRows(redis.commons, library, clock, exchange_now, events, governor.refusal_now)
    )
    sharing: RowSharing = together or NoRowSharing()
    copying: BodySharing = (
        NoBodySharing()
        if redis is None
        else SharedBodies(redis.copies, clock, clocks.now, events, governor.refusal_now)
    )
    stalled_after_s = settings.upstream_timeout_s + _STALL_SPARE_S
    flights = Flights(governor, library, clock, exchange_now, events, stalled_after_s, sharing)
    directory = SymbolTable(
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
    limits = CandleLimits(settings.request_deadline_s, settings.max_stale_s, ttls_s)
    candles = Candles(library, flights, directory, clocks, governor, clock, limits)
    warming = Warmup(candles, clock, events)
    info = ExchangeInfo(
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
            SnapshotTtls(settings.snapshot_ttl_s, settings.snapshot_ttls),
            stalled_after_s,
        ),
        copying,
    )
    readies = ReadyAnswers(library, clocks, clock)
    metrics = Metrics(
        new_registry(),
        __version__,
        settings.clients,
        GaugeSources(
            families=governor.status,
            flights=lambda: len(flights) + len(snapshots),
            holes=lambda: _count_holes(library),
            series=lambda: len(library),
            rows=lambda: library.rows,
            rows_bytes=lambda: library.memory.held_bytes,
            memory_max_bytes=lambda: library.memory.max_bytes,
            tiers=lambda: _tiers(state, redis),
        ),
    )
    events.attach(metrics)
    history = Activity(clock, lambda family: clocks.family_now(family).ms)
    events.attach(history)
    for event in state.startup_events:
        events.emit(event)
    sources = BinanceSources(candles, snapshots, info)
    binance = BinanceHandler(sources, readies, clocks, governor, clock, metrics, settings.request_deadline_s)

    def readiness() -> Readiness:
        return _readiness(governor, directory, (*state.troubles, *(redis.troubles if redis is not None else ())))

    shown = {row.name: row.value for row in effective(settings)}

    def redis_status() -> Mapping[str, object]:
        return {} if redis is None else redis.link.status() | {"families": governor.sharing()}

    status = Status(
        StatusSources(
            version=__version__,
            clock=clock,
            governor=governor,
            registry=library,
            flights=flights,
            symbols=directory,
            ready_answers=readies,
            readiness=readiness,
            settings=shown,
            activity=history,
            requests=metrics.results,
            disk=state.status,
            redis=redis_status,
        )
    )
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    hands = CommandTargets(library, readies, snapshots.bodies, governor, warming, sharing, copying)
    if together is not None:
        together.purges.forget = hands.purge
    ops = OpsApp(status, readiness, metrics.page, hands, token)
    app = App(
        binance,
        ops,
        RequestParser(settings.clients, settings.compress),
        clock,
        events,
        metrics,
        cors_origins=settings.cors_origins,
        forward=settings.unknown_paths == "forward",
    )
    return Daemon(app, governor, library, flights, snapshots, info, directory, events, state, warming, redis, copying)


def _tiers(state: PersistentState, redis: Opened | None) -> dict[str, bool]:
    """Whether each store in use works."""
    disk = {} if state.state_dir is None else {"disk": not state.troubles}
    return disk if redis is None else disk | {"redis": redis.link.up}


def _redis(
    settings: Settings,
    folder: StateDir | None,
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
    folder: StateDir | None,
    urls: Mapping[Market, str],
    governor: Governor,
    clock: Clock,
    events: Events,
) -> PersistentState:
    """What outlives this process; the governor goes by what the last one was told from here on."""
    if folder is None:
        return PersistentState()
    plan = PersistenceSettings(
        egress=settings.egress,
        origins={market: origin(url) for market, url in urls.items()},
        max_row_bytes=settings.disk_max_mb * 1_000_000 if settings.persist else 0,
        boot_id=boot_id(),
    )
    return open_state(folder, plan, governor, clock, events)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Raises `OSError` where the address can't be had, or another daemon works in the folder.
    """
    _open_standard_streams()
    folder = open_state_dir(settings.state_dir)
    lines = NonBlockingWriter(_STDERR)
    try:
        uvloop.run(_run(settings, folder, lines.as_text()))
    finally:
        lines.drain(_LOG_DRAIN_S)
        folder.release()


def _open_standard_streams() -> None:
    """Where one was closed by who started us, a socket would get its number, and libuv aborts at that."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(fd)


async def _run(settings: Settings, folder: StateDir, lines: TextIO) -> None:
    clock = SystemClock()
    logger = make_logger(clock, settings.log_level, settings.log_format, lines)
    adopt_library_logs(logger)
    events = Events(LogSink(logger, clock))
    daemon = build(settings, clock, random.Random(), events, folder=folder)
    if settings.ignored:
        events.emit(DaemonLifecycle("ignored", "service links in the environment: " + ", ".join(settings.ignored)))
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: _report_unhandled(events, context))

    gc.collect()
    gc.freeze()  # what was made by now stays: no collection need look at it again
    gc.set_threshold(*_GC_THRESHOLDS)

    def ready(addresses: Sequence[str]) -> None:
        events.emit(DaemonLifecycle("serving", f"mdcache {__version__} on " + ", ".join(addresses)))

    try:
        await daemon.start()
        await serve(daemon.app, settings.host, settings.port, settings.shutdown_grace_s, ready)
    finally:
        await daemon.aclose()
        events.emit(DaemonLifecycle("stopped", "drained"))


def _report_unhandled(events: Events, context: Mapping[str, object]) -> None:
    """An exception nobody awaited: say so, and go on."""
    error = context.get("exception")
    detail = f"{context.get('message')}: {type(error).__name__ if error else ''} {error or ''}"
    events.emit(BackgroundTaskFailed("loop", detail))


def _count_holes(library: SeriesRegistry) -> dict[str, int]:
    found = dict.fromkeys((market.value for market in Market), 0)
    for series in library:
        found[series.key.market.value] += series.holes()
    return found


def _readiness(governor: Governor, directory: SymbolTable, troubles: tuple[str, ...]) -> Readiness:
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
