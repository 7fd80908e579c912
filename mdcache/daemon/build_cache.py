"""Build the data path from the settings, for `build.py`."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from mdcache.cache.audit import Audit
from mdcache.cache.audit_sample import AuditSample
from mdcache.cache.book_starts import BookStarts
from mdcache.cache.candles import CandleCache
from mdcache.cache.derivations import Derivations
from mdcache.cache.dump_loader import DumpLoader
from mdcache.cache.exchange_info import ExchangeInfo, ExchangeInfoPolicy
from mdcache.cache.flights import Flights
from mdcache.cache.live_tails import LiveTails, NoLiveTails, TailSources
from mdcache.cache.purge import LocalPurge, Purge
from mdcache.cache.replicas.bodies import SharedBodies
from mdcache.cache.replicas.rows import SharedRows
from mdcache.cache.series_registry import SeriesRegistry
from mdcache.cache.settled_rows import SettledRows
from mdcache.cache.settling_reads import SettlingReads
from mdcache.cache.sharing import BodySharing, NoSharing, RowSharing
from mdcache.cache.snapshots import SnapshotPolicy, Snapshots
from mdcache.cache.stream_frames import StreamFrames
from mdcache.cache.stream_status import StreamsStatus
from mdcache.cache.stream_tails import StreamTails
from mdcache.cache.symbols import SymbolTable
from mdcache.cache.warmup import Warmup
from mdcache.cache.wipes import Wipes
from mdcache.cache.write_behind import NoPersistence, WriteBehind
from mdcache.candles.series import Series
from mdcache.candles.settling import SettlePolicy
from mdcache.candles.shared_rows import SharedRowStore
from mdcache.clock import Clock, Instant
from mdcache.daemon.apply_settings import candle_limits, snapshot_ttls
from mdcache.daemon.taken_profile import AS_CONFIGURED, TakenProfile
from mdcache.dumps.faults import DumpsUnavailable
from mdcache.dumps.sources import HOST, DumpSource, is_url, open_source
from mdcache.events import Events
from mdcache.exchange.markets import Market
from mdcache.relay.mender import Mender
from mdcache.relay.ports import ListenedStreams
from mdcache.relay.relay import Relay
from mdcache.settings import Settings
from mdcache.stores.disk.state import PersistentState
from mdcache.upstream.governor import Governor
from mdcache.upstream.replicas.shared_bodies import SharedBodyStore
from mdcache.upstream.streams.ports import FrameRelay

_STALL_SPARE_S = 1.0  # a sent read ends by its own time-out; this long after it, a new read of the same may start


@dataclass(frozen=True, slots=True)
class CacheParts:
    """The data path and its state. `relay`: streams for clients, where there are streams."""

    registry: SeriesRegistry
    flights: Flights
    candles: CandleCache
    exchange_info: ExchangeInfo
    snapshots: Snapshots
    warmup: Warmup
    body_sharing: BodySharing
    purge: Purge
    stream_tails: StreamTails | None
    relay: Relay | None
    live_tails: LiveTails
    mender: Mender | None
    profile: TakenProfile

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
class SharedStores:
    """What replicas share: rows, and bodies of snapshots."""

    rows: SharedRowStore | None = None
    bodies: SharedBodyStore | None = None


def build_cache(
    settings: Settings,
    governor: Governor,
    state: PersistentState,
    clock: Clock,
    events: Events,
    *,
    shared: SharedStores | None = None,
    open_streams: Callable[[StreamFrames, FrameRelay], ListenedStreams] | None = None,
    profile: TakenProfile = AS_CONFIGURED,
) -> CacheParts:
    """Build the data path.

    `shared`: what replicas share. `open_streams`: builds the streams, if any. `profile`: what is taken of the exchange
    profile.
    """
    clocks, measured = governor.clocks, profile.measured
    registry = SeriesRegistry(
        clock,
        events,
        SettlePolicy(round(settings.settle_s * 1000), round(settings.confirm_s * 1000)),
        round(settings.memory_max_mb * 1_000_000),
        NoPersistence() if state.disk is None else WriteBehind(state.disk, clock, events),
        measured,
    )

    def exchange_now(series: Series) -> Instant:
        return clocks.now(series.key.market)

    local_purge = LocalPurge(registry)
    row_sharing: RowSharing = NoSharing()
    if shared is not None and shared.rows is not None:
        row_sharing = SharedRows(shared.rows, registry, local_purge, clock, exchange_now, events, governor.refusal_now)
    body_sharing: BodySharing = NoSharing()
    if shared is not None and shared.bodies is not None:
        body_sharing = SharedBodies(shared.bodies, clock, clocks.now, events, governor.refusal_now)
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

    def market_now(market: Market) -> Instant | None:
        return clocks.now(market) if clocks.measured(market) else None

    def settle_s(market: Market) -> float:
        times = measured.times.get(market)
        return settings.settle_s if times is None else times.settle_ms / 1000

    book_starts = BookStarts(lambda market: clocks.now(market).ms, clock)
    stream_tails: StreamTails | None = None
    relay: Relay | None = None
    if open_streams is not None:
        frames = StreamFrames(registry, clock, market_now, events, measured)
        settling = SettlingReads(registry, flights, governor, exchange_now, clock)
        relay = Relay(partial(open_streams, frames), clock, events, book_starts, symbols.symbols, measured.lost_frame_s)
        stream_tails = StreamTails(frames, relay.streams, settling, clock, events, settings.stream_idle_s, measured)
    live_tails: LiveTails = stream_tails or NoLiveTails(clock)
    derivations = Derivations(registry, clock, events, settings.stream_idle_s) if settings.derive else None
    sources = TailSources(live_tails, derivations)
    candles = CandleCache(registry, flights, exchange_info, clocks, governor, clock, candle_limits(settings), sources)
    mender: Mender | None = None
    if relay is not None:
        local_purge.clearables.append(relay.seconds)
        mender = Mender(relay, SettledRows(candles, registry, clocks.now, clock, settle_s), clock, events)
    snapshot_policy = SnapshotPolicy(
        settings.request_deadline_s,
        settings.max_stale_s,
        snapshot_ttls(settings),
        stalled_after_s,
        book_starts,
    )
    snapshots = Snapshots(registry, exchange_info, clocks, governor, clock, events, snapshot_policy, body_sharing)
    warmup = Warmup(candles, DumpLoader(registry, clock, events, partial(_open_dumps, settings, clock)), clock, events)
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
        profile,
    )


def build_audit(
    settings: Settings, governor: Governor, cache: CacheParts, clock: Clock, rng: random.Random, events: Events
) -> Audit:
    """Build the audit of what the data path keeps."""
    clocks = governor.clocks
    sample = AuditSample(cache.registry, clock, lambda series: clocks.now(series.key.market), rng)
    rows_per_hour = settings.audit_rows_per_hour
    return Audit(sample, cache.flights, clocks, cache.exchange_info, clock, events, rng, rows_per_hour)


def _open_dumps(settings: Settings, clock: Clock, where: str, market: Market) -> DumpSource:
    """Return where a job's dump files are; candles of Binance never mix with those of another exchange."""
    if is_url(where) and urlsplit(where).hostname == HOST and market.value in settings.other_upstreams():
        raise DumpsUnavailable(f"{HOST} has Binance's candles, and MDCACHE_{market.name}_URL is another exchange")
    return open_source(where, clock)
