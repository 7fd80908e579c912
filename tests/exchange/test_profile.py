"""The file of a profile: what was measured comes back, and whatever else stands in it is left out and named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.exchange.fact_kinds import FactValue
from mdcache.exchange.markets import Market
from mdcache.exchange.profile import MAX_BYTES, Profile, ProfileReading, print_profile, read_profile

ORIGINS = {Market.SPOT: "https://api.binance.com", Market.USDM: "https://fapi.example", Market.COINM: "https://dapi"}
FACTS: dict[str, FactValue] = {
    "spot.klines_cap": 500,
    "spot.mini_tickers_list_traded": False,
    "usdm.final_row_lag_ms": 5_000,
    "usdm.klines_weights": {"99": 2, "1500": 20},
    "coinm.answer_to_symbol": "-1121 No such symbol.",
}
GOOD: dict[str, Any] = {
    "version": 1,
    "measured_at_ms": 1_790_000_000_000,
    "mdcache": "1.0",
    "hosts": {"spot": "https://API.binance.com/", "usdm": "https://fapi.example", "coinm": "https://dapi"},
    "facts": FACTS,
}


def reading(changes: dict[str, Any]) -> ProfileReading:
    return read_profile(json.dumps(GOOD | changes).encode(), ORIGINS)


def test_what_is_written_comes_back() -> None:
    profile = Profile(1_790_000_000_000, "1.0", ORIGINS, FACTS)
    assert read_profile(print_profile(profile), ORIGINS) == ProfileReading(profile)
    assert profile.value(Market.SPOT, "klines_cap") == 500
    assert profile.value(Market.USDM, "klines_cap") is None


@pytest.mark.parametrize("facts", [{"spot.colour": 1}, {"spot.klines_cap": "500"}])
def test_only_what_may_be_read_is_written(facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="spot"):
        print_profile(Profile(1, "1.0", ORIGINS, facts))


def test_a_bad_value_and_an_unknown_key_are_left_out_and_named() -> None:
    found = reading({"facts": FACTS | {"spot.klines_cap": 10**9, "spot.colour": "red", "usdm.gzip": None}, "extra": 1})
    assert found.profile is not None
    assert found.profile.facts == {key: value for key, value in FACTS.items() if key != "spot.klines_cap"}
    assert len(found.problems) == 4
    assert "spot.klines_cap: 1000000000 is not in 1 to 10000" in found.problems


def test_no_password_of_a_host_is_told() -> None:
    found = reading({"hosts": {"spot": "https://u:hunter2@api.binance.com", "usdm": "https://u:hunter2@elsewhere"}})
    assert found.profile is not None
    assert found.profile.hosts == {Market.SPOT: "https://api.binance.com"}
    assert "hunter2" not in "".join(found.problems)


def test_what_was_measured_at_another_host_is_not_taken() -> None:
    found = reading({"hosts": {"spot": "https://testnet.binance.vision", "usdm": "https://fapi.example"}})
    assert found.profile is not None
    assert set(found.profile.facts) == {"usdm.final_row_lag_ms", "usdm.klines_weights"}
    assert found.problems == (
        "spot was measured at https://testnet.binance.vision, but https://api.binance.com is asked",
        "coinm.answer_to_symbol: it is not said at which host it was measured",
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"version":1}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"facts":' * 20_000,
        b" " * (MAX_BYTES + 1),
        json.dumps(GOOD | {"version": 2}).encode(),
        json.dumps(GOOD | {"version": "1\n2" * 100}).encode(),
        json.dumps(GOOD | {"measured_at_ms": True}).encode(),
        json.dumps(GOOD | {"measured_at_ms": 10**30}).encode(),
        json.dumps(GOOD | {"hosts": []}).encode(),
        json.dumps(GOOD | {"facts": [1]}).encode(),
        json.dumps(GOOD | {"facts": {f"spot.a{n}": n for n in range(1_000)}}).encode(),
        json.dumps(GOOD | {"hosts": {"spot": 1, "usdm": None, "coinm": "http://[::1:x"}}).encode(),
    ],
)
def test_a_file_of_which_nothing_counts_says_why_in_few_short_lines(data: bytes) -> None:
    found = read_profile(data, ORIGINS)
    assert found.profile is None
    assert 1 <= len(found.problems) <= 21
    assert all(0 < len(line) < 200 and line.isprintable() for line in found.problems)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(facts=st.dictionaries(st.sampled_from([*FACTS, "spot.x"]) | st.text(max_size=8), JSON), member=JSON)
def test_any_json_is_read_and_what_is_taken_could_have_been_written(facts: dict[str, Any], member: object) -> None:
    found = reading({"facts": facts, "mdcache": member})
    if found.profile is not None:
        again = read_profile(print_profile(found.profile), ORIGINS)
        assert again.profile == found.profile
