"""Build every part of the daemon from the settings, one layer after the other, and connect them.

Nothing here decides anything. Tests build their daemons from the same parts.
"""

import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from mdcache import __version__
from mdcache.cache.book_starts import BookStarts
from mdcache.cache.candles import CandleLimits, Candles
from mdcache.cache.derivations import Derivations
from mdcache.cache.exchange_info import ExchangeInfo, ExchangeInfoPolicy
from mdcache.cache.flights import Flights
from mdcache.cache.idle_blocks import IdleBlocks
from mdcache.cache.live_tails import LiveTails, NoLiveTails, TailSources
from mdcache.cache.preconditions import check_preconditions
from mdcache.cache.purge import LocalPurge, Purge
from mdcache.cache.replicas.bodies import SharedBodies
from mdcache.cache.replicas.rows import SharedRows
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.settled_rows import SettledRows
from mdcache.cache.settling_reads import SettlingReads
from mdcache.cache.sharing import BodySharing, NoSharing, RowSharing
from mdcache.cache.snapshots import SnapshotPolicy, Snapshots
from mdcache.cache.stream_frames import StreamFrames
from mdcache.cache.stream_status import StreamsStatus, of_every_market
from mdcache.cache.stream_tails import StreamTails
from mdcache.cache.symbols import SymbolTable
from mdcache.cache.tail_sources import count_tails
from mdcache.cache.ttls import SnapshotTtls
from mdcache.cache.warmup import Warmup
from mdcache.cache.wipes import Wipes
from mdcache.cache.write_behind import NoPersistence, WriteBehind
from mdcache.candles.series import Series
from mdcache.candles.settling import SettlePolicy
from mdcache.candles.shared_rows import SharedRowStore
from mdcache.clock import Clock, Instant, boot_id
from mdcache.daemon.allocator import give_memory_back
from mdcache.daemon.build_native import native_answers
from mdcache.daemon.build_upstream import build_redis, build_streams, build_upstream, origins
from mdcache.daemon.readiness import readiness
from mdcache.daemon.summaries import Summaries
from mdcache.errors import GateClosed
from mdcache.events import Events
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from mdcache.relay.mender import Mender
from mdcache.relay.ports import ListenedStreams
from mdcache.relay.relay import Relay
from mdcache.serving.app import App, Handlers
from mdcache.serving.binance.handler import AnswerSources, BinanceHandler
from mdcache.serving.binance.ready_answers import ReadyAnswers
from mdcache.serving.binance.request import RequestParser
from mdcache.serving.hits import Hits
from mdcache.serving.listener_status import ListenersStatus, listeners_status
from mdcache.serving.listeners import Listeners
from mdcache.serving.native.event_streams import EventSources, EventStreams
from mdcache.serving.native.native_app import NativeApp
from mdcache.serving.native.row_reads import RowReads
from mdcache.serving.native.waits import Waits
from mdcache.serving.native.watchers import WatcherSources
from mdcache.serving.ops.activity import Activity
from mdcache.serving.ops.allowed_hosts import AllowedHosts
from mdcache.serving.ops.operations import CommandTargets, OpsApp
from mdcache.serving.ops.status import Status, StatusSources, Upstreams
from mdcache.serving.ports import Readiness
from mdcache.serving.streams.handshakes import ListenerHandshakes
from mdcache.settings import Settings, effective
from mdcache.stores import block_codec
from mdcache.stores.disk.state import PersistenceSettings, PersistentState, open_state
from mdcache.stores.disk.state_dir import StateDir
from mdcache.stores.redis.setup import RedisParts
from mdcache.stores.worker_thread import WorkerThread
from mdcache.telemetry.gauges import GaugeSources
from mdcache.telemetry.metrics import Metrics, new_registry
from mdcache.upstream.governor import Governor
from mdcache.upstream.http_client import Transport
from mdcache.upstream.replicas.shared_bodies import SharedBodyStore
from mdcache.upstream.streams.ports import Connect, FrameRelay

_STALL_SPARE_S = 1.0  # a sent read ends by its own time-out; this long after it, a new read of the same may start


