"""Metrics of a made-up daemon, as they are scraped."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from mdcache.cache.stream_status import StreamsStatus, of_every_market
from mdcache.events import (
    ReadReason,
    UpstreamCalled,
)
from mdcache.serving.listener_status import ListenersStatus
from mdcache.telemetry.gauges import GaugeSources
from mdcache.telemetry.metrics import Metrics
from tests.support.serving_fakes import ManualClock

CALLED = UpstreamCalled("spot", "klines", "/api/v3/klines", ReadReason.MISSING_ROWS, "normal", 200, "", 2, 40_000, 0.12)


@dataclass
class State:
    family: str
    gate_state: str = "open"
    gate_reason: str = "none"
    reopens_in_s: float = 0.0
    used: int = 40
    allowed: int = 3_000
    address: int = 65
    limit: int = 6_000


SPOT_STREAMS = StreamsStatus(
    "spot",
    connections=1,
    topics={"fed": 40, "quiet": 2, "silent": 1},
    dead=1,
    frames={"news": 900, "old": 3, "rejected": 0},
)


SPOT_LISTENERS = ListenersStatus(
    "spot",
    listeners={"websocket": 7, "events": 2},
    topics=30,
    series=5,
    frames=90_000,
    dropped={"conflated": 4, "repeated": 1},
    mended=3,
    closed={"lost": 0, "slow": 1, "failed": 0},
    events={"candle": 400, "closed": 9},
)


@dataclass
class Home:
    families: list[State] = field(default_factory=lambda: [State("spot"), State("futures", "closed", "418", 12.5)])
    tiers: dict[str, bool] = field(default_factory=lambda: {"disk": True})
    streams: list[StreamsStatus] = field(default_factory=lambda: of_every_market([SPOT_STREAMS]))
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        gauges = GaugeSources(
            families=lambda: self.families,
            flights=lambda: 3,
            holes=lambda: {"spot": 1, "usdm": 0, "coinm": 2},
            series=lambda: 4,
            rows=lambda: 500,
            rows_bytes=lambda: 70_000,
            memory_max_bytes=lambda: 512_000_000,
            tiers=lambda: self.tiers,
            streams=lambda: self.streams,
            listeners=lambda: [SPOT_LISTENERS],
            listeners_max=lambda: 1_000,
            tails=lambda: {"spot": {"rest": 2, "stream": 40}},
        )
        self.metrics = Metrics(self.registry, "0.1.0", ["engine", "ai"], gauges, self.clock)

    def value(self, name: str, **wanted: str) -> float | None:
        return self.registry.get_sample_value(name, wanted)

    def page(self) -> str:
        return self.metrics.page("text/plain")[0].decode()

    def scraped(self) -> Mapping[str, Metric]:
        return {family.name: family for family in text_string_to_metric_families(self.page())}
