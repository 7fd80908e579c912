"""What a plan counts on to keep open candles fresh: streams, derivation or polling, and what each costs."""

from dataclasses import replace

import pytest
from hypothesis import given

from mdcache.capacity import Demand, PlanTerms, Source, demand, describe, plan
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from tests.capacity.test_capacity import demands, terms

POLLED = PlanTerms(dict.fromkeys(INTERVALS, 2.0), 0.5, 300.0)
STREAMED = replace(POLLED, streams=True, derive=True)
DERIVED = replace(POLLED, derive=True)
INCIDENT = demand("20x6", Market.SPOT, consumers=3)
UPKEEP = 20 / 5 + 1 / 5


class TestStreams:
    def test_a_warm_minute_of_the_incident_settles_what_closed_and_reads_nothing_else(self) -> None:
        found = plan(INCIDENT, STREAMED)
        assert set(found.sources.values()) == {Source.STREAM}
        reads = 20 * (1 / 20 + 1 / 20 + 1 / 30 + 1 / 60 + 1 / 240 + 1 / 1_440)  # 20 minutes of rows, or a row
        assert (found.tails, found.closes) == (0, 0)
        assert found.settling == pytest.approx(2 * reads)
        assert found.weight == pytest.approx(2 * reads + UPKEEP)
        assert found.weight <= 12
        assert found.fill_weight + found.weight <= 280  # the cold minute

    def test_one_topic_a_series_and_one_a_market_on_connections_of_800(self) -> None:
        found = [plan(demand(text, Market.SPOT), STREAMED) for text in ("20x6", "799x1m", "800x1m", "5000x1m")]
        assert [(each.topics, each.connections) for each in found] == [(121, 1), (800, 1), (801, 2), (5_001, 7)]
        assert [plan(INCIDENT, POLLED).topics, plan(INCIDENT, POLLED).connections] == [0, 0]

    def test_on_futures_a_close_that_somebody_asks_about_before_the_late_final_frame_is_a_read(self) -> None:
        always = plan(demand("10x1m", Market.USDM), STREAMED)
        assert always.closes == pytest.approx(10)  # weight 1, once a minute
        assert plan(demand("10x1m", Market.USDM, consumers=1, every_s=5.0), STREAMED).closes == pytest.approx(
            10 * 2 / 5
        )
        assert plan(demand("10x1m", Market.USDM, consumers=3, every_s=5.0), STREAMED).closes == pytest.approx(10)
        assert plan(demand("10x1h", Market.COINM), STREAMED).closes == pytest.approx(10 / 60)

    def test_few_reads_settle_what_closed_and_none_where_closes_are_read(self) -> None:
        assert plan(demand("1x1s", Market.SPOT), STREAMED).settling == pytest.approx(2 / 20)
        assert plan(demand("1x1h", Market.SPOT), STREAMED).settling == pytest.approx(2 / 60)
        assert plan(demand("500x1m", Market.SPOT), STREAMED).settling == 5 * 2
        assert plan(demand("500x1m", Market.USDM), STREAMED).settling == 0
        rare = demand("1x1m", Market.USDM, consumers=1, every_s=40.0)
        assert plan(rare, STREAMED).settling == pytest.approx(0.95 / 20)

    def test_at_worst_all_symbols_are_so_seldom_traded_that_streams_spare_nothing(self) -> None:
        assert plan(INCIDENT, STREAMED).worst == plan(INCIDENT, POLLED).worst
        slow = replace(STREAMED, ttls_s=dict.fromkeys(INTERVALS, 3.0))
        found = plan(INCIDENT, slow)
        assert (found.fits, found.fits_without_streams, found.fits_at_worst) == (True, True, False)
        assert any("traded all the time: at worst they cost 4,804" in line for line in describe(found))

    def test_a_series_that_is_asked_for_less_often_than_streams_are_kept_is_polled(self) -> None:
        rare = demand("1x1m", Market.SPOT, consumers=1, every_s=301.0)
        assert plan(rare, STREAMED).sources == {"1m": Source.POLLED}
        assert plan(replace(rare, every_s=300.0), STREAMED).sources == {"1m": Source.STREAM}

    def test_no_ttl_is_advised_where_none_matters(self) -> None:
        found = plan(INCIDENT, STREAMED)
        assert (found.least_ttl_s, found.slower_ttl_s) == (None, None)

    def test_what_it_costs_where_streams_are_blocked_is_told(self) -> None:
        found = plan(INCIDENT, replace(STREAMED, derive=False))
        assert found.without_streams == pytest.approx(4_320 + UPKEEP)
        assert (found.fits, found.fits_without_streams) == (True, False)
        said = "\n".join(describe(found))
        assert "MDCACHE_STREAMS=auto): 121 topics on 1 connection" in said
        assert "where streams are blocked              4,324.2" in said
        assert "It does not fit where streams are blocked" in said
        assert plan(INCIDENT, STREAMED).fits_without_streams
        assert plan(INCIDENT, POLLED).without_streams is None