@dataclass(frozen=True, slots=True)
class CacheParts:
    """The data path and its state. `relay`: streams for clients, where there are streams."""

    registry: SeriesRegistry
    flights: Flights
    candles: Candles
    exchange_info: ExchangeInfo
    snapshots: Snapshots
    warmup: Warmup
    body_sharing: BodySharing
    purge: Purge
    stream_tails: StreamTails | None
    relay: Relay | None
    live_tails: LiveTails
    mender: Mender | None

    def streams_status(self) -> list[StreamsStatus]:
        """Return the state of each market that has streams."""
        return [] if self.stream_tails is None else self.stream_tails.status()

    def start(self) -> None:
        """Load the symbols that are stored, and follow streams."""
        self.exchange_info.start()
        if self.stream_tails is not None:
            self.stream_tails.start()
        if self.mender is not None:
            self.mender.start()

    async def aclose(self) -> None:
        """Close from the clients' side to Binance's, and write what is not written yet."""
        await self.warmup.aclose()
        if self.mender is not None:
            await self.mender.aclose()
        if self.relay is not None:
            self.relay.aclose()
        if self.stream_tails is not None:
            await self.stream_tails.aclose()
        await self.flights.aclose()
        await self.snapshots.aclose()
        await self.exchange_info.aclose()
        await self.registry.persistence.aclose()
        await self.body_sharing.aclose()


@dataclass(frozen=True, slots=True)
class ServingParts:
    """What clients and operators see of the data path."""

    app: App
    event_streams: EventStreams
    handshakes: ListenerHandshakes
    summaries: Summaries


@dataclass(frozen=True, slots=True)
class Daemon:
    """All parts of a running daemon."""

    app: App
    event_streams: EventStreams
    handshakes: ListenerHandshakes
    governor: Governor
    cache: CacheParts
    state: PersistentState
    idle_blocks: IdleBlocks
    redis: RedisParts | None
    summaries: Summaries

    async def start(self) -> None:
        """Connect to the other replicas, if Redis is configured, and load the symbols that are stored."""
        if self.redis is not None:
            await self.redis.start()
        await self.governor.start()
        self.cache.start()
        self.idle_blocks.start()
        self.summaries.start()

    async def aclose(self) -> None:
        """Close every layer, the data path first, the disk last."""
        await self.summaries.aclose()
        await self.event_streams.aclose()
        await self.idle_blocks.aclose()
        await self.cache.aclose()
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
    connect: Connect | None = None,
    state_dir: StateDir | None = None,
) -> Daemon:
    """Build a daemon; nothing is connected before `Daemon.start`.

    Args:
        settings: The operator's settings.
        clock: The clock of all parts.
        rng: For jitter and names.
        events: The sinks for metrics and recent activity are attached to it.
        transport: Replaces the network in tests.
        connect: Replaces the network of streams in tests.
        state_dir: Where state is stored; without it, nothing is.
    """
    redis = build_redis(settings, clock, rng, events, state_dir)
    governor = build_upstream(settings, clock, rng, events, redis=redis, transport=transport)
    state = PersistentState()
    if state_dir is not None:
        state = open_state(state_dir, persistence_settings(settings), governor, clock, events)
    cache = build_cache(
        settings,
        governor,
        state,
        clock,
        events,
        row_store=None if redis is None else redis.rows,
        body_store=None if redis is None else redis.bodies,
        open_streams=build_streams(settings, governor, clock, rng, events, redis=redis, connect=connect),
    )
    serving = build_serving(settings, governor, cache, state, redis, clock, events)
    for event in state.startup_events:
        events.emit(event)
    thread = WorkerThread("idle blocks")
    idle_blocks = IdleBlocks(cache.registry, block_codec, thread, clock, events, give_memory_back)
    return Daemon(
        app=serving.app,
        event_streams=serving.event_streams,
        handshakes=serving.handshakes,
        governor=governor,
        cache=cache,
        state=state,
        idle_blocks=idle_blocks,
        redis=redis,
        summaries=serving.summaries,
    )


def persistence_settings(settings: Settings) -> PersistenceSettings:
    """Return the settings of the disk stores."""
    return PersistenceSettings(
        egress=settings.egress,
        origins=origins(settings),
        max_row_bytes=settings.disk_max_mb * 1_000_000 if settings.persist else 0,
        boot_id=boot_id(),
    )


