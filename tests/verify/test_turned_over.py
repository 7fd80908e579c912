"""Each assumption, turned over in the simulated exchange: it is found, and nothing else is."""

from collections.abc import Mapping

import pytest

from mdcache.exchange.fact_kinds import ACCEPTED, Choice, CodeAndText, FactValue, Flag, Order, WeightSteps, Whole
from mdcache.exchange.facts import FACTS, Fact
from mdcache.exchange.markets import Market
from mdcache.sim import SimConfig
from mdcache.sim.played_facts import PlayedFacts
from mdcache.verify.build import VerifyRequest
from mdcache.verify.findings import FactVerdict
from tests.support.examples import thinned
from tests.support.verified_exchange import VerifiedExchange, few_symbols
from tests.verify.test_runs import TOO_HEAVY, UNSEEN

pytestmark = pytest.mark.virtual


def turned_over(fact: Fact) -> FactValue:
    """Another value than the one that is assumed."""
    match fact.kind:
        case Flag():
            return not fact.assumed
        case Whole() if isinstance(fact.assumed, int):
            return {"klines_cap": 400, "range_days_cap": 10, "weight_limit": 1_000}.get(fact.name, fact.assumed + 5_000)
        case Choice(choices):
            return next(each for each in choices if each != fact.assumed)
        case Order():
            return " ".join(reversed(str(fact.assumed).split(" ")))
        case WeightSteps():
            return {"99": 3, "1500": 8}
        case CodeAndText():
            return "-4000 Not so." if fact.assumed == ACCEPTED else "-4001 Otherwise."
    raise AssertionError(fact.kind)


# What a turned fact brings with it: the text names the days, and another check sees the fault first.
FOLLOWING: Mapping[str, set[str]] = {
    "range_days_cap": {"coinm.answer_to_over_range"},
    "check_order": {f"{market}.answer_to_{name}" for market in Market for name in ("empty_start", "symbol_characters")},
}
KEYS = sorted(key for key in FACTS if key not in UNSEEN | TOO_HEAVY and not key.endswith("three_day_phases"))


APART = {  # none of these hides another, or brings it with it
    "answer_to_missing_symbol", "answer_to_pair", "answer_to_symbol_characters", "answer_to_time_unit",
    "coinm_shares_weight", "continuousKlines_weights", "data_host_shares_weight", "date_ahead_ms", "end_only_rows",
    "final_frame_lag_ms", "frame_cadence_ms", "frames_equal_rows", "future_end", "gzip", "klines_cap", "micros_close",
    "mini_tickers_list_untraded", "quiet_topics", "refusals_weigh", "seconds_cadence_ms", "start_only_rows",
    "stream_route", "time_zone_moves_opens", "uiKlines_weights", "untraded_symbol_rows", "weight_limit",
}  # fmt: skip


async def differing(facts: Mapping[str, FactValue], *markets: Market) -> dict[str, object]:
    """What a run of these markets finds to differ, where these facts are played."""
    world = VerifiedExchange(SimConfig(symbols=few_symbols(), facts=PlayedFacts(facts)))
    report = await world.verify(VerifyRequest(markets))
    return {each.fact.key: each.value for each in report.findings if each.verdict is FactVerdict.DIFFERS}


@pytest.mark.untraced
@pytest.mark.parametrize("key", thinned(KEYS, len(KEYS), 5))
async def test_what_is_turned_over_is_found_and_nothing_else(key: str) -> None:
    found = await differing({key: turned_over(FACTS[key])}, FACTS[key].market)
    assert found.keys() - FOLLOWING.get(FACTS[key].name, set()) == {key}


@pytest.mark.parametrize("market", list(Market))
async def test_many_that_are_turned_over_at_once_are_all_found_and_nothing_else(market: Market) -> None:
    facts = {
        key: turned_over(FACTS[key]) for key in KEYS if key.partition(".")[0] == market and FACTS[key].name in APART
    }
    assert (await differing(facts, market)).keys() == facts.keys()


async def test_the_values_that_were_seen_are_those_that_are_played() -> None:
    facts: dict[str, FactValue] = {
        "spot.klines_cap": 400,
        "coinm.range_days_cap": 10,
        "spot.three_day_phases": {"SOLUSDT": 0},
        "usdm.answer_to_pair": "-4001 Otherwise.",
        "spot.check_order": "empty characters unknown limit interval symbol",
    }
    world = VerifiedExchange(SimConfig(symbols=few_symbols(), facts=PlayedFacts(facts)))
    measured = (await world.verify(VerifyRequest(quick=True))).measured
    assert {key: measured[key] for key in facts} == facts


async def test_weights_are_those_of_the_limits_that_were_asked_for() -> None:
    facts = {"usdm.klines_weights": {"99": 3, "100": 3, "500": 8, "1500": 9}}
    world = VerifiedExchange(SimConfig(symbols=few_symbols(), facts=PlayedFacts(facts)))
    measured = (await world.verify(VerifyRequest((Market.USDM,), quick=True))).measured
    weights = measured["usdm.klines_weights"]
    assert isinstance(weights, dict)
    assert weights.items() >= facts["usdm.klines_weights"].items()
    assert {weight for limit, weight in weights.items() if int(limit) < 100} == {3}
