"""Build what clients and operators see of the data path, for `build.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mdcache import __version__
from mdcache.cache.audit import Audit
from mdcache.cache.preconditions import check_preconditions
from mdcache.cache.stream_status import of_every_market
from mdcache.cache.tail_sources import count_tails
from mdcache.clock import Clock
from mdcache.daemon.apply_settings import SettingTargets, admin_token, host_names
from mdcache.daemon.build_cache import CacheParts
from mdcache.daemon.build_native import native_answers
from mdcache.daemon.build_upstream import origins
from mdcache.daemon.live_settings import LiveSettings
from mdcache.daemon.readiness import readiness
from mdcache.daemon.summaries import Summaries
from mdcache.errors import GateClosed
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.serving.app import App, Handlers
from mdcache.serving.binance.handler import AnswerSources, BinanceHandler
from mdcache.serving.binance.ready_answers import ReadyAnswers
from mdcache.serving.binance.request import RequestParser
from mdcache.serving.client_limits import ClientLimits
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
from mdcache.serving.ops.foreign_pages import ForeignPages
from mdcache.serving.ops.operations import CommandTargets, OpsApp
from mdcache.serving.ops.status import Status, StatusSources, Upstreams
from mdcache.serving.ops.watched_readiness import WatchedReadiness
from mdcache.serving.ports import Readiness
from mdcache.serving.streams.handshakes import ListenerHandshakes
from mdcache.settings import Settings
from mdcache.stores.disk.state import PersistentState
from mdcache.stores.redis.setup import RedisParts
from mdcache.telemetry.gauges import GaugeSources
from mdcache.telemetry.metrics import Metrics, new_registry
from mdcache.upstream.governor import Governor


@dataclass(frozen=True, slots=True)
class ServingParts:
    """What clients and operators see of the data path."""

    app: App
    event_streams: EventStreams
    handshakes: ListenerHandshakes
    summaries: Summaries
    targets: SettingTargets


def build_serving(
    live: LiveSettings,
    governor: Governor,
    cache: CacheParts,
    audit: Audit,
    state: PersistentState,
    redis: RedisParts | None,
    clock: Clock,
    events: Events,
) -> ServingParts:
    """Build the ASGI application and the summaries, with metrics and recent activity as sinks of `events`."""
    clocks, settings = governor.clocks, live.settings
    ready_answers = ReadyAnswers(cache.registry, clocks, clock)
    cache.purge.local.clearables.append(ready_answers)
    limits = ClientLimits(settings.client_requests_per_s, clock, events)
    listeners = Listeners(settings.listeners_max, limits)
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

    def readiness_now() -> Readiness:
        troubles = (*state.troubles, *(() if redis is None else redis.troubles))
        return readiness(governor, cache.exchange_info.table, (*troubles, *live.degraded()))

    ready = WatchedReadiness(readiness_now, clock)

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
            settings=live.status,
            limits=limits,
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
            profile=cache.profile.status,
        )
    )
    hosts = AllowedHosts(host_names(settings))
    parser = RequestParser(settings.clients, settings.compress)
    commands = CommandTargets(cache.purge, governor, cache.warmup, audit)
    foreign_pages = ForeignPages(hosts, settings.cors_origins)
    ops = OpsApp(status, ready, metrics.page, commands, admin_token(settings), foreign_pages)
    reads = RowReads(cache.candles, ready_answers, clock, clocks, settings.request_deadline_s)
    waits = Waits(event_streams.watchers, listeners, clock)
    answers = native_answers(settings, reads, waits, event_streams, cache, clocks, clock, limits)
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
    targets = SettingTargets(
        cache.candles,
        cache.exchange_info,
        cache.snapshots,
        ready_answers,
        parser,
        app,
        handshakes,
        ops,
        hosts,
        metrics,
        limits,
    )
    summaries = Summaries(clock, events, metrics.results, activity.total)
    return ServingParts(app, event_streams, handshakes, summaries, targets)


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
