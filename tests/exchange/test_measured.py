"""What is taken of a profile: more care at once, less only within bounds (docs/design.md#exchange-profile)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange.fact_kinds import FactValue
from mdcache.exchange.facts import FACTS
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.exchange.measured import AS_ASSUMED, Measured, SettleTimes, take
from mdcache.exchange.profile import Profile
from mdcache.exchange.streams import cadence_ms
from mdcache.exchange.weights import klines_weight, page_limit

USUAL = SettleTimes(3_000, 60_000)
SPOT, USDM, COINM = "/api/v3/klines", "/fapi/v1/klines", "/dapi/v1/klines"


def taken(facts: dict[str, FactValue], usual: SettleTimes = USUAL) -> Measured:
    return take(Profile(1, "1.0", {}, facts), usual)


def test_what_is_as_assumed_changes_nothing_but_how_soon_one_read_settles_a_row() -> None:
    found = taken({key: fact.assumed for key, fact in FACTS.items() if key != "spot.three_day_phases"})
    assert {note.fact for note in found.notes} == {f"{market}.final_row_lag_ms" for market in Market}
    assert found.times == dict.fromkeys(Market, SettleTimes(3_000, 30_000))
    assert (found.endpoints, found.final_frames_ms, found.cadences_ms) == ({}, {}, {})
    assert take(None, USUAL).notes == ()


@pytest.mark.parametrize(
    ("lag_ms", "usual", "expected"),
    [
        (200, USUAL, SettleTimes(3_000, 30_000)),
        (200, SettleTimes(3_000, 60_000, given=True), SettleTimes(3_000, 60_000, given=True)),
        (200, SettleTimes(3_000, 20_000), SettleTimes(3_000, 20_000)),
        (5_000, USUAL, SettleTimes(7_500, 60_000)),
        (5_000, SettleTimes(3_000, 10_000, given=True), SettleTimes(7_500, 20_000, given=True)),
        (24_000, USUAL, SettleTimes(36_000, 96_000)),
        (5_000, SettleTimes(20_000, 60_000), SettleTimes(20_000, 60_000)),
    ],
)
def test_the_lag_after_a_close_lengthens_what_settles_a_row(
    lag_ms: int, usual: SettleTimes, expected: SettleTimes
) -> None:
    found = taken({"usdm.final_row_lag_ms": lag_ms}, usual)
    assert found.times == {Market.SPOT: usual, Market.USDM: expected, Market.COINM: usual}
    assert bool(found.notes) is (expected != usual or lag_ms > 3_000)


def test_final_frames_are_waited_for_where_they_come_at_once() -> None:
    found = taken({"spot.final_frame_lag_ms": 5_000, "usdm.final_frame_lag_ms": 150, "coinm.final_frame_lag_ms": 1_900})
    assert [found.final_frame_ms(market) for market in Market] == [0, 500, 0]
    assert [AS_ASSUMED.final_frame_ms(market) for market in Market] == [500, 0, 0]


@pytest.mark.parametrize(("lag_ms", "lost_s"), [(0, 3.0), (2_300, 3.0), (5_000, 7.5), (120_000, 30.0)])
def test_a_final_frame_is_mended_only_when_it_is_later_than_others_were(lag_ms: int, lost_s: float) -> None:
    found = taken({"usdm.final_frame_lag_ms": lag_ms})
    assert [found.lost_frame_s(market) for market in Market] == [3.0, lost_s, 3.0]


@pytest.mark.parametrize(("seen", "expected"), [(250, 250), (1_000, 1_000), (3_001, 250)])
def test_frames_that_come_more_seldom_are_waited_for_but_not_for_long(seen: int, expected: int) -> None:
    found = taken({"usdm.frame_cadence_ms": seen})
    assert found.cadence_ms(SeriesKey(Market.USDM, "klines", "BTCUSDT", "", "1m")) == expected
    assert found.cadence_ms(SeriesKey(Market.SPOT, "klines", "BTCUSDT", "", "1m")) == 2_000


def test_pages_and_windows_become_smaller_but_not_tiny_and_never_larger() -> None:
    found = taken(
        {"spot.klines_cap": 500, "usdm.klines_cap": 99, "coinm.klines_cap": 2_000, "coinm.range_days_cap": 30}
    )
    spot, usdm, coinm = (found.endpoint(KLINE_ENDPOINTS[path]) for path in (SPOT, USDM, COINM))
    assert (spot.max_limit, page_limit(spot, 400), found.endpoint(KLINE_ENDPOINTS["/api/v3/uiKlines"]).max_limit) == (
        500, 500, 500,
    )  # fmt: skip
    assert (usdm.max_limit, coinm.max_limit, coinm.max_span_ms) == (1_500, 1_500, 30 * 86_400_000)
    assert {note.fact: note.taken for note in found.notes} == {
        "spot.klines_cap": True, "usdm.klines_cap": False, "coinm.klines_cap": False, "coinm.range_days_cap": True,
    }  # fmt: skip


def test_a_page_fits_under_a_cap_in_the_middle_of_a_step() -> None:
    usdm = taken({"usdm.klines_cap": 700}).endpoint(KLINE_ENDPOINTS[USDM])
    assert [page_limit(usdm, rows) for rows in (50, 400, 600, 700, 1_500)] == [99, 499, 700, 700, 700]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"99": 2, "100": 4, "500": 10, "1500": 20}, ((99, 2), (499, 4), (1_000, 10), (1_500, 20))),
        ({"100": 1, "500": 4, "1500": 20}, ((99, 1), (499, 2), (500, 5), (1_000, 10), (1_500, 20))),
        ({"1000": 6}, ((99, 2), (499, 3), (1_000, 6), (1_500, 12))),
        ({"99": 1, "100": 2, "1500": 10}, ()),
        ({"50": 1, "100": 1, "500": 2}, ()),
        ({"50": 3}, ((99, 3), (499, 6), (1_000, 15), (1_500, 30))),
    ],
)
def test_the_greater_weight_is_reserved(seen: dict[str, int], expected: tuple[tuple[int, int], ...]) -> None:
    found = taken({"usdm.klines_weights": seen})
    usdm = found.endpoint(KLINE_ENDPOINTS[USDM])
    assert usdm.weights == expected
    assert all(klines_weight(usdm, int(limit)) >= weight for limit, weight in seen.items())
    assert found.endpoint(KLINE_ENDPOINTS["/fapi/v1/markPriceKlines"]).weights == ()


def test_a_smaller_weight_is_not_reserved() -> None:
    found = taken({"spot.klines_weights": {"1000": 1}, "usdm.klines_weights": {"100": 1}})
    assert [(note.fact, note.taken) for note in found.notes] == [
        ("spot.klines_weights", False),
        ("usdm.klines_weights", False),
    ]


def test_what_would_make_frames_or_silence_wrong_ends_their_use() -> None:
    found = taken({"spot.mini_tickers_list_traded": False, "coinm.frames_equal_rows": False})
    assert found.unlisted == {Market.SPOT}
    assert found.unequal == {Market.COINM}


def test_what_differs_and_changes_nothing_is_said() -> None:
    (note,) = taken({"coinm.both_ends_rows": "oldest"}).notes
    assert (note.taken, note.measured, note.assumed) == (False, "oldest", "newest")
    assert "may lack rows" in note.effect


SAMPLES: dict[str, st.SearchStrategy[Any]] = {
    "final_row_lag_ms": st.integers(0, 120_000),
    "final_frame_lag_ms": st.integers(0, 120_000),
    "frame_cadence_ms": st.integers(50, 60_000),
    "klines_cap": st.integers(1, 10_000),
    "range_days_cap": st.integers(0, 100_000),
    "klines_weights": st.lists(st.tuples(st.integers(1, 1_000), st.integers(0, 200)), min_size=1, max_size=4).map(
        lambda steps: dict(zip(map(str, sorted({t for t, _ in steps})), sorted(w for _, w in steps), strict=False))
    ),
}


@given(
    facts=st.dictionaries(st.sampled_from(list(SAMPLES)), st.none()).flatmap(
        lambda chosen: st.fixed_dictionaries({name: SAMPLES[name] for name in chosen})
    ),
    market=st.sampled_from(Market),
)
def test_no_profile_makes_the_daemon_less_careful_than_its_bounds(facts: dict[str, FactValue], market: Market) -> None:
    named = {f"{market}.{name}": value for name, value in facts.items()}
    assert all(FACTS[key].kind.fault(value) is None for key, value in named.items())
    found = taken(named)
    times = found.times[market]
    assert times.settle_ms >= USUAL.settle_ms
    assert times.confirm_ms >= 30_000
    assert times.confirm_ms > 2 * times.settle_ms
    assert 0 <= found.final_frame_ms(market) <= 500
    assert 3.0 <= found.lost_frame_s(market) <= 30.0
    key = SeriesKey(market, "klines", "X", "", "1m")
    assert cadence_ms(key) <= found.cadence_ms(key) <= 3_000
    for usual in KLINE_ENDPOINTS.values():
        rules = found.endpoint(usual)
        assert 100 <= rules.max_limit <= usual.max_limit
        assert (rules.max_span_ms is None) == (usual.max_span_ms is None)
        assert 10 * 86_400_000 <= (rules.max_span_ms or 1 << 60) <= (usual.max_span_ms or 1 << 60)
        for limit in (1, 99, 100, 499, 500, 1_000, 1_500):
            assert klines_weight(rules, limit) >= klines_weight(usual, limit)
        assert all(limit <= page_limit(rules, limit) <= rules.max_limit for limit in (1, 50, 100))
