"""Build every part of the daemon from the settings, one layer after the other, and connect them.

Nothing here decides anything. Tests build their daemons from the same parts.
"""

import random
from dataclasses import dataclass

from mdcache.cache.audit import Audit
from mdcache.cache.idle_blocks import IdleBlocks
from mdcache.clock import Clock, boot_id
from mdcache.daemon.allocator import give_memory_back
from mdcache.daemon.apply_settings import SettingTargets
from mdcache.daemon.build_cache import CacheParts, SharedStores, build_audit, build_cache
from mdcache.daemon.build_serving import build_serving
from mdcache.daemon.build_upstream import build_redis, build_streams, build_upstream, origins
from mdcache.daemon.live_settings import LiveSettings
from mdcache.daemon.summaries import Summaries
from mdcache.daemon.taken_profile import load_profile
from mdcache.events import Events
from mdcache.serving.app import App
from mdcache.serving.native.event_streams import EventStreams
from mdcache.serving.streams.handshakes import ListenerHandshakes
from mdcache.settings import Settings
from mdcache.stores import block_codec
from mdcache.stores.disk.state import PersistenceSettings, PersistentState, open_state
from mdcache.stores.disk.state_dir import StateDir
from mdcache.stores.redis.setup import RedisParts
from mdcache.stores.worker_thread import WorkerThread
from mdcache.upstream.governor import Governor
from mdcache.upstream.http_client import Transport
from mdcache.upstream.streams.ports import Connect


@dataclass(frozen=True, slots=True)
class Daemon:
    """All parts of a running daemon."""

    app: App
    event_streams: EventStreams
    handshakes: ListenerHandshakes
    governor: Governor
    cache: CacheParts
    audit: Audit
    state: PersistentState
    idle_blocks: IdleBlocks
    redis: RedisParts | None
    summaries: Summaries
    live: LiveSettings
    targets: SettingTargets

    async def start(self) -> None:
        """Connect to the other replicas, if Redis is configured, and load the symbols that are stored."""
        if self.redis is not None:
            await self.redis.start()
        await self.governor.start()
        self.cache.start()
        self.audit.start_schedule()
        self.idle_blocks.start()
        self.summaries.start()

    async def aclose(self) -> None:
        """Close every layer, the data path first, the disk last."""
        await self.summaries.aclose()
        await self.event_streams.aclose()
        await self.idle_blocks.aclose()
        await self.audit.aclose()
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
    profile = load_profile(settings, None if state_dir is None else state_dir.path)
    cache = build_cache(
        settings,
        governor,
        state,
        clock,
        events,
        shared=None if redis is None else SharedStores(redis.rows, redis.bodies),
        open_streams=build_streams(settings, governor, clock, rng, events, redis=redis, connect=connect),
        profile=profile,
    )
    audit = build_audit(settings, governor, cache, clock, rng, events)
    live = LiveSettings(settings, clock, events)
    serving = build_serving(live, governor, cache, audit, state, redis, clock, events)
    for event in (*state.startup_events, profile.event()):
        if event is not None:
            events.emit(event)
    thread = WorkerThread("idle blocks")
    idle_blocks = IdleBlocks(cache.registry, block_codec, thread, clock, events, give_memory_back)
    return Daemon(
        app=serving.app,
        event_streams=serving.event_streams,
        handshakes=serving.handshakes,
        governor=governor,
        cache=cache,
        audit=audit,
        state=state,
        idle_blocks=idle_blocks,
        redis=redis,
        summaries=serving.summaries,
        live=live,
        targets=serving.targets,
    )


def persistence_settings(settings: Settings) -> PersistenceSettings:
    """Return the settings of the disk stores."""
    return PersistenceSettings(
        egress=settings.egress,
        origins=origins(settings),
        max_row_bytes=settings.disk_max_mb * 1_000_000 if settings.persist else 0,
        boot_id=boot_id(),
    )
