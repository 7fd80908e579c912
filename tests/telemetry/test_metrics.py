"""Metrics as docs/design.md#metrics documents them: names, types, labels, closed sets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from mdcache.cache.stream_status import TOPIC_STATES, StreamsStatus, of_every_market
from mdcache.errors import BodyFault, Fault, ServerFailed
from mdcache.events import (
    BackgroundTask,
    BackgroundTaskFailed,
    BodyRejected,
    ClockMeasured,
    ClockSuspect,
    DaemonStopped,
    DerivationAttempted,
    DerivationEnded,
    DerivationResult,
    Event,
    GateChanged,
    MemoryEvicted,
    OddBody,
    QueueWaited,
    ReadReason,
    RequestCollapsed,
    Retried,
    RowRevised,
    RowsRead,
    SymbolsLoaded,
    UpstreamCalled,
)
from mdcache.exchange.endpoints import ENDPOINTS
from mdcache.results import Quantiles, RecentAnswers
from mdcache.serving.listener_status import ListenersStatus
from mdcache.store_events import StoreOp, Tier, TierFailed, TierStateChanged, TierUsed
from mdcache.stream_events import ConnectReason, StreamConnected, StreamEnd, StreamEnded, StreamRefused, StreamsSilent
from mdcache.telemetry import catalogue, labels
from mdcache.telemetry.gauges import GaugeSources
from mdcache.telemetry.metrics import Metrics, new_registry
from mdcache.telemetry.recent_requests import KEPT_S
from mdcache.upstream.http_client import FAULTS
from mdcache.upstream.reply_head import ReplyHead
from mdcache.upstream.reply_status import failure
from tests.support.asgi_client import ManualClock

# docs/design.md#metrics, word for word, but for the results of frames
DOCUMENTED_TEXT = """
mdcache_requests_total{market,endpoint,result,client} mdcache_request_seconds{endpoint,result}
mdcache_upstream_requests_total{market,endpoint,status} mdcache_upstream_seconds{market}
mdcache_upstream_rows_total{market} mdcache_upstream_weight_total{market} mdcache_upstream_weight_used{family}
mdcache_upstream_weight_limit{family} mdcache_upstream_weight_allowed{family} mdcache_gate_state{family,state}
mdcache_gate_reopens_seconds{family} mdcache_gate_closures_total{family,reason} mdcache_retries_total{market,reason}
mdcache_flights_in_progress mdcache_collapsed_total{market} mdcache_queue_wait_seconds{lane}
mdcache_rejected_bodies_total{market,reason} mdcache_revisions_total{market} mdcache_holes{market} mdcache_series
mdcache_rows mdcache_rows_bytes mdcache_evictions_total mdcache_tail_age_seconds{market}
mdcache_tier_seconds{tier,op} mdcache_tier_errors_total{tier} mdcache_clock_offset_seconds{market}
mdcache_stream_connections{market} mdcache_stream_topics{market,state} mdcache_stream_frames_total{market,result}
mdcache_stream_connects_total{market,reason} mdcache_build_info{version}
"""
# and what the rules and dashboards need beside it
MORE = """
mdcache_upstream_requests_by_reason_total{market,reason,lane}
mdcache_upstream_weight_by_reason_total{market,reason,lane}
mdcache_upstream_weight_address{family} mdcache_gate_reason{family,reason} mdcache_odd_bodies_total{market}
mdcache_memory_max_bytes mdcache_tier_up{tier} mdcache_clock_error_seconds{market} mdcache_clock_doubts_total{market}
mdcache_stream_dead_topics{market} mdcache_stream_refusals_total{market,status} mdcache_stream_ends_total{market,end}
mdcache_stream_resubscribed_total{market} mdcache_tails{market,source} mdcache_failures_total{what}
mdcache_derived_total{result} mdcache_listeners{market,kind} mdcache_listeners_max mdcache_listened_topics{market}
mdcache_listened_series{market} mdcache_relayed_frames_total{market} mdcache_dropped_frames_total{market,reason}
mdcache_mended_frames_total{market} mdcache_listener_closes_total{market,reason} mdcache_events_sent_total{market,event}
"""
DOCUMENTED = (DOCUMENTED_TEXT + MORE).split()
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


def everything() -> list[Event]:
    return [
        CALLED,
        RowsRead("spot", 500),
        GateChanged("spot", "closed", "429", 30.0),
        Retried("spot", Fault.TIMEOUT),
        BodyRejected("spot", "/api/v3/klines", BodyFault.NOT_JSON, "<html>"),
        OddBody("spot", "/api/v3/klines", "more-columns"),
        RowRevised("spot", "spot/klines/BTCUSDT/1m", 1, b"[1]", b"[2]"),
        DerivationAttempted("spot", DerivationResult.DERIVED),
        DerivationEnded("spot", "spot/klines/BTCUSDT/1h", 1, b"[1]", b"[2]"),
        RequestCollapsed("spot"),
        QueueWaited("high", 0.02),
        MemoryEvicted("entries", 7),
        ClockMeasured("spot", -1_500.0, 20.0),
        ClockSuspect("spot", 5_000.0),
        SymbolsLoaded("spot", 3_000),
        TierUsed(Tier.DISK, StoreOp.LOAD, 0.004),
        TierFailed(Tier.DISK, StoreOp.WRITE, "disk I/O error", lost=False),
        TierStateChanged(Tier.DISK, "down", "disk I/O error"),
        StreamConnected("spot", ConnectReason.LOST, "/stream", 0.2),
        StreamRefused("usdm", 403, "forbidden"),
        StreamEnded("spot", StreamEnd.CLOSED, "1001", 60.0),
        StreamsSilent("coinm", 3, "btcusd_perp@kline_1m"),
        BackgroundTaskFailed(BackgroundTask.FLIGHT, "ValueError"),
        DaemonStopped(),
    ]


@pytest.mark.parametrize("documented", DOCUMENTED)
def test_what_is_documented_exists(documented: str) -> None:
    name, _, inside = documented.rstrip("}").partition("{")
    home = Home()
    for event in everything():
        home.metrics(event)
    home.metrics.record("spot", "klines", "hit", "engine", 0.001, 0.5)
    (metric,) = [metric for metric in catalogue.ALL if metric.full_name == name]
    assert metric.labels == tuple(inside.split(",") if inside else ())
    found = home.scraped()[name.removesuffix("_total")]
    assert found.type == metric.kind
    assert found.documentation == metric.help
    assert found.samples
    for sample in found.samples:
        assert set(sample.labels) - {"le"} == set(metric.labels)


def test_nothing_else_exists() -> None:
    home = Home()
    assert {metric.full_name for metric in catalogue.ALL} == {name.partition("{")[0] for name in DOCUMENTED}
    assert set(home.scraped()) == {metric.full_name.removesuffix("_total") for metric in catalogue.ALL}


def test_help_and_type_are_there_before_anything_happened() -> None:
    page = Home().page()
    for metric in catalogue.ALL:
        assert f"# HELP {metric.full_name} {metric.help}" in page
        assert f"# TYPE {metric.full_name} {metric.kind}" in page


def test_events_count() -> None:
    home = Home()
    for _ in range(2):
        for event in everything():
            home.metrics(event)
    expected: list[tuple[str, dict[str, str], float]] = [
        ("upstream_requests_total", {"market": "spot", "endpoint": "klines", "status": "200"}, 2),
        ("upstream_weight_total", {"market": "spot"}, 4),
        ("upstream_rows_total", {"market": "spot"}, 1_000),
        ("upstream_seconds_count", {"market": "spot"}, 2),
        ("gate_closures_total", {"family": "spot", "reason": "429"}, 2),
        ("retries_total", {"market": "spot", "reason": "timeout"}, 2),
        ("collapsed_total", {"market": "spot"}, 2),
        ("queue_wait_seconds_sum", {"lane": "high"}, 0.04),
        ("rejected_bodies_total", {"market": "spot", "reason": "not-json"}, 2),
        ("revisions_total", {"market": "spot"}, 2),
        ("evictions_total", {}, 14),
        ("clock_offset_seconds", {"market": "spot"}, -1.5),
        ("clock_error_seconds", {"market": "spot"}, 0.02),
        ("clock_doubts_total", {"market": "spot"}, 2),
        ("odd_bodies_total", {"market": "spot"}, 2),
        ("failures_total", {"what": "flight"}, 2),
        ("stream_connects_total", {"market": "spot", "reason": "lost"}, 2),
        ("stream_refusals_total", {"market": "usdm", "status": "403"}, 2),
        ("stream_ends_total", {"market": "spot", "end": "closed"}, 2),
        ("stream_resubscribed_total", {"market": "coinm"}, 6),
        ("upstream_requests_by_reason_total", {"market": "spot", "reason": "missing_rows", "lane": "normal"}, 2),
        ("upstream_weight_by_reason_total", {"market": "spot", "reason": "missing_rows", "lane": "normal"}, 4),
    ]
    for name, wanted, value in expected:
        assert home.value(f"mdcache_{name}", **wanted) == value, name


def test_gauges_are_read_when_they_are_scraped() -> None:
    home = Home()
    assert home.value("mdcache_upstream_weight_used", family="spot") == 40
    home.families[0] = State("spot", "probing", "429", 1.0, used=41)
    assert home.value("mdcache_upstream_weight_used", family="spot") == 41
    assert home.value("mdcache_upstream_weight_limit", family="spot") == 6_000
    assert home.value("mdcache_upstream_weight_allowed", family="spot") == 3_000
    assert home.value("mdcache_gate_reopens_seconds", family="futures") == 12.5
    assert home.value("mdcache_holes", market="coinm") == 2
    assert home.value("mdcache_flights_in_progress") == 3
    assert home.value("mdcache_rows_bytes") == 70_000
    assert home.value("mdcache_build_info", version="0.1.0") == 1
    states = {s: home.value("mdcache_gate_state", family="spot", state=s) for s in labels.GATE_STATES}
    assert states == {"open": 0, "closed": 0, "probing": 1, "ramp": 0}


def test_streams_are_read_when_they_are_scraped() -> None:
    home = Home()
    assert home.value("mdcache_stream_connections", market="spot") == 1
    assert home.value("mdcache_stream_connections", market="coinm") == 0
    states = {s: home.value("mdcache_stream_topics", market="spot", state=s) for s in TOPIC_STATES}
    assert states == {"fed": 40, "quiet": 2, "silent": 1}
    assert home.value("mdcache_stream_dead_topics", market="spot") == 1
    assert home.value("mdcache_stream_frames_total", market="spot", result="news") == 900
    assert home.value("mdcache_tails", market="spot", source="stream") == 40
    home.streams = of_every_market([])
    assert home.value("mdcache_stream_topics", market="spot", state="fed") == 0


def test_listeners_are_read_when_they_are_scraped() -> None:
    home = Home()
    assert home.value("mdcache_listeners", market="spot", kind="events") == 2
    assert home.value("mdcache_listeners_max") == 1_000
    assert home.value("mdcache_listened_topics", market="spot") == 30
    assert home.value("mdcache_listened_series", market="spot") == 5
    assert home.value("mdcache_relayed_frames_total", market="spot") == 90_000
    assert home.value("mdcache_dropped_frames_total", market="spot", reason="conflated") == 4
    assert home.value("mdcache_mended_frames_total", market="spot") == 3
    assert home.value("mdcache_listener_closes_total", market="spot", reason="slow") == 1
    assert home.value("mdcache_events_sent_total", market="spot", event="closed") == 9


def test_the_reason_shows_while_the_family_is_not_asked() -> None:
    home = Home()
    shown: dict[str, list[float | None]] = {}
    for state in ("closed", "probing", "ramp", "open"):
        home.families = [State("spot", state, "403")]
        shown[state] = [home.value("mdcache_gate_reason", family="spot", reason=why) for why in ("403", "418")]
    assert shown == {"closed": [1, 0], "probing": [1, 0], "ramp": [0, 0], "open": [0, 0]}


def test_a_store_that_is_not_in_use_is_not_shown() -> None:
    home = Home()
    assert home.value("mdcache_tier_up", tier="disk") == 1
    assert home.value("mdcache_tier_errors_total", tier="disk") == 0
    home.tiers = {"disk": False}
    assert home.value("mdcache_tier_up", tier="disk") == 0
    other = Home(tiers={})
    assert (other.value("mdcache_tier_up", tier="disk"), other.value("mdcache_tier_errors_total", tier="disk")) == (
        None,
        None,
    )


def test_what_rules_look_for_is_there_from_zero() -> None:
    """`increase()` sees nothing in a series whose first sample is 1."""
    home = Home()
    zeros: list[tuple[str, dict[str, str]]] = [
        ("rejected_bodies_total", {"market": "usdm", "reason": "not-json"}),
        ("gate_closures_total", {"family": "futures", "reason": "403"}),
        ("revisions_total", {"market": "coinm"}),
        ("odd_bodies_total", {"market": "spot"}),
        ("clock_doubts_total", {"market": "spot"}),
        ("failures_total", {"what": "request"}),
        ("stream_frames_total", {"market": "usdm", "result": "news"}),
        ("stream_connects_total", {"market": "usdm", "reason": "lost"}),
        ("stream_refusals_total", {"market": "usdm", "status": "0"}),
        ("stream_ends_total", {"market": "usdm", "end": "closed"}),
        ("stream_resubscribed_total", {"market": "usdm"}),
        ("stream_dead_topics", {"market": "usdm"}),
        ("evictions_total", {}),
        ("collapsed_total", {"market": "spot"}),
        ("retries_total", {"market": "spot", "reason": "timeout"}),
        ("upstream_requests_total", {"market": "spot", "endpoint": "klines", "status": "403"}),
    ]
    home.metrics(CALLED)
    for name, wanted in zeros:
        assert home.value(f"mdcache_{name}", **wanted) == 0, name


def test_the_registry_has_the_metrics_of_the_process() -> None:
    value = new_registry().get_sample_value("process_resident_memory_bytes")
    assert value is not None
    assert value > 1_000_000


def test_a_closure_is_counted_once_however_often_it_is_extended() -> None:
    home = Home()
    home.metrics(GateChanged("futures", "closed", "418", 1.0))
    home.metrics(GateChanged("futures", "closed", "418", 9.0, extended=True))
    for state in ("probing", "closed", "probing", "ramp", "open", "closed"):
        home.metrics(GateChanged("futures", state, "418", 1.0))
    assert home.value("mdcache_gate_closures_total", family="futures", reason="418") == 3


def test_requests() -> None:
    home = Home()
    for seconds, age_s in ((0.000_02, 0.7), (0.3, None)):
        home.metrics.record("usdm", "markPriceKlines", "hit", "engine", home.clock.now() - seconds, age_s)
    wanted = {"endpoint": "markPriceKlines", "result": "hit"}
    assert home.value("mdcache_requests_total", market="usdm", client="engine", **wanted) == 2
    assert home.value("mdcache_request_seconds_count", **wanted) == 2
    assert home.value("mdcache_request_seconds_bucket", le="2.5e-05", **wanted) == 1
    assert home.value("mdcache_request_seconds_bucket", le="+Inf", **wanted) == 2
    assert home.value("mdcache_request_seconds_sum", **wanted) == pytest.approx(0.30002)
    assert home.value("mdcache_tail_age_seconds_count", market="usdm") == 1


def test_hits_that_are_not_timed_are_counted_when_it_is_asked() -> None:
    home = Home()
    counts = home.metrics.hit_counts("spot", "klines", "engine")
    counts.record(home.clock.now(), 0.2)
    for age_s, until_s, times in ((0.2, 0.25, 3), (0.25, 0.25, 1), (0.9, 1.0, 2), (1_000.0, math.inf, 1), (None, 0, 4)):
        tally, same_until_s = counts.tally(age_s)
        assert age_s is None or same_until_s == until_s
        for _ in range(times):
            tally.count += 1
            tally.age_s += age_s or 0.0
    wanted = {"endpoint": "klines", "result": "hit"}
    for _ in range(2):  # counted once only
        assert home.metrics.minute()["hit"] == 12
        assert home.value("mdcache_requests_total", market="spot", client="engine", **wanted) == 12
        assert home.value("mdcache_request_seconds_bucket", le="1e-05", **wanted) == 12
        assert home.value("mdcache_request_seconds_sum", **wanted) == pytest.approx(11 * 0.000_005)
        ages = [home.value("mdcache_tail_age_seconds_bucket", market="spot", le=le) for le in ("0.25", "1.0", "+Inf")]
        assert ages == [5, 7, 8]
        sum_s = home.value("mdcache_tail_age_seconds_sum", market="spot")
        assert sum_s == pytest.approx(0.2 + 0.6 + 0.25 + 1.8 + 1_000)
    assert home.metrics.results()["hit"] == 12
    home.metrics.hit_counts("spot", "klines", "stranger").tally(None)[0].count += 1
    assert home.value("mdcache_requests_total", market="spot", client="other", **wanted) == 1


def ask(home: Home, result: str, times: int = 1) -> None:
    for _ in range(times):
        home.metrics.record("spot", "klines", result, "engine", home.clock.now(), None)


def test_the_last_minutes_requests_are_counted_not_extrapolated() -> None:
    home = Home()
    assert set(home.metrics.minute().values()) == {0}
    ask(home, "hit", 40)
    assert home.metrics.minute()["hit"] == 40  # and not 2,400, as in the first second of a page's life
    home.clock.seconds += 30.0
    ask(home, "hit", 2)
    ask(home, "error")
    assert (home.metrics.minute()["hit"], home.metrics.minute()["error"]) == (42, 1)
    home.clock.seconds += 29.0
    assert home.metrics.minute()["hit"] == 42
    home.clock.seconds += 1.0
    assert home.metrics.minute()["hit"] == 2
    home.clock.seconds += 29.0
    assert home.metrics.minute()["error"] == 1
    home.clock.seconds += 1.0
    assert set(home.metrics.minute().values()) == {0}
    assert home.metrics.results()["hit"] == 42


def test_the_last_minutes_by_second_and_how_long_they_took() -> None:
    home = Home()
    assert home.metrics.recent() == RecentAnswers({}, {}, {})
    tally, _ = home.metrics.hit_counts("spot", "klines", "engine").tally(0.2)
    home.clock.seconds = 100.5
    ask(home, "error")  # the fast lane asks anew each second, and counts by this between
    tally.count += 99
    home.clock.seconds = 102.5
    for seconds in (0.000_02, 0.03, 7.0):
        home.metrics.record("spot", "depth", "miss", "ai", home.clock.now() - seconds, seconds)
    tally.count += 300
    assert home.metrics.recent().by_second == {"error": [*[0] * 298, 1, 0], "hit": [*[0] * 298, 99, 0]}
    home.clock.seconds = 103.0
    recent = home.metrics.recent()
    assert recent.by_second["hit"][-4:] == [0, 99, 0, 300]
    assert recent.by_second["miss"][-1] == 3
    assert recent.seconds == {
        "all": Quantiles(0.000_01, 0.000_01),
        "hit": Quantiles(0.000_01, 0.000_01),
        "error": Quantiles(0.000_01, 0.000_01),
        "miss": Quantiles(0.05, 10.0),
    }
    assert recent.tail_ages == {"spot": Quantiles(0.25, 0.25)}
    home.clock.seconds = 161.9
    assert home.metrics.recent().seconds.keys() == {"all", "hit", "miss"}  # the second of the error is over
    home.clock.seconds = 200.0
    assert home.metrics.recent().seconds == {}
    assert sum(home.metrics.recent().by_second["hit"]) == 399
    home.clock.seconds = 401.0
    assert home.metrics.recent().by_second.keys() == {"hit", "miss"}
    home.clock.seconds = 403.0
    assert home.metrics.recent().by_second == {}


@given(st.lists(st.tuples(st.floats(0.0, 45.0), st.integers(0, 3)), max_size=40))
def test_any_minute(steps: list[tuple[float, int]]) -> None:
    home = Home()
    asked: list[int] = []
    for wait_s, times in steps:
        home.clock.seconds += wait_s
        ask(home, "miss", times)
        asked += [int(home.clock.now())] * times
        assert home.metrics.minute()["miss"] == sum(int(home.clock.now()) - second < 60 for second in asked)
        whole = [sum(second == int(home.clock.now()) - ago for second in asked) for ago in range(KEPT_S, 0, -1)]
        assert home.metrics.recent().by_second.get("miss", [0] * KEPT_S) == whole


@given(st.lists(st.tuples(*[st.text(max_size=8)] * 4, st.floats(-1, 100), st.none() | st.floats(0, 1e6)), max_size=60))
def test_random_labels_all_become_other(requests: list[tuple[str, str, str, str, float, float | None]]) -> None:
    home = Home()
    for request in requests:
        home.metrics.record(*request)
    (family,) = [metric for metric in home.registry.collect() if metric.name == "mdcache_requests"]
    assert sum(sample.value for sample in family.samples) == len(requests)
    allowed = {
        "market": {*labels.MARKETS, "other"},
        "endpoint": {*labels.ENDPOINTS, "other"},
        "result": {*labels.RESULTS, "other"},
        "client": {"engine", "ai", "other"},
    }
    for sample in family.samples:
        assert all(sample.labels[name] in values for name, values in allowed.items())


known = {value for name, values in vars(labels).items() if name.isupper() for value in values}
strange = st.text(max_size=6).filter(lambda text: text not in known)  # each known one has series of its own


@given(st.lists(st.tuples(strange, strange, st.integers()), max_size=40))
def test_random_events_are_bounded_too(seen: list[tuple[Any, Any, int]]) -> None:
    home = Home()
    before = len(list(home.page().splitlines()))
    for one, two, number in seen:
        home.metrics(UpstreamCalled(one, two, one, two, one, number, two, 1, 1, 0.1))
        home.metrics(GateChanged(one, "closed", two, 1.0))
        home.metrics(Retried(one, two))
        home.metrics(BodyRejected(one, one, two, two))
        home.metrics(QueueWaited(one, 1.0))
        home.metrics(ClockMeasured(one, 1.0, 1.0))
    assert len(home.page().splitlines()) <= before + 60


def test_a_failing_gauge_is_not_hidden() -> None:
    home = Home()
    home.families = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        home.page()


def test_open_metrics_where_it_is_asked_for() -> None:
    home = Home()
    for event in everything():
        home.metrics(event)
    body, content_type = home.metrics.page("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert b" # {" not in body  # no exemplars


def test_every_fault_can_happen_and_is_counted_by_its_name() -> None:
    statuses = [failure(ReplyHead(status, ()), b"") for status in (302, 408, 500)]
    seen = {fault for _, fault in FAULTS} | {each.reason for each in statuses if isinstance(each, ServerFailed)}
    assert seen == set(Fault)
    home = Home()
    for fault in set(labels.RETRY_REASONS):
        home.metrics(Retried("spot", fault))
        assert home.value("mdcache_retries_total", market="spot", reason=fault) == 1
    assert home.value("mdcache_retries_total", market="spot", reason="other") is None


def test_series_that_nothing_can_increment_are_not_there() -> None:
    page = Home().page()
    for reason in ("replica", "status", "unknown", "no-progress"):
        assert f'reason="{reason}"' not in page


def test_every_path_has_its_label() -> None:
    assert {each.short_path for found in ENDPOINTS.values() for each in found} == set(labels.SNAPSHOTS)
