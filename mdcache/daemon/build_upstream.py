"""Build the daemon's ways to Binance and to Redis from the settings: the first layers that `build.py` connects."""

import random
from collections.abc import Callable

from mdcache.cache.stream_frames import StreamFrames
from mdcache.clock import Clock
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.exchange.origin import origin
from mdcache.settings import Settings
from mdcache.stores.disk.state_dir import StateDir
from mdcache.stores.redis.setup import RedisParts, RedisSettings, open_redis
from mdcache.upstream.admission import LocalAdmission
from mdcache.upstream.governor import Governor, GovernorSettings
from mdcache.upstream.http_client import Transport
from mdcache.upstream.replicas.shared_admission import shared_admission
from mdcache.upstream.replicas.shared_budget import Replicas
from mdcache.upstream.streams.ports import Connect, Dialing, FrameRelay, FrameTakers, OwnConnects
from mdcache.upstream.streams.streams import Streams
from mdcache.upstream.streams.websocket_client import WebSocketConnector


def build_redis(
    settings: Settings, clock: Clock, rng: random.Random, events: Events, state_dir: StateDir | None
) -> RedisParts | None:
    """Build the Redis client and the stores on it, if Redis is configured."""
    if settings.redis_url is None:
        return None
    url = settings.redis_url.get_secret_value()
    redis = RedisSettings(url, settings.redis_prefix, settings.redis_timeout_s, settings.egress, state_dir)
    return open_redis(redis, origins(settings), clock, rng, events)


def build_upstream(
    settings: Settings,
    clock: Clock,
    rng: random.Random,
    events: Events,
    *,
    redis: RedisParts | None = None,
    transport: Transport | None = None,
) -> Governor:
    """Build the governor, the only way to Binance."""
    return Governor(
        clock=clock,
        rng=rng,
        events=events,
        base_urls=_urls(settings),
        settings=GovernorSettings(
            weight_share=settings.weight_share,
            upstream_concurrency=settings.upstream_concurrency,
            upstream_timeout_s=settings.upstream_timeout_s,
            retry_attempts=settings.retry_attempts,
            backoff_initial_s=settings.backoff_initial_s,
            backoff_max_s=settings.backoff_max_s,
        ),
        transport=transport,
        admission=LocalAdmission
        if redis is None
        else shared_admission(
            Replicas(redis.budget, settings.replicas, redis.process, redis.replica.returning, redis.replica.keep)
        ),
    )


def build_streams(
    settings: Settings,
    governor: Governor,
    clock: Clock,
    rng: random.Random,
    events: Events,
    *,
    redis: RedisParts | None = None,
    connect: Connect | None = None,
) -> Callable[[StreamFrames, FrameRelay], Streams] | None:
    """Return what builds the streams for those who take their frames; nothing if no market has any.

    `connect` replaces the network in tests.
    """
    urls = {Market(market): url for market, url in settings.stream_urls().items()}
    if not urls:
        return None

    def open_streams(frames: StreamFrames, relay: FrameRelay) -> Streams:
        return Streams(
            clock=clock,
            rng=rng,
            events=events,
            dialing=Dialing(
                connect or WebSocketConnector(timeout_s=settings.upstream_timeout_s),
                governor.handshakes,
                OwnConnects() if redis is None else redis.connects(),
                settings.upstream_timeout_s,
            ),
            base_urls=urls,
            takers=FrameTakers(frames, relay),
        )

    return open_streams


def _urls(settings: Settings) -> dict[Market, str]:
    return {Market.SPOT: settings.spot_url, Market.USDM: settings.usdm_url, Market.COINM: settings.coinm_url}


def origins(settings: Settings) -> dict[Market, str]:
    """Return each market's base URL without user and password."""
    return {market: origin(url) for market, url in _urls(settings).items()}
