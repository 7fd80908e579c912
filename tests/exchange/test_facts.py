"""The table of what can be measured: its keys, its bounds, and what each measured value means for an assumption."""

import pytest

from mdcache.exchange.fact_kinds import Choice, CodeAndText, FactKind, Flag, Numbers, Order, WeightSteps, Whole
from mdcache.exchange.facts import FACTS, FINAL_ROW_LAG_MS
from mdcache.exchange.markets import KLINE_ENDPOINTS, Market
from mdcache.settings import Settings

STEPS = WeightSteps(1_500, 200)
FUTURES = {"99": 1, "499": 2, "1000": 5, "1500": 10}


def test_every_fact_has_a_key_of_its_market_and_an_assumption_within_its_bounds() -> None:
    for key, fact in FACTS.items():
        assert key == fact.key == f"{fact.market}.{fact.name}"
        assert fact.assumed == {} or fact.kind.fault(fact.assumed) is None, key
        assert fact.agrees(fact.assumed), key
        assert fact.source.startswith("docs/"), key


def test_the_same_names_stand_in_every_market_but_for_what_only_one_has() -> None:
    names = {market: {fact.name for fact in FACTS.values() if fact.market is market} for market in Market}
    assert names[Market.USDM] - names[Market.COINM] == {"coinm_shares_weight"}
    assert names[Market.COINM] - names[Market.USDM] == {"answer_to_over_range"}
    assert {"klines_cap", "final_row_lag_ms", "final_frame_lag_ms", "check_order"} <= set.intersection(*names.values())


def test_what_is_assumed_is_what_the_code_does() -> None:
    assert round(Settings().settle_s * 1000) == FINAL_ROW_LAG_MS
    for endpoint in KLINE_ENDPOINTS.values():
        assert FACTS[f"{endpoint.market}.klines_cap"].assumed == endpoint.max_limit
        assert f"{endpoint.market}.{endpoint.kind}_weights" in FACTS
    assert FACTS["coinm.range_days_cap"].assumed == 200
    assert FACTS["spot.range_days_cap"].assumed == 0
    assert FACTS["coinm.answer_to_pair"].assumed == "-4087 Invalid pair."


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Flag(), 1),
        (Whole(0, 10), True),
        (Whole(0, 10), 11),
        (Whole(0, 10), "3"),
        (Whole(0, 10), 3.0),
        (Choice(("end", "go_on")), "stay"),
        (Choice(("end", "go_on")), ["end"]),
        (Order(("a", "b")), "a a"),
        (Order(("a", "b")), "a c"),
        (Order(("a", "b")), 3),
        (CodeAndText(), "refused"),
        (CodeAndText(), "-1121 "),
        (CodeAndText(), "-1121 two\nlines"),
        (CodeAndText(), None),
        (Numbers("[A-Z]+", 0, 2), {}),
        (Numbers("[A-Z]+", 0, 2), {"btc": 1}),
        (Numbers("[A-Z]+", 0, 2), {"BTC": 3}),
        (Numbers("[A-Z]+", 0, 2), {f"{chr(65 + n % 26)}{chr(65 + n // 26)}": 1 for n in range(65)}),
        (Numbers("[A-Z]+", 0, 2), [1]),
        (STEPS, {"100": 2, "500": 1}),
        (STEPS, {"0": 1}),
        (STEPS, {"1501": 1}),
        (STEPS, {"100": 201}),
        (STEPS, {}),
    ],
)
def test_a_value_out_of_bounds_is_named(kind: FactKind, value: object) -> None:
    assert kind.fault(value)


@pytest.mark.parametrize(
    ("kind", "assumed", "seen", "agrees"),
    [
        (Whole(0, 9_000, at_most=True), 3_000, 200, True),
        (Whole(0, 9_000, at_most=True), 3_000, 3_001, False),
        (Whole(0, 9_000, slack=300, at_most=True), 2_000, 2_300, True),
        (Whole(-9_000, 9_000, slack=1_000), 0, -1_000, True),
        (Whole(-9_000, 9_000, slack=1_000), 0, -1_001, False),
        (Whole(0, 9_000), 1_000, 500, False),
        (Order(("a", "b", "c")), "a b c", "a c", True),
        (Order(("a", "b", "c")), "a b c", "c a", False),
        (CodeAndText(), "accepted", "-1130 No.", False),
        (Numbers("[A-Z]+", 0, 2), {}, {"BTC": 1}, True),
        (Numbers("[A-Z]+", 0, 2), {"BTC": 1}, {"BTC": 2}, False),
        (STEPS, FUTURES, {"50": 1, "1000": 5}, True),
        (STEPS, FUTURES, {"100": 1}, False),
        (STEPS, FUTURES, {"99": 2, "499": 4, "1000": 10, "1500": 20}, False),
        (STEPS, {"1000": 2}, {"1000": 2}, True),
    ],
)
def test_whether_a_measured_value_bears_out_an_assumption(
    kind: FactKind, assumed: bool | int | str | dict[str, int], seen: bool | int | str | dict[str, int], agrees: bool
) -> None:
    assert kind.fault(seen) is None
    assert kind.agrees(assumed, seen) is agrees
