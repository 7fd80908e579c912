"""Apply changed settings to the parts of a running daemon (docs/design.md#settings)."""

import socket
from dataclasses import dataclass, replace

from mdcache.cache.candles import CandleCache, CandleLimits
from mdcache.cache.exchange_info import ExchangeInfo
from mdcache.cache.snapshots import Snapshots
from mdcache.cache.ttls import SnapshotTtls
from mdcache.exchange.intervals import INTERVALS
from mdcache.serving.app import App
from mdcache.serving.binance.ready_answers import ReadyAnswers
from mdcache.serving.binance.request import RequestParser
from mdcache.serving.client_limits import ClientLimits
from mdcache.serving.ops.allowed_hosts import AllowedHosts
from mdcache.serving.ops.operations import OpsApp
from mdcache.serving.streams.handshakes import ListenerHandshakes
from mdcache.settings import ReloadOutcome, Settings
from mdcache.telemetry.metrics import Metrics

_LIFETIMES = frozenset(
    {"open_candle_ttl_s", "open_candle_ttls", "exchange_info_ttl_s", "snapshot_ttl_s", "snapshot_ttls", "max_stale_s"}
)


def candle_limits(settings: Settings) -> CandleLimits:
    """Return the settings of the data path of candles."""
    ttls_s = {interval: settings.candle_ttl_s(interval) for interval in INTERVALS}
    return CandleLimits(settings.request_deadline_s, settings.max_stale_s, ttls_s)


def snapshot_ttls(settings: Settings) -> SnapshotTtls:
    """Return the TTLs of snapshots."""
    return SnapshotTtls(settings.snapshot_ttl_s, settings.snapshot_ttls)


def admin_token(settings: Settings) -> str | None:
    """Return the token of admin calls."""
    return settings.admin_token.get_secret_value() if settings.admin_token else None


def host_names(settings: Settings) -> tuple[str, ...]:
    """Return the daemon's own names."""
    return (*settings.allowed_hosts, settings.host, socket.gethostname())


@dataclass(frozen=True, slots=True)
class SettingTargets:
    """The parts whose settings can change while they run."""

    candles: CandleCache
    exchange_info: ExchangeInfo
    snapshots: Snapshots
    ready_answers: ReadyAnswers
    parser: RequestParser
    app: App
    handshakes: ListenerHandshakes
    ops: OpsApp
    hosts: AllowedHosts
    metrics: Metrics
    limits: ClientLimits

    def apply(self, outcome: ReloadOutcome) -> None:
        """Apply the new settings to all of them, in one step of the event loop."""
        settings, changed = outcome.settings, outcome.changed
        self.candles.limits = candle_limits(settings)
        self.exchange_info.set_ttls(settings.exchange_info_ttl_s, settings.invalid_symbol_ttl_s)
        self.snapshots.policy = replace(
            self.snapshots.policy, max_stale_s=settings.max_stale_s, ttls=snapshot_ttls(settings)
        )
        self.ops.set_token(admin_token(settings))
        self.hosts.set(host_names(settings))
        if changed & _LIFETIMES:
            self.ready_answers.forget(settings.request_deadline_s)
        if "client_requests_per_s" in changed:
            self.limits.set(settings.client_requests_per_s)
        if "clients" in changed:
            self.parser.set_clients(settings.clients)
            self.handshakes.clients = settings.clients
            self.metrics.set_clients(settings.clients)
            for lane in self.app.fast_lanes.values():
                lane.forget()
