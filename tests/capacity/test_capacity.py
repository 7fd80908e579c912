"""What a plan promises, against the tables, against itself and against what the exchange really charged."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.capacity import (
    COMMON_INTERVALS,
    CapacityPlan,
    Demand,
    InvalidPlan,
    PlanTerms,
    Source,
    demand,
    plan,
)
from mdcache.capacity.refreshes import reads_per_minute
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.markets import Market
from mdcache.settings import Settings
from mdcache.sim import SimConfig
from tests.support.examples import exhaustive, long
from tests.support.virtual_daemon import DaemonOptions, VirtualDaemon

pytestmark = pytest.mark.virtual

TTL_S = 2.0
TERMS = PlanTerms(dict.fromkeys(INTERVALS, TTL_S), 0.5, 300.0)
INCIDENT = demand("20x6", Market.SPOT, consumers=3)
PATHS = {Market.SPOT: "/api/v3/klines", Market.USDM: "/fapi/v1/klines", Market.COINM: "/dapi/v1/klines"}
SYMBOLS = {
    Market.SPOT: ("BTCUSDT", "ETHUSDT", "SOLUSDT"),
    Market.USDM: ("BTCUSDT", "ETHUSDT"),
    Market.COINM: ("BTCUSD_PERP", "ETHUSD_PERP"),
}


class TestWhatIsAsked:
    def test_a_number_of_intervals_means_the_usual_ones(self) -> None:
        assert INCIDENT.intervals == ("1m", "5m", "15m", "1h", "4h", "1d")
        assert (INCIDENT.symbols, INCIDENT.series) == (20, 120)

    def test_intervals_may_be_named(self) -> None:
        assert demand("3x1m,1M,1m", Market.USDM).intervals == ("1m", "1M")

    def test_the_usual_ones_are_all_that_every_market_has(self) -> None:
        assert set(COMMON_INTERVALS) == INTERVALS.keys() - {"1s"}

    @pytest.mark.parametrize(
        ("text", "market", "rows", "said"),
        [
            ("20", Market.SPOT, 500, "20x6"),
            ("0x6", Market.SPOT, 500, "20x6"),
            ("20x0", Market.SPOT, 500, "1 to 15"),
            ("20x16", Market.SPOT, 500, "1 to 15"),
            ("20x7m", Market.SPOT, 500, "7m: the intervals of spot are 1s, 1m"),
            ("20x1s", Market.USDM, 500, "1s: the intervals of usdm are 1m"),
            ("20x6", Market.SPOT, 1001, "1 to 1000"),
            ("20x6", Market.USDM, 0, "1 to 1500"),
        ],
    )
    def test_others_are_refused_with_what_is_right(self, text: str, market: Market, rows: int, said: str) -> None:
        with pytest.raises(InvalidPlan, match=said):
            demand(text, market, rows=rows)

    def test_a_ttl_of_nothing_needs_to_know_how_often_is_asked(self) -> None:
        terms = replace(TERMS, ttls_s=dict.fromkeys(INTERVALS, 0.0))
        with pytest.raises(InvalidPlan, match="--consumers and --every"):
            plan(replace(INCIDENT, consumers=0), terms)
        assert plan(INCIDENT, terms).tails == 8_640  # every question a read


class TestTheIncident:
    """20 x 6 x 3 every 5 s: 8,640 a minute directly, 4,320 through a cache with a TTL of 2 s (measured so)."""

    def test_its_weights(self) -> None:
        found = plan(INCIDENT, TERMS)
        assert found.direct == 8_640
        assert (found.tails, found.closes) == pytest.approx((4_320, 0))
        assert found.upkeep == pytest.approx(20 / 5 + 1 / 5)
        assert (found.limit, found.usable, found.fits) == (6_000, 3_000, False)
        assert found.worst == pytest.approx(7_200 + found.upkeep, abs=1)
        assert (found.fill_calls, found.fill_weight) == (120, 240 + 20 + 3)

    def test_what_would_make_it_fit_does(self) -> None:
        found = plan(INCIDENT, TERMS)
        assert found.least_ttl_s is not None
        assert found.share is not None
        assert found.slower_ttl_s is not None
        assert plan(INCIDENT, replace(TERMS, ttls_s=dict.fromkeys(INTERVALS, found.least_ttl_s))).fits
        assert plan(INCIDENT, replace(TERMS, share=found.share)).fits
        slower = dict.fromkeys(INTERVALS, found.slower_ttl_s) | {"1m": TTL_S}
        assert plan(INCIDENT, replace(TERMS, ttls_s=slower)).fits
        assert not plan(INCIDENT, replace(TERMS, share=round(found.share - 0.01, 2))).fits


def test_futures_are_cheaper_to_poll_and_dearer_to_fill() -> None:
    found = plan(replace(INCIDENT, market=Market.USDM), TERMS)
    assert (found.tails, found.usable, found.direct) == pytest.approx((2_160, 1_200, 21_600))
    assert found.fill_weight == 120 * 5 + 1 + 3
    assert plan(replace(INCIDENT, market=Market.USDM, rows=499), TERMS).fill_weight == 120 * 2 + 1 + 3


def test_more_than_nine_tenths_of_the_limit_is_never_used() -> None:
    assert plan(INCIDENT, replace(TERMS, share=1.0)).usable == 5_400


def test_where_closes_alone_are_too_much_no_ttl_helps() -> None:
    found = plan(demand("1000x1s", Market.SPOT), TERMS)
    assert (found.fits, found.least_ttl_s, found.slower_ttl_s, found.share) == (False, None, None, None)


@pytest.mark.parametrize(
    ("length_s", "ttl_s", "spacing_s", "reads"),
    [
        (60, 2, 0, 30),  # every TTL
        (60, 7, 0, 9),  # a close cuts the last one short
        (1, 2, 0, 60),  # each close is a read
        (60, 2, 5, 12),  # asked for less often than it ages
        (60, 5, 5, 6),  # as old as its TTL is still fresh
        (60, 2, 5 / 3, 18),
        (1, 2, 5, 12),
        (86_400, 10, 5, 4),
    ],
)
def test_reads_a_minute(length_s: float, ttl_s: float, spacing_s: float, reads: float) -> None:
    assert reads_per_minute(length_s, ttl_s, spacing_s) == pytest.approx(reads)


demands = st.builds(
    Demand,
    market=st.sampled_from(Market),
    symbols=st.integers(1, 2_000),
    intervals=st.lists(st.sampled_from(COMMON_INTERVALS), min_size=1, unique=True).map(tuple),
    consumers=st.integers(0, 9),
    every_s=st.floats(0.2, 600),
    rows=st.integers(1, 1_000),
)
terms = st.builds(
    PlanTerms,
    ttls_s=st.dictionaries(st.sampled_from(COMMON_INTERVALS), st.floats(0.1, 600)).map(
        lambda some: dict.fromkeys(INTERVALS, 2.0) | some
    ),
    share=st.floats(0.01, 1.0),
    exchange_info_s=st.floats(1, 86_400),
)


@given(demands, terms)
def test_advice_that_is_given_is_right(asked: Demand, given_terms: PlanTerms) -> None:
    found = plan(asked, given_terms)
    assert 0 < found.tails <= found.weight <= found.worst * (1 + 1e-9)
    if found.least_ttl_s is not None:
        assert plan(asked, replace(given_terms, ttls_s=dict.fromkeys(INTERVALS, found.least_ttl_s))).fits
    if found.share is not None:
        assert plan(asked, replace(given_terms, share=found.share)).fits
        assert found.fits or found.share > given_terms.share


# ------------------------------------------------------------------ against the exchange's own meter


async def charged(w: VirtualDaemon, asked: Demand, minutes: int, first: int = 0) -> tuple[int, float]:
    """Weight that filling cost, and weight a minute of `minutes` of polling as `asked` says, after the `first` ones."""
    path = PATHS[asked.market]
    questions = [
        f"symbol={symbol}&interval={interval}&limit={asked.rows}"
        for symbol in SYMBOLS[asked.market][: asked.symbols]
        for interval in asked.intervals
    ]
    for query in questions:
        await w.ask(path, query)
    fill = len(w.exchange.log)
    await w.clock.sleep(60.0)
    wait_s = 60 - (w.clock.true_ms() / 1000) % 60
    start_s, start_ms = w.clock.now() + wait_s, w.clock.true_ms() + wait_s * 1000
    consumers, every_s = (asked.consumers, asked.every_s) if asked.consumers else (1, 0.1)

    async def consumer(number: int) -> None:
        for turn in range(round((first + minutes) * 60 / every_s)):
            for place, query in enumerate(questions):
                at_s = start_s + (number / consumers + turn + place / len(questions)) * every_s
                await w.clock.sleep(at_s - w.clock.now())
                answer = await w.ask(path, query)
                assert not answer.stale

    await asyncio.gather(*(consumer(number) for number in range(consumers)))
    log = list(w.exchange.log)
    counted = [entry for entry in log[fill:] if not first or entry.at_ms >= start_ms + first * 60_000]
    return sum(entry.weight for entry in log[:fill]), sum(entry.weight for entry in counted) / minutes


def predicted(asked: Demand, ttl_s: float) -> CapacityPlan:
    return plan(asked, PlanTerms(dict.fromkeys(INTERVALS, ttl_s), 0.9, 3_600.0))


@pytest.mark.parametrize(
    ("asked", "ttl_s"),
    [
        (Demand(Market.SPOT, 1, ("1m", "1h"), consumers=2, every_s=3.0), 7.0),
        (Demand(Market.USDM, 2, ("1m",), consumers=3, rows=100), 2.0),
        *exhaustive((Demand(Market.SPOT, 1, ("1m", "1h"), consumers=1), 2.0)),
        *long(
            (Demand(Market.SPOT, 3, ("1m", "5m", "15m", "1h", "4h", "1d"), consumers=3), 2.0),
            (Demand(Market.SPOT, 1, ("1s", "1m")), 2.0),
            (Demand(Market.SPOT, 1, ("1m", "5m")), 7.0),
            (Demand(Market.USDM, 2, ("1m", "4h"), consumers=3), 2.0),
            (Demand(Market.COINM, 1, ("1m", "4h")), 3.0),
        ),
    ],
    ids=str,
)
@pytest.mark.untraced
async def test_the_exchange_charges_what_was_planned(asked: Demand, ttl_s: float) -> None:
    options = DaemonOptions(ttl_s=ttl_s, derive=False)
    options.limits = replace(options.limits, weight_share=0.9)
    w = VirtualDaemon(SimConfig(), options)
    fill, weight = await charged(w, asked, minutes=5)
    found = predicted(asked, ttl_s)
    assert fill == found.fill_weight
    assert weight == pytest.approx(found.weight, rel=0.02)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("asked", "minutes"),
    [
        pytest.param(Demand(Market.SPOT, 1, ("1m", "5m", "15m", "1h"), consumers=1), 60, marks=pytest.mark.long),
        (Demand(Market.USDM, 2, ("1m", "5m"), consumers=3), 10),
        pytest.param(Demand(Market.USDM, 2, ("1m",), consumers=1, every_s=7.0), 20, marks=pytest.mark.exhaustive),
    ],
    ids=str,
)
@pytest.mark.untraced
async def test_so_it_does_where_streams_feed_the_tails(asked: Demand, minutes: int) -> None:
    w = VirtualDaemon(SimConfig(), DaemonOptions(ttl_s=None, streams=True))
    w.streams.mini_tickers = False  # they cost time, and nothing here is traded seldom
    fill, weight = await charged(w, asked, minutes, first=1)
    found = plan(asked, replace(TERMS, exchange_info_s=3_600.0, streams=True))
    assert fill == found.fill_weight
    one_read_each = asked.series * asked.tail_weight / minutes
    assert weight == pytest.approx(found.weight, abs=one_read_each + 0.2)


@pytest.mark.exhaustive
@pytest.mark.untraced
async def test_so_it_does_where_longer_candles_are_derived() -> None:
    asked = Demand(Market.SPOT, 1, ("1m", "5m", "15m", "1d"), consumers=3)
    w = VirtualDaemon(SimConfig(), DaemonOptions(ttl_s=None))
    _, weight = await charged(w, asked, minutes=10, first=1)
    ttls_s = {name: Settings().candle_ttl_s(name) for name in INTERVALS}
    found = plan(asked, replace(TERMS, ttls_s=ttls_s, exchange_info_s=3_600.0, derive=True))
    assert found.sources["15m"] is Source.DERIVED
    assert weight == pytest.approx(found.weight, rel=0.03)
