"""Metrics as docs/design.md#metrics documents them: names, types, labels, closed sets."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.daemon_events import ClientRefused, SettingsRefused, SettingsReloaded
from mdcache.errors import BodyFault, Fault, ServerFailed
from mdcache.events import (
    AuditVerdict,
    BackgroundTask,
    BackgroundTaskFailed,
    BodyRejected,
    ClockMeasured,
    ClockSuspect,
    DaemonStopped,
    DerivationAttempted,
    DerivationEnded,
    DerivationResult,
    DumpRowsJudged,
    DumpVerdict,
    Event,
    GateChanged,
    MemoryEvicted,
    OddBody,
    QueueWaited,
    RequestCollapsed,
    Retried,
    RowRevised,
    RowsAudited,
    RowsRead,
    SymbolsLoaded,
    UpstreamCalled,
)
from mdcache.exchange.endpoints import ENDPOINTS
from mdcache.store_events import StoreOp, Tier, TierFailed, TierStateChanged, TierUsed
from mdcache.stream_events import ConnectReason, StreamConnected, StreamEnd, StreamEnded, StreamRefused, StreamsSilent
from mdcache.telemetry import catalogue, labels
from mdcache.telemetry.metrics import new_registry
from mdcache.upstream.http_client import FAULTS
from mdcache.upstream.reply_head import ReplyHead
from mdcache.upstream.reply_status import failure
from tests.telemetry.metrics_home import CALLED, Home

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
mdcache_audit_rows_total{market,verdict} mdcache_settings_loaded_timestamp_seconds mdcache_settings_refused
mdcache_clients_refused_total{client}
mdcache_derived_total{result} mdcache_listeners{market,kind} mdcache_listeners_max mdcache_listened_topics{market}
mdcache_listened_series{market} mdcache_relayed_frames_total{market} mdcache_dropped_frames_total{market,reason}
mdcache_dump_rows_total{market,verdict}
mdcache_mended_frames_total{market} mdcache_listener_closes_total{market,reason} mdcache_events_sent_total{market,event}
"""
DOCUMENTED = (DOCUMENTED_TEXT + MORE).split()


def everything() -> list[Event]:
    return [
        CALLED,
        RowsRead("spot", 500),
        GateChanged("spot", "closed", "429", 30.0),
        Retried("spot", Fault.TIMEOUT),
        BodyRejected("spot", "/api/v3/klines", BodyFault.NOT_JSON, "<html>"),
        OddBody("spot", "/api/v3/klines", "more-columns"),
        RowRevised("spot", "spot/klines/BTCUSDT/1m", 1, b"[1]", b"[2]"),
        RowsAudited("spot", AuditVerdict.DIFFERENT, 2),
        DumpRowsJudged("spot", "spot/klines/BTCUSDT/1m", DumpVerdict.DIFFERING, 7),
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
        ClientRefused("engine", "10.0.0.9"),
        SettingsRefused(("a",)),
        SettingsReloaded((), ()),
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
        ("dump_rows_total", {"market": "spot", "verdict": "differing"}, 14),
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