class TestDerivation:
    def test_the_shortest_is_polled_and_the_others_cost_a_read_a_close(self) -> None:
        found = plan(replace(INCIDENT, intervals=INCIDENT.intervals[:5]), DERIVED)
        assert found.sources == {"1m": Source.POLLED} | dict.fromkeys(("5m", "15m", "1h", "4h"), Source.DERIVED)
        assert found.tails == pytest.approx(20 * 18 * 2)
        assert found.closes == pytest.approx(20 * 2 * (1 / 5 + 1 / 15 + 1 / 60 + 1 / 240))
        assert any("5m, 15m, 1h, 4h derived" in line for line in describe(found))

    def test_only_from_an_interval_that_divides_it_and_none_longer_than_a_day(self) -> None:
        found = plan(demand("1x3m,5m,15m,12h,3d,1w,1M", Market.SPOT), DERIVED).sources
        assert [name for name, source in found.items() if source is Source.DERIVED] == ["15m", "12h"]

    def test_only_if_a_page_of_a_polled_interval_reaches_back_to_the_bucket_before(self) -> None:
        def derived(text: str, market: Market, rows: int) -> list[str]:
            found = plan(demand(text, market, rows=rows), DERIVED).sources
            return [name for name, source in found.items() if source is Source.DERIVED]

        assert derived("1x1m,30m,1h", Market.USDM, 99) == ["30m"]
        assert derived("1x1m,4h", Market.USDM, 499) == ["4h"]
        assert derived("1x1m,8h", Market.USDM, 499) == []
        assert derived("1x1m,5m,1d", Market.SPOT, 500) == ["5m"]  # 5m is not read often enough to derive from
        assert derived("1x5m,1d", Market.SPOT, 500) == ["1d"]

    def test_it_is_for_where_no_stream_is(self) -> None:
        assert Source.DERIVED not in plan(INCIDENT, STREAMED).sources.values()

    def test_the_slower_ttl_that_is_advised_is_that_of_what_is_polled(self) -> None:
        found = plan(demand("45x1m,1h,1w", Market.SPOT, consumers=9), DERIVED)
        assert not found.fits
        assert found.slower_ttl_s is not None
        assert plan(found.demand, replace(DERIVED, ttls_s=dict(DERIVED.ttls_s) | {"1w": found.slower_ttl_s})).fits
        assert not plan(found.demand, replace(DERIVED, ttls_s=dict(DERIVED.ttls_s) | {"1h": found.slower_ttl_s})).fits


def test_what_is_asked_for_too_seldom_for_a_stream_costs_each_question_at_worst() -> None:
    found = plan(demand("1x1m", Market.SPOT, consumers=1, every_s=301.0), STREAMED)
    assert found.topics == 0
    assert found.weight == found.worst


@given(demands, terms)
def test_neither_costs_more_than_polling(asked: Demand, polled: PlanTerms) -> None:
    weight = plan(asked, polled).weight
    derived = plan(asked, replace(polled, derive=True))
    assert derived.weight <= weight * (1 + 1e-9)
    assert derived.weight <= derived.worst * (1 + 1e-9)
    streamed = plan(asked, replace(polled, streams=True))
    assert streamed.weight <= streamed.worst * (1 + 1e-9)
    assert streamed.topics in {0, asked.series + 1}
    if streamed.topics:
        assert streamed.weight - streamed.settling <= weight * (1 + 1e-9)
