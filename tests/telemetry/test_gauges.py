"""Gauges, which are read at each scrape."""

import pytest

from mdcache.cache.stream_status import TOPIC_STATES, of_every_market
from mdcache.telemetry import labels
from tests.telemetry.metrics_home import Home, State


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


def test_a_failing_gauge_is_not_hidden() -> None:
    home = Home()
    home.families = None  # type: ignore[assignment] # so that it fails
    with pytest.raises(TypeError):
        home.page()