def build_cache(
    settings: Settings,
    governor: Governor,
    state: PersistentState,
    clock: Clock,
    events: Events,
    *,
    row_store: SharedRowStore | None = None,
    body_store: SharedBodyStore | None = None,
    open_streams: Callable[[StreamFrames, FrameRelay], ListenedStreams] | None = None,
) -> CacheParts:
    """Build the data path; replicas share `row_store` and `body_store`. `open_streams`: builds the streams, if any."""
    clocks = governor.clocks
    registry = SeriesRegistry(
        clock,
        events,
        SettlePolicy(round(settings.settle_s * 1000), round(settings.confirm_s * 1000)),
        round(settings.memory_max_mb * 1_000_000),
        NoPersistence() if state.disk is None else WriteBehind(state.disk, clock, events),
    )

    def exchange_now(series: Series) -> Instant:
        return clocks.now(series.key.market)

    local_purge = LocalPurge(registry)
    row_sharing: RowSharing = NoSharing()
    if row_store is not None:
        row_sharing = SharedRows(row_store, registry, local_purge, clock, exchange_now, events, governor.refusal_now)
    body_sharing: BodySharing = NoSharing()
    if body_store is not None:
        body_sharing = SharedBodies(body_store, clock, clocks.now, events, governor.refusal_now)
    stalled_after_s = settings.upstream_timeout_s + _STALL_SPARE_S
    purge = Purge(local_purge, (row_sharing, body_sharing))
    wipes = Wipes(purge, clock, events)
    flights = Flights(governor, registry, clock, exchange_now, events, stalled_after_s, wipes, row_sharing)
    symbols = SymbolTable(clock)
    exchange_info_policy = ExchangeInfoPolicy(
        settings.exchange_info_ttl_s, settings.invalid_symbol_ttl_s, settings.request_deadline_s, stalled_after_s
    )
    exchange_info = ExchangeInfo(
        registry, symbols, governor, clock, events, exchange_info_policy, state.bodies, body_sharing
    )
    ttls_s = {interval: settings.candle_ttl_s(interval) for interval in INTERVALS}
    limits = CandleLimits(settings.request_deadline_s, settings.max_stale_s, ttls_s)

    def market_now(market: Market) -> Instant | None:
        return clocks.now(market) if clocks.measured(market) else None

    book_starts = BookStarts(lambda market: clocks.now(market).ms, clock)
    stream_tails: StreamTails | None = None
    relay: Relay | None = None
    if open_streams is not None:
        frames = StreamFrames(registry, clock, market_now, events)
        settling = SettlingReads(registry, flights, governor, exchange_now, clock)
        relay = Relay(partial(open_streams, frames), clock, events, book_starts, symbols.symbols)
        stream_tails = StreamTails(frames, relay.streams, settling, clock, events, settings.stream_idle_s)
    live_tails: LiveTails = stream_tails or NoLiveTails(clock)
    derivations = Derivations(registry, clock, events, settings.stream_idle_s) if settings.derive else None
    sources = TailSources(live_tails, derivations)
    candles = Candles(registry, flights, exchange_info, clocks, governor, clock, limits, sources)
    mender: Mender | None = None
    if relay is not None:
        mender = Mender(relay, SettledRows(candles, registry, clocks.now, clock, settings.settle_s), clock, events)
    snapshot_policy = SnapshotPolicy(
        settings.request_deadline_s,
        settings.max_stale_s,
        SnapshotTtls(settings.snapshot_ttl_s, settings.snapshot_ttls),
        stalled_after_s,
        book_starts,
    )
    snapshots = Snapshots(registry, exchange_info, clocks, governor, clock, events, snapshot_policy, body_sharing)
    warmup = Warmup(candles, clock, events)
    local_purge.clearables.append(snapshots.bodies)
    return CacheParts(
        registry,
        flights,
        candles,
        exchange_info,
        snapshots,
        warmup,
        body_sharing,
        purge,
        stream_tails,
        relay,
        live_tails,
        mender,
    )


