"""How clients' requests are counted, in all and in the last minute."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.results import Quantiles, RecentAnswers
from mdcache.telemetry.recent_requests import KEPT_S
from tests.telemetry.metrics_home import Home


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