def build_serving(
    settings: Settings,
    governor: Governor,
    cache: CacheParts,
    state: PersistentState,
    redis: RedisParts | None,
    clock: Clock,
    events: Events,
) -> ServingParts:
    """Build the ASGI application and the summaries, with metrics and recent activity as sinks of `events`."""
    clocks = governor.clocks
    ready_answers = ReadyAnswers(cache.registry, clocks, clock)
    cache.purge.local.clearables.append(ready_answers)
    listeners = Listeners(settings.listeners_max)
    event_streams = EventStreams(_event_sources(settings, governor, cache, clock, events), listeners)

    def listening() -> list[ListenersStatus]:
        relayed = () if cache.relay is None else cache.relay.status()
        return listeners_status(listeners, relayed, event_streams.counts())

    gauges = _gauges(governor, cache, state, redis, listening, listeners)
    metrics = Metrics(new_registry(), __version__, settings.clients, gauges, clock)
    activity = Activity(clock, lambda family: clocks.family_now(family).ms)
    events.attach(metrics)
    events.attach(activity)
    handler = BinanceHandler(
        AnswerSources(cache.candles, cache.snapshots, cache.exchange_info),
        Hits(ready_answers, governor, metrics),
        governor,
        metrics,
        settings.request_deadline_s,
    )

    def ready() -> Readiness:
        troubles = (*state.troubles, *(() if redis is None else redis.troubles))
        return readiness(governor, cache.exchange_info.table, troubles)

    def redis_status() -> Mapping[str, object]:
        return {} if redis is None else redis.client.status() | {"families": governor.sharing()}

    status = Status(
        StatusSources(
            version=__version__,
            clock=clock,
            governor=governor,
            registry=cache.registry,
            flights=cache.flights,
            symbols=cache.exchange_info.table,
            ready_answers=ready_answers,
            readiness=ready,
            settings={row.name: row.value for row in effective(settings)},
            activity=activity,
            requests=metrics.results,
            last_minute=metrics.minute,
            answers=metrics.recent,
            upstreams=Upstreams(
                settings.egress,
                {market.value: url for market, url in origins(settings).items()},
                settings.other_upstreams(),
            ),
            streams=cache.streams_status,
            disk=state.status,
            redis=redis_status,
            listeners=listening,
        )
    )
    token = settings.admin_token.get_secret_value() if settings.admin_token else None
    hosts = AllowedHosts((*settings.allowed_hosts, settings.host, socket.gethostname()))
    parser = RequestParser(settings.clients, settings.compress)
    ops = OpsApp(status, ready, metrics.page, CommandTargets(cache.purge, governor, cache.warmup), token, hosts)
    reads = RowReads(cache.candles, ready_answers, clock, clocks, settings.request_deadline_s)
    waits = Waits(event_streams.watchers, listeners)
    answers = native_answers(settings, reads, waits, event_streams, cache.exchange_info, clocks, clock)
    native = NativeApp(answers, parser, clock, events, metrics)
    app = App(
        Handlers(handler, ops, native),
        parser,
        clock,
        events,
        metrics,
        listeners,
        cors_origins=settings.cors_origins,
        forward=settings.unknown_paths == "forward",
    )
    handshakes = ListenerHandshakes(
        cache.relay, listeners, clock, hosts, cors_origins=settings.cors_origins, clients=settings.clients
    )
    return ServingParts(app, event_streams, handshakes, Summaries(clock, events, metrics.results, activity.total))


def _event_sources(
    settings: Settings, governor: Governor, cache: CacheParts, clock: Clock, events: Events
) -> EventSources:
    clocks = governor.clocks

    async def check(market: Market, symbols: tuple[str, ...]) -> GateClosed | None:
        names = [(symbol, False) for symbol in symbols]
        return await check_preconditions(clocks, cache.exchange_info, market, names, settings.request_deadline_s)

    watchers = WatcherSources(cache.candles, cache.live_tails, clocks.now, clock, events)
    return EventSources(watchers, check, cache.exchange_info.table.symbols, origins(settings))


def _gauges(
    governor: Governor,
    cache: CacheParts,
    state: PersistentState,
    redis: RedisParts | None,
    listening: Callable[[], list[ListenersStatus]],
    listeners: Listeners,
) -> GaugeSources:
    registry = cache.registry

    def holes() -> dict[str, int]:
        counts = dict.fromkeys((market.value for market in Market), 0)
        for series in registry:
            counts[series.key.market.value] += series.holes()
        return counts

    def tiers() -> dict[str, bool]:
        disk = {} if state.state_dir is None else {"disk": not state.troubles}
        return disk if redis is None else disk | {"redis": redis.client.up}

    return GaugeSources(
        families=governor.status,
        flights=lambda: len(cache.flights) + len(cache.snapshots),
        holes=holes,
        series=lambda: len(registry),
        rows=lambda: registry.rows,
        rows_bytes=lambda: registry.memory.held_bytes,
        memory_max_bytes=lambda: registry.memory.max_bytes,
        tiers=tiers,
        streams=lambda: of_every_market(cache.streams_status()),
        listeners=listening,
        listeners_max=lambda: listeners.most,
        tails=lambda: count_tails(registry, governor.clocks.now),
    )
